package parse

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/token"
)

// expr = or .
func (p *parser) expr() ast.Expr {
	if !p.enter() {
		return p.bad()
	}
	defer p.leave()
	return p.or()
}

// exprs = expr { "," expr } .
func (p *parser) exprs() []ast.Expr {
	list := []ast.Expr{p.expr()}
	for p.accept(token.Comma) {
		list = append(list, p.expr())
	}
	return list
}

// or = and { "or" and } .
func (p *parser) or() ast.Expr { return p.logical(token.Or, ast.Or, p.and) }

// and = not { "and" not } .
func (p *parser) and() ast.Expr { return p.logical(token.And, ast.And, p.not) }

func (p *parser) logical(kind token.Kind, op ast.LogicalOp, operand func() ast.Expr) ast.Expr {
	first := operand()
	if p.tok.Kind != kind {
		return first
	}
	p.node()
	list := []ast.Expr{first}
	for p.accept(kind) {
		list = append(list, operand())
	}
	return &ast.Logical{Place: ast.At(p.span(first.Span())), Op: op, X: list}
}

// not = "not" not | lineage | comparison .
func (p *parser) not() ast.Expr {
	if p.tok.Kind == token.Ident && p.ahead.Kind == token.Of {
		return p.lineage()
	}
	if p.tok.Kind != token.Not {
		return p.comparison()
	}
	return p.prefixed(ast.Not, p.not)
}

func (p *parser) prefixed(op ast.UnaryOp, operand func() ast.Expr) ast.Expr {
	start := p.tok.Span
	if !p.enter() {
		return p.bad()
	}
	defer p.leave()
	p.node()
	p.advance()
	x := operand()
	return &ast.Unary{Place: ast.At(p.span(start)), Op: op, X: x}
}

// lineage = IDENT "of" "[" filter "]" .
func (p *parser) lineage() ast.Expr {
	start := p.tok
	if !p.enter() {
		return p.bad()
	}
	defer p.leave()
	p.node()
	p.advance()
	p.advance()
	e := &ast.Lineage{Relation: start.Text}
	p.expect(token.LeftSquare, "")
	e.Filter = p.filter()
	p.expect(token.RightSquare, "")
	e.Place = ast.At(p.span(start.Span))
	return e
}

// comparison = sum [ ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) sum ] .
func (p *parser) comparison() ast.Expr {
	x := p.sum()
	if p.tok.Kind == token.Assign {
		p.error(p.tok.Span, "= does not compare", "write == (exact) or : (ignoring case, with wildcards)")
		p.tok.Kind = token.Equal
	}
	op, ok := comparisonOp(p.tok.Kind)
	if !ok {
		return x
	}
	p.node()
	p.advance()
	y := p.sum()
	if _, chained := comparisonOp(p.tok.Kind); chained {
		p.error(p.tok.Span, "comparisons cannot be chained", "write a < b and b < c")
		p.advance()
		p.sum()
	}
	return &ast.Compare{Place: ast.At(p.span(x.Span())), Op: op, X: x, Y: y}
}

func comparisonOp(k token.Kind) (ast.CompareOp, bool) {
	switch k {
	case token.Equal:
		return ast.Equal, true
	case token.NotEqual:
		return ast.NotEqual, true
	case token.Less:
		return ast.Less, true
	case token.LessEqual:
		return ast.LessEqual, true
	case token.Greater:
		return ast.Greater, true
	case token.GreaterEqual:
		return ast.GreaterEqual, true
	default:
		return 0, false
	}
}

// sum = product { ( "+" | "-" ) product } .
func (p *parser) sum() ast.Expr { return p.arith(sumOp, p.product) }

// product = signed { ( "*" | "/" | "%" ) signed } .
func (p *parser) product() ast.Expr { return p.arith(productOp, p.signed) }

// arith builds a tree that leans left, one level deeper with each operator.
func (p *parser) arith(operator func(token.Kind) (ast.ArithOp, bool), operand func() ast.Expr) ast.Expr {
	x := operand()
	depth := p.depth
	defer func() { p.depth = depth }()
	for {
		op, ok := operator(p.tok.Kind)
		if !ok {
			return x
		}
		if !p.enter() {
			return x
		}
		p.node()
		p.advance()
		y := operand()
		x = &ast.Arith{Place: ast.At(p.span(x.Span())), Op: op, X: x, Y: y}
	}
}

func sumOp(k token.Kind) (ast.ArithOp, bool) {
	switch k {
	case token.Plus:
		return ast.Add, true
	case token.Minus:
		return ast.Subtract, true
	default:
		return 0, false
	}
}

func productOp(k token.Kind) (ast.ArithOp, bool) {
	switch k {
	case token.Star:
		return ast.Multiply, true
	case token.Slash:
		return ast.Divide, true
	case token.Percent:
		return ast.Modulo, true
	default:
		return 0, false
	}
}

// signed = ( "-" | "+" ) signed | predicate .
func (p *parser) signed() ast.Expr {
	number := p.ahead.Kind == token.Integer || p.ahead.Kind == token.Decimal
	switch {
	case p.tok.Kind == token.Minus && !number:
		return p.prefixed(ast.Negative, p.signed)
	case p.tok.Kind == token.Plus:
		return p.prefixed(ast.Positive, p.signed)
	default:
		return p.predicate()
	}
}

// predicate = primary [ [ "not" ] ( "in" | "in~" ) list | ( ":" | "like" | "like~" | "regex" | "regex~" ) patterns ] .
func (p *parser) predicate() ast.Expr {
	x := p.primary()
	switch p.tok.Kind {
	case token.In, token.InFold:
		return p.in(x, false)
	case token.Not:
		p.advance()
		if p.tok.Kind == token.In || p.tok.Kind == token.InFold {
			return p.in(x, true)
		}
		p.unexpected(named(token.In), "only in can follow not; for others put not before: not (field like …)")
		return x
	case token.Colon:
		return p.match(x, ast.Colon, true)
	case token.Like, token.LikeFold:
		return p.match(x, ast.Like, p.tok.Kind == token.LikeFold)
	case token.Regex, token.RegexFold:
		return p.match(x, ast.Regex, p.tok.Kind == token.RegexFold)
	default:
		return x
	}
}

// list = "(" expr { "," expr } ")" .
func (p *parser) in(x ast.Expr, not bool) ast.Expr {
	p.node()
	e := &ast.In{X: x, Not: not, Fold: p.tok.Kind == token.InFold}
	p.advance()
	if p.expect(token.LeftParen, `a list stands in parentheses: ("a", "b")`) {
		e.List = p.exprs()
		p.closeParen()
	} else if p.startsValue() {
		p.primary()
	}
	e.Place = ast.At(p.span(x.Span()))
	return e
}

// patterns = literal | "(" literal { "," literal } ")" .
func (p *parser) match(x ast.Expr, op ast.MatchOp, fold bool) ast.Expr {
	p.node()
	e := &ast.Match{X: x, Op: op, Fold: fold}
	p.advance()
	if p.accept(token.LeftParen) {
		e.Patterns = append(e.Patterns, p.pattern())
		for p.accept(token.Comma) {
			e.Patterns = append(e.Patterns, p.pattern())
		}
		p.closeParen()
	} else {
		e.Patterns = append(e.Patterns, p.pattern())
	}
	e.Place = ast.At(p.span(x.Span()))
	return e
}

func (p *parser) pattern() *ast.Literal {
	if l, ok := p.literal(); ok {
		return l
	}
	p.unexpected("a string", "patterns are strings, not fields or expressions")
	p.skipTo(token.Comma, token.RightParen, token.RightSquare, token.And, token.Or, token.Pipe)
	return p.bad()
}

// closeParen reads the end of a list or says where it should have been.
func (p *parser) closeParen() {
	if p.accept(token.RightParen) {
		return
	}
	hint := ""
	if p.startsValue() {
		hint = "the items of a list are separated by commas"
	}
	p.unexpected(`")" or ","`, hint, behindOperand()...)
	p.skipTo(token.RightParen, token.RightSquare, token.Pipe)
	p.accept(token.RightParen)
}

func (p *parser) startsValue() bool {
	switch p.tok.Kind {
	case token.String, token.Integer, token.Decimal, token.True, token.False, token.Null, token.Ident, token.Quoted:
		return true
	default:
		return false
	}
}

// primary = literal | call | field | "(" expr ")" .
func (p *parser) primary() ast.Expr {
	if l, ok := p.literal(); ok {
		return l
	}
	switch p.tok.Kind {
	case token.Ident, token.Tilde:
		if p.ahead.Kind == token.LeftParen || p.tok.Kind == token.Tilde {
			return p.call()
		}
		return p.field()
	case token.Quoted, token.Question:
		return p.field()
	case token.LeftParen:
		p.advance()
		x := p.expr()
		if !p.expect(token.RightParen, "") {
			p.skipTo(token.RightParen, token.RightSquare, token.Pipe)
			p.accept(token.RightParen)
		}
		return x
	default:
		p.unexpected("a field or value", p.primaryHint())
		p.skipTo(token.RightParen, token.RightSquare, token.Comma, token.And, token.Or, token.Pipe)
		return p.bad()
	}
}

func (p *parser) primaryHint() string {
	switch {
	case p.tok.Kind == token.Star:
		return `a pattern is a string: "*"`
	case p.tok.Kind.IsKeyword():
		return fmt.Sprintf("%s is a reserved word; a field of that name takes backquotes: `%s`", p.tok.Kind, p.tok.Kind)
	default:
		return ""
	}
}

// literal = STRING | [ "-" ] ( INTEGER | DECIMAL ) | "true" | "false" | "null" .
func (p *parser) literal() (*ast.Literal, bool) {
	at := ast.At(p.tok.Span)
	switch p.tok.Kind {
	case token.String:
		l := &ast.Literal{Place: at, Kind: ast.Text, Text: p.tok.Text}
		p.advance()
		p.node()
		return l, true
	case token.True, token.False:
		l := &ast.Literal{Place: at, Kind: ast.Bool, Bool: p.tok.Kind == token.True}
		p.advance()
		p.node()
		return l, true
	case token.Null:
		p.advance()
		p.node()
		return &ast.Literal{Place: at, Kind: ast.Null}, true
	case token.Integer, token.Decimal:
		return p.number(false), true
	case token.Minus:
		if p.ahead.Kind == token.Integer || p.ahead.Kind == token.Decimal {
			p.advance()
			return p.number(true), true
		}
		return nil, false
	default:
		return nil, false
	}
}

func (p *parser) number(negative bool) *ast.Literal {
	t := p.tok
	text, span := t.Text, t.Span
	if negative {
		text, span = "-"+text, p.last.To(span)
	}
	p.advance()
	p.node()
	l := &ast.Literal{Place: ast.At(span), Kind: ast.Int}
	var err error
	if t.Kind == token.Integer {
		l.Int, err = strconv.ParseInt(text, 10, 64)
	} else {
		l.Kind = ast.Float
		l.Float, err = strconv.ParseFloat(text, 64)
	}
	if err != nil || math.IsInf(l.Float, 0) {
		p.error(span, "number is out of range", "")
	}
	return l
}

// call = ( IDENT | TILDE ) "(" [ expr { "," expr } ] ")" .
func (p *parser) call() ast.Expr {
	start := p.tok
	p.node()
	e := &ast.Call{Name: start.Text, Fold: start.Kind == token.Tilde}
	p.advance()
	if p.expect(token.LeftParen, "~ belongs to functions and to in, like, regex") && !p.accept(token.RightParen) {
		e.Args = p.exprs()
		p.closeParen()
	}
	e.Place = ast.At(p.span(start.Span))
	return e
}

// field = [ "?" ] ( IDENT | QUOTED ) { "." ( IDENT | QUOTED | keyword ) } .
func (p *parser) field() *ast.Field {
	start := p.tok.Span
	p.node()
	f := &ast.Field{Optional: p.accept(token.Question)}
	if p.tok.Kind == token.String {
		p.error(p.tok.Span, `?"…" is not a string`, `raw strings are enclosed in three double quotes: """…"""`)
		p.advance()
		f.Place = ast.At(p.span(start))
		return f
	}
	name := []byte(p.namePart(false))
	for p.accept(token.Dot) {
		name = append(append(name, '.'), p.namePart(true)...)
	}
	f.Name = string(name)
	if p.tok.Kind == token.LeftSquare && p.tok.Span.Start == p.last.End && p.ahead.Kind == token.Integer {
		p.error(p.tok.Span, "values of a list cannot be picked by number", "a comparison holds if any of a field's values fits")
		p.skipTo(token.RightSquare)
		p.accept(token.RightSquare)
	}
	f.Place = ast.At(p.span(start))
	return f
}

// namePart reads one part of a dotted name. Behind a dot nothing but a name can
// follow, so that reserved words are names there.
func (p *parser) namePart(behindDot bool) string {
	text := p.tok.Text
	switch {
	case p.tok.Kind == token.Quoted && text == "":
		p.error(p.tok.Span, "field name is empty", "")
	case p.tok.Kind == token.Ident, p.tok.Kind == token.Quoted:
	case behindDot && p.tok.Kind.IsKeyword() && !strings.HasSuffix(p.tok.Kind.String(), "~"):
		text = p.tok.Kind.String()
	default:
		p.unexpected("a field name", "names with other than letters, digits and _ take backquotes: `a-b`")
		return ""
	}
	p.advance()
	return text
}

// bad stands for what could not be parsed. It never leaves the package: there
// is an error, so that no tree is returned.
func (p *parser) bad() *ast.Literal { return &ast.Literal{Place: ast.At(p.tok.Span)} }
