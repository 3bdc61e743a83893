package parse

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/token"
)

// Limits bounds what one query may cost. Zero fields mean the default.
type Limits struct {
	// Source is the size of the text in bytes. The largest rules known are
	// near 10 KiB. Default 128 KiB.
	Source int
	// Depth is how deep expressions may nest. Default 100.
	Depth int
	// Nodes is how many literals, fields and operators a tree may have. The
	// largest rules known have a few hundred. Default 20,000.
	Nodes int
	// Errors is after how many errors reading the query gives up. Default 20.
	Errors int
}

func (l Limits) withDefaults() Limits {
	set := func(field *int, value int) {
		if *field <= 0 {
			*field = value
		}
	}
	set(&l.Source, 128<<10)
	set(&l.Depth, 100)
	set(&l.Nodes, 20_000)
	set(&l.Errors, 20)
	return l
}

// Query parses a whole query. It returns either a tree or a list with at least
// one error, never both.
func Query(file *token.File, limits Limits) (*ast.Query, diag.List) {
	return run(file, limits, (*parser).query)
}

// Expr parses a condition alone, as an exception of a rule is written. It
// returns either an expression or a list with at least one error, never both.
func Expr(file *token.File, limits Limits) (ast.Expr, diag.List) {
	return run(file, limits, func(p *parser) ast.Expr {
		e := p.expr()
		p.end()
		return e
	})
}

// Tokens returns the words of a text that Query or Expr parses, comments among
// them, and the end of the text last. It is for what cares about how a query is
// written; of a text that does not parse it returns what it can make of it.
func Tokens(file *token.File) []token.Token {
	var tokens []token.Token
	l := lexer{text: file.Text(), report: func(token.Span, string, string) {}}
	l.stop = func() { l.at = len(l.text) }
	l.comment = func(s token.Span) {
		tokens = append(tokens, token.Token{Kind: token.Comment, Span: s, Text: file.Slice(s)})
	}
	for {
		t := l.next()
		tokens = append(tokens, t)
		if t.Kind == token.EOF {
			return tokens
		}
	}
}

func run[T any](file *token.File, limits Limits, parse func(*parser) T) (tree T, diags diag.List) {
	p := &parser{file: file, limits: limits.withDefaults()}
	p.lex = lexer{text: file.Text(), report: p.error, stop: p.stop}
	if p.sound() {
		p.tok = p.lex.next()
		p.ahead = p.lex.next()
		tree = parse(p)
	}
	if len(p.diags) > 0 {
		var none T
		p.diags.Sort()
		return none, p.diags
	}
	return tree, nil
}

// parser is one run over one text. tok is the token to be parsed next, ahead
// the one behind it.
type parser struct {
	file   *token.File
	limits Limits
	lex    lexer
	diags  diag.List

	tok, ahead token.Token
	last       token.Span // of the token before tok
	depth      int
	nodes      int
	stopped    bool
}

// sound checks the text as a whole.
func (p *parser) sound() bool {
	text := p.file.Text()
	if len(text) > p.limits.Source {
		p.error(token.Span{}, fmt.Sprintf("query is too long: %d bytes, at most %d are read", len(text), p.limits.Source), "")
		return false
	}
	for i, r := range text {
		if r == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD") {
			p.error(token.Span{Start: token.Pos(i), End: token.Pos(i + 1)}, "query is not valid UTF-8", "")
			return false
		}
	}
	return true
}

// advance makes the next token the current one.
func (p *parser) advance() {
	p.last = p.tok.Span
	if p.stopped {
		p.tok.Kind, p.ahead.Kind = token.EOF, token.EOF
		return
	}
	p.tok = p.ahead
	p.ahead = p.lex.next()
}

// accept advances over a token of that kind, if it is the current one.
func (p *parser) accept(kind token.Kind) bool {
	if p.tok.Kind != kind {
		return false
	}
	p.advance()
	return true
}

// expect advances over a token of that kind or reports that it should be there.
func (p *parser) expect(kind token.Kind, hint string) bool {
	if p.accept(kind) {
		return true
	}
	keywords := []token.Kind{kind}
	if kind == token.RightSquare || kind == token.RightParen {
		keywords = behindOperand()
	}
	p.unexpected(named(kind), hint, keywords...)
	return false
}

// end reports whatever stands behind a complete query.
func (p *parser) end() {
	if p.tok.Kind != token.EOF {
		p.unexpected("end of query", p.strayHint(), append(behindOperand(), token.By, token.With, token.Until)...)
	}
}

// behindOperand returns the words by which an expression can go on.
func behindOperand() []token.Kind {
	return []token.Kind{token.And, token.Or, token.Not, token.In, token.Like, token.Regex}
}

// unexpected reports the current token where something else was expected. If it
// is nearly one of the keywords that could stand there, that is the hint.
func (p *parser) unexpected(expected, hint string, keywords ...token.Kind) {
	switch near := p.nearKeyword(keywords); {
	case near != "" && strings.EqualFold(near, p.tok.Text):
		hint = "keywords are lower case: " + near
	case near != "":
		hint = fmt.Sprintf("did you mean %s?", near)
	}
	if hint == "" {
		hint = p.strayHint()
	}
	span := p.tok.Span
	if p.tok.Kind == token.EOF { // not the line behind the query: the end of what was read
		span = token.Span{Start: p.last.End, End: p.last.End}
	}
	p.error(span, fmt.Sprintf("expected %s, found %s", expected, describe(p.tok)), hint)
}

// nearKeyword returns which of some keywords a name was probably meant to be.
func (p *parser) nearKeyword(keywords []token.Kind) string {
	if p.tok.Kind != token.Ident {
		return ""
	}
	var words []string
	for _, k := range keywords {
		if k.IsKeyword() {
			words = append(words, k.String())
		}
	}
	return diag.NearestWord(p.tok.Text, words)
}

// strayHint says what was probably meant by a token that cannot stand here.
func (p *parser) strayHint() string {
	switch p.tok.Kind {
	case token.Assign:
		return "write == (exact) or : (ignoring case, with wildcards)"
	case token.Quoted:
		return "backquotes enclose field names; strings take double quotes"
	default:
		return ""
	}
}

// named returns a kind as a message names what is missing.
func named(k token.Kind) string {
	if k < token.Dot {
		return k.String()
	}
	return strconv.Quote(k.String())
}

// describe returns a token as a message names what is there.
func describe(t token.Token) string {
	switch t.Kind {
	case token.EOF:
		return "the end of the query"
	case token.String:
		return "a string"
	case token.Ident, token.Quoted, token.Integer, token.Decimal:
		return strconv.Quote(t.Text)
	case token.Tilde:
		return strconv.Quote(t.Text + "~")
	default:
		return named(t.Kind)
	}
}

// error reports an error unless one at the same place was reported already:
// what follows from a first error helps nobody.
func (p *parser) error(span token.Span, message, hint string) {
	if p.stopped {
		return
	}
	for _, d := range p.diags {
		if d.Span.Start == span.Start {
			return
		}
	}
	p.diags = append(p.diags, diag.Diagnostic{
		Severity: diag.Error, File: p.file, Span: span, Message: message, Hint: hint,
	})
	if len(p.diags) >= p.limits.Errors {
		p.diags[len(p.diags)-1].Message += "; after so many errors the rest of the query is not read"
		p.stop()
	}
}

// stop ends parsing: every further token is EOF and no error is reported.
func (p *parser) stop() {
	p.stopped = true
	p.tok.Kind, p.ahead.Kind = token.EOF, token.EOF
	p.lex.at = len(p.lex.text)
}

// node counts one node of the tree.
func (p *parser) node() {
	p.nodes++
	if p.nodes > p.limits.Nodes {
		p.error(p.tok.Span, fmt.Sprintf("query has too many parts, at most %d are read", p.limits.Nodes), "split the rule")
		p.stop()
	}
}

// enter goes one level deeper; leave comes back. Where enter returns false the
// caller must return without going deeper.
func (p *parser) enter() bool {
	p.depth++
	if p.depth > p.limits.Depth {
		p.error(p.tok.Span, fmt.Sprintf("expression is nested too deep, at most %d levels are read", p.limits.Depth), "")
		p.stop()
		return false
	}
	return true
}

func (p *parser) leave() { p.depth-- }

// skipTo advances to the first token of one of the kinds that is not inside
// parentheses or brackets opened on the way. It stops at the end at the latest.
func (p *parser) skipTo(kinds ...token.Kind) {
	for open := 0; p.tok.Kind != token.EOF; p.advance() {
		for _, k := range kinds {
			if open == 0 && p.tok.Kind == k {
				return
			}
		}
		switch p.tok.Kind {
		case token.LeftParen, token.LeftSquare, token.Missing:
			open++
		case token.RightParen, token.RightSquare:
			open = max(0, open-1)
		default:
		}
	}
}

// span returns the span from start to the token before the current one.
func (p *parser) span(start token.Span) token.Span { return start.To(p.last) }
