package ast

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/portcullis-dev/portcullis/eql/token"
)

// Print returns a node as a query's text in canonical form: one spelling for
// each meaning, parentheses only where they are needed, one term of a sequence
// per line. What Print returns for a parsed query parses to an equal tree.
func Print(node Node) string {
	p := &printer{}
	p.node(node)
	return p.String()
}

type printer struct{ strings.Builder }

func (p *printer) node(node Node) {
	switch n := node.(type) {
	case *Query:
		p.node(n.Body)
		for _, pipe := range n.Pipes {
			p.WriteString("\n")
			p.node(pipe)
		}
	case *Filter:
		p.filter(n)
	case *Sequence:
		p.sequence(n)
	case *Group:
		p.WriteString(n.Keyword)
		p.by(n.By)
		p.terms(n.Terms, n.Until)
	case *Term:
		p.term(n)
	case *Pipe:
		p.WriteString("| " + n.Name)
		if len(n.Args) > 0 {
			p.WriteString(" ")
			list(p, n.Args)
		}
	case *Duration:
		p.WriteString(duration(n.Value))
	case Expr:
		p.expr(n, levelOr)
	}
}

func (p *printer) filter(f *Filter) {
	switch {
	case f.Any:
		p.WriteString("any")
	case isName(f.Category):
		p.WriteString(f.Category)
	default:
		p.WriteString(quote(f.Category))
	}
	p.WriteString(" where ")
	p.expr(f.Where, levelOr)
}

func (p *printer) sequence(s *Sequence) {
	p.WriteString("sequence")
	p.by(s.By)
	if s.MaxSpan != nil {
		p.WriteString(" with maxspan=" + duration(s.MaxSpan.Value))
	}
	p.terms(s.Terms, s.Until)
}

func (p *printer) terms(terms []*Term, until *Term) {
	for _, t := range terms {
		p.WriteString("\n  ")
		p.term(t)
	}
	if until != nil {
		p.WriteString("\nuntil ")
		p.term(until)
	}
}

func (p *printer) term(t *Term) {
	if t.Missing {
		p.WriteString("!")
	}
	p.WriteString("[")
	p.filter(t.Filter)
	p.WriteString("]")
	p.by(t.By)
	if t.Runs != nil {
		p.WriteString(" with runs=")
		p.literal(t.Runs)
	}
}

func (p *printer) by(keys []*Field) {
	if len(keys) > 0 {
		p.WriteString(" by ")
		list(p, keys)
	}
}

func list[N Node](p *printer, items []N) {
	for i, n := range items {
		if i > 0 {
			p.WriteString(", ")
		}
		p.node(n)
	}
}

// The levels of the grammar, from loosest to tightest.
const (
	levelOr = iota
	levelAnd
	levelNot
	levelCompare
	levelAdd
	levelMultiply
	levelSign
	levelPredicate
	levelPrimary
)

func level(e Expr) int {
	switch e := e.(type) {
	case *Logical:
		if e.Op == Or {
			return levelOr
		}
		return levelAnd
	case *Unary:
		if e.Op == Not {
			return levelNot
		}
		return levelSign
	case *Lineage:
		return levelNot
	case *Compare:
		return levelCompare
	case *Arith:
		if e.Op == Add || e.Op == Subtract {
			return levelAdd
		}
		return levelMultiply
	case *In, *Match:
		return levelPredicate
	default:
		return levelPrimary
	}
}

// expr prints e where the grammar wants an expression of at least that level.
func (p *printer) expr(e Expr, least int) {
	if level(e) < least {
		p.WriteString("(")
		p.expr(e, levelOr)
		p.WriteString(")")
		return
	}
	switch e := e.(type) {
	case *Literal:
		p.literal(e)
	case *Field:
		if e.Optional {
			p.WriteString("?")
		}
		p.WriteString(fieldName(e.Name))
	case *Unary:
		p.unary(e)
	case *Logical:
		for i, x := range e.X {
			if i > 0 {
				p.WriteString(" " + e.Op.String() + " ")
			}
			p.expr(x, level(e)+1)
		}
	case *Compare:
		p.infix(e.X, e.Op.String(), e.Y, levelAdd, levelAdd)
	case *Arith:
		p.infix(e.X, e.Op.String(), e.Y, level(e), level(e)+1)
	case *In:
		p.in(e)
	case *Match:
		p.match(e)
	case *Call:
		p.WriteString(e.Name)
		p.fold(e.Fold)
		p.WriteString("(")
		list(p, e.Args)
		p.WriteString(")")
	case *Lineage:
		p.WriteString(e.Relation + " of [")
		p.filter(e.Filter)
		p.WriteString("]")
	}
}

func (p *printer) unary(e *Unary) {
	p.WriteString(e.Op.String())
	if e.Op == Not {
		p.WriteString(" ")
		p.expr(e.X, levelNot)
		return
	}
	// -(1) is an operator before a number, -1 is a number; and so for all that
	// starts with one.
	x := &printer{}
	x.expr(e.X, levelSign)
	if c := x.String()[0]; c >= '0' && c <= '9' {
		p.WriteString("(" + x.String() + ")")
		return
	}
	p.WriteString(x.String())
}

func (p *printer) infix(x Expr, op string, y Expr, left, right int) {
	p.expr(x, left)
	p.WriteString(" " + op + " ")
	p.expr(y, right)
}

func (p *printer) in(e *In) {
	p.expr(e.X, levelPrimary)
	if e.Not {
		p.WriteString(" not")
	}
	p.WriteString(" in")
	p.fold(e.Fold)
	p.WriteString(" (")
	list(p, e.List)
	p.WriteString(")")
}

func (p *printer) match(e *Match) {
	p.expr(e.X, levelPrimary)
	p.WriteString(" " + e.Op.String())
	p.fold(e.Fold && e.Op != Colon)
	p.WriteString(" ")
	if len(e.Patterns) == 1 {
		p.literal(e.Patterns[0])
		return
	}
	p.WriteString("(")
	list(p, e.Patterns)
	p.WriteString(")")
}

func (p *printer) fold(on bool) {
	if on {
		p.WriteString("~")
	}
}

func (p *printer) literal(l *Literal) {
	switch l.Kind {
	case Null:
		p.WriteString("null")
	case Bool:
		p.WriteString(strconv.FormatBool(l.Bool))
	case Int:
		p.WriteString(strconv.FormatInt(l.Int, 10))
	case Float:
		p.WriteString(float(l.Float))
	case Text:
		p.WriteString(quote(l.Text))
	}
}

// float keeps a sign that the number is a fraction: 2.0 is not 2.
func float(f float64) string {
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

// quote prefers the raw form where backslashes would double and it can hold the text.
func quote(s string) string {
	raw := strings.Contains(s, `\`) && !strings.HasPrefix(s, `"`) && !strings.HasSuffix(s, `"`) &&
		!strings.Contains(s, `"""`)
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case !strconv.IsGraphic(r):
			fmt.Fprintf(&b, `\u{%02x}`, r)
		default:
			b.WriteRune(r)
			continue
		}
		raw = raw && (r == '"' || r == '\\')
	}
	if raw {
		return `"""` + s + `"""`
	}
	return `"` + b.String() + `"`
}

// fieldName uses backquotes unless every part of the name is a plain word.
func fieldName(name string) string {
	for i, part := range strings.Split(name, ".") {
		_, reserved := token.Keyword(part)
		if !isWord(part) || i == 0 && reserved {
			return "`" + strings.ReplaceAll(name, "`", "``") + "`"
		}
	}
	return name
}

// isName reports whether a category needs no quotes.
func isName(s string) bool {
	_, reserved := token.Keyword(s)
	return isWord(s) && !reserved
}

func isWord(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || c == '@' && i == 0 || c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// duration uses the largest unit that gives a whole number.
func duration(d time.Duration) string {
	units := []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
	for _, u := range units {
		if d%u.size == 0 {
			return strconv.FormatInt(int64(d/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
}
