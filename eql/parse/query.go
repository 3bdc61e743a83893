package parse

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/token"
)

// query = ( sequence | group | filter ) { pipe } .
func (p *parser) query() *ast.Query {
	start := p.tok.Span
	q := &ast.Query{}
	switch p.tok.Kind {
	case token.Sequence:
		q.Body = p.sequence()
	case token.Sample, token.Join:
		q.Body = p.group()
	default:
		q.Body = p.filter()
	}
	for p.tok.Kind == token.Pipe {
		q.Pipes = append(q.Pipes, p.pipe())
	}
	p.end()
	q.Place = ast.At(p.span(start))
	return q
}

// filter = ( "any" | IDENT | STRING ) "where" expr .
func (p *parser) filter() *ast.Filter {
	start := p.tok.Span
	p.node()
	f := &ast.Filter{CategoryPlace: start}
	switch p.tok.Kind {
	case token.Any:
		f.Any = true
		p.advance()
	case token.Ident, token.String:
		f.Category = p.tok.Text
		p.advance()
	default:
		p.unexpected("an event category or any", "a query is: category where condition")
		p.skipTo(token.Where, token.RightSquare)
	}
	if p.expect(token.Where, p.whereHint(f.Category)) {
		f.Where = p.expr()
	} else {
		f.Where = &ast.Literal{Place: ast.At(p.tok.Span)}
		p.skipTo(token.RightSquare)
	}
	f.Place = ast.At(p.span(start))
	return f
}

// whereHint says what was probably meant by a category without where.
func (p *parser) whereHint(category string) string {
	if k := p.tok.Kind; k == token.By || k == token.With || k == token.LeftSquare || k == token.Missing {
		if near := diag.NearestWord(category, []string{token.Sequence.String(), token.Sample.String(), token.Join.String()}); near != "" {
			return fmt.Sprintf("did you mean %s instead of %s?", near, category)
		}
	}
	return "a query is: category where condition"
}

// sequence = "sequence" [ by ] [ "with" "maxspan" "=" duration ] term { term } [ "until" term ] .
func (p *parser) sequence() *ast.Sequence {
	start := p.tok.Span
	s := &ast.Sequence{}
	p.advance()
	s.By = p.by()
	if p.tok.Kind == token.With {
		s.MaxSpan = p.maxSpan()
		if p.tok.Kind == token.By {
			p.error(p.tok.Span, "by comes before with", "write sequence by … with maxspan=…")
			p.by()
		}
	}
	s.Terms, s.Until = p.terms()
	s.Place = ast.At(p.span(start))
	return s
}

// group = ( "sample" | "join" ) [ by ] term { term } [ "until" term ] .
func (p *parser) group() *ast.Group {
	start := p.tok
	g := &ast.Group{Keyword: start.Kind.String()}
	p.advance()
	g.By = p.by()
	g.Terms, g.Until = p.terms()
	g.Place = ast.At(p.span(start.Span))
	return g
}

func (p *parser) terms() (terms []*ast.Term, until *ast.Term) {
	if p.tok.Kind != token.LeftSquare && p.tok.Kind != token.Missing {
		p.unexpected(named(token.LeftSquare), "every step of a sequence stands in brackets: [category where condition]", token.By, token.With)
		p.skipTo(token.LeftSquare, token.Missing, token.Until, token.Pipe)
	}
	for p.tok.Kind == token.LeftSquare || p.tok.Kind == token.Missing {
		terms = append(terms, p.term())
	}
	if p.accept(token.Until) {
		until = p.term()
	}
	return terms, until
}

// term = ( "[" | "![" ) filter "]" [ by ] [ "with" "runs" "=" INTEGER ] .
func (p *parser) term() *ast.Term {
	start := p.tok.Span
	t := &ast.Term{Missing: p.tok.Kind == token.Missing}
	if !p.accept(token.Missing) {
		p.expect(token.LeftSquare, "every step of a sequence stands in brackets: [category where condition]")
	}
	t.Filter = p.filter()
	if !p.expect(token.RightSquare, "") {
		p.skipTo(token.RightSquare)
		p.accept(token.RightSquare)
	}
	t.By = p.by()
	if p.tok.Kind == token.With {
		t.Runs = p.runs()
	}
	if p.tok.Kind == token.By {
		p.error(p.tok.Span, "by comes before with", "write […] by … with runs=…")
		p.by()
	}
	t.Place = ast.At(p.span(start))
	return t
}

func (p *parser) runs() *ast.Literal {
	p.advance()
	if p.tok.Kind != token.Ident || p.tok.Text != "runs" {
		p.unexpected(`"runs"`, "a step is repeated by: with runs=3")
		p.skipTo(token.LeftSquare, token.Missing, token.Until, token.Pipe)
		return nil
	}
	p.advance()
	if !p.expect(token.Assign, "a step is repeated by: with runs=3") {
		return nil
	}
	if p.tok.Kind != token.Integer {
		p.unexpected("a whole number", "a step is repeated by: with runs=3")
		p.skipTo(token.LeftSquare, token.Missing, token.Until, token.Pipe)
		return nil
	}
	return p.number(false)
}

func (p *parser) maxSpan() *ast.Duration {
	const hint = "the time is bounded by: with maxspan=1m"
	p.advance()
	if !p.expect(token.MaxSpan, hint) || !p.expect(token.Assign, hint) {
		p.skipTo(token.LeftSquare, token.Missing)
		return nil
	}
	return p.duration()
}

// duration = INTEGER ( "ms" | "s" | "m" | "h" | "d" ) .
func (p *parser) duration() *ast.Duration {
	const hint = "write a whole number and a unit: ms, s, m, h or d"
	start, text := p.tok.Span, p.tok.Text
	if p.tok.Kind != token.Integer {
		p.unexpected("a length of time", hint)
		p.skipTo(token.LeftSquare, token.Missing)
		return nil
	}
	p.advance()
	if p.tok.Kind != token.Ident {
		p.error(start, fmt.Sprintf("%s has no unit of time", text), fmt.Sprintf("did you mean %ss?", text))
		return nil
	}
	units := map[string]time.Duration{
		"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
	}
	unit, ok := units[p.tok.Text]
	if !ok {
		p.error(p.tok.Span, fmt.Sprintf("unknown unit of time %q", p.tok.Text), hint)
	}
	p.advance()
	n, err := strconv.ParseInt(text, 10, 64)
	if ok && (err != nil || n > math.MaxInt64/int64(unit)) {
		p.error(start, "length of time is too large", "")
	}
	return &ast.Duration{Place: ast.At(p.span(start)), Value: time.Duration(n) * unit}
}

// by = [ "by" field { "," field } ] .
func (p *parser) by() []*ast.Field {
	if !p.accept(token.By) {
		return nil
	}
	var keys []*ast.Field
	for {
		if p.tok.Kind != token.Ident && p.tok.Kind != token.Quoted && p.tok.Kind != token.Question ||
			p.ahead.Kind == token.LeftParen {
			p.unexpected("a field", "events are joined by fields, not by other expressions")
			p.skipTo(token.LeftSquare, token.Missing, token.With, token.Until, token.Pipe)
			return keys
		}
		keys = append(keys, p.field())
		if !p.accept(token.Comma) {
			return keys
		}
	}
}

// pipe = "|" IDENT [ expr { "," expr } ] .
func (p *parser) pipe() *ast.Pipe {
	start := p.tok.Span
	p.node()
	p.advance()
	pipe := &ast.Pipe{Name: p.tok.Text}
	if !p.expect(token.Ident, "") {
		p.skipTo(token.Pipe)
	}
	if p.tok.Kind != token.Pipe && p.tok.Kind != token.EOF {
		pipe.Args = p.exprs()
	}
	pipe.Place = ast.At(p.span(start))
	return pipe
}
