package eqltest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/portcullis-dev/portcullis/eql/ast"
)

// RandomQuery returns a tree such as a parser can return: of any shape, with
// constructs that are seldom or never used together. It need not make sense to
// a checker.
func RandomQuery(r *rand.Rand) *ast.Query { return generator{r}.query() }

// generator makes random trees, all of them such as a parser can return.
type generator struct{ *rand.Rand }

func (g generator) one(percent int) bool { return g.IntN(100) < percent }

func pick[T any](g generator, list ...T) T { return list[g.IntN(len(list))] }

// many returns some of what one makes; none is nil, as parsed trees have it.
func many[T any](g generator, least, most int, one func() T) []T {
	n := least + g.IntN(most-least+1)
	if n == 0 {
		return nil
	}
	out := make([]T, n)
	for i := range out {
		out[i] = one()
	}
	return out
}

func (g generator) query() *ast.Query {
	q := &ast.Query{}
	switch g.IntN(4) {
	case 0:
		q.Body = g.filter(3)
	case 1:
		q.Body = &ast.Group{Keyword: pick(g, "sample", "join"), By: g.by(), Terms: many(g, 1, 3, g.term)}
	default:
		s := &ast.Sequence{By: g.by(), Terms: many(g, 1, 4, g.term)}
		if g.one(70) {
			units := []time.Duration{time.Millisecond, time.Second, time.Minute, time.Hour, 24 * time.Hour}
			s.MaxSpan = &ast.Duration{Value: time.Duration(g.IntN(100)) * pick(g, units...)}
		}
		if g.one(30) {
			s.Until = g.term()
		}
		q.Body = s
	}
	if g.one(10) {
		q.Pipes = []*ast.Pipe{{Name: pick(g, "head", "unique"), Args: many(g, 0, 2, func() ast.Expr { return g.expr(1) })}}
	}
	return q
}

func (g generator) by() []*ast.Field { return many(g, 0, 2, g.field) }

func (g generator) term() *ast.Term {
	t := &ast.Term{Missing: g.one(20), Filter: g.filter(2), By: g.by()}
	if g.one(20) {
		t.Runs = &ast.Literal{Kind: ast.Int, Int: int64(g.IntN(10))}
	}
	return t
}

func (g generator) filter(depth int) *ast.Filter {
	f := &ast.Filter{Where: g.expr(depth)}
	if f.Any = g.one(30); !f.Any {
		f.Category = pick(g, "process", "file", "any", "where", "my-cat", "", "ünï", "a\"b\\")
	}
	return f
}

func (g generator) field() *ast.Field {
	return &ast.Field{
		Optional: g.one(20),
		Name: pick(g, "a", "a.b", "process.name", "@timestamp", "user.extra.kubernetes.io/pod-name", "and", "a.and.b",
			"in", "6x", "a b", "back`tick", "ü", "a..b", ".", "a.", "x1_y"),
	}
}

func (g generator) literal() *ast.Literal {
	switch g.IntN(6) {
	case 0:
		return &ast.Literal{Kind: ast.Null}
	case 1:
		return &ast.Literal{Kind: ast.Bool, Bool: g.one(50)}
	case 2:
		return &ast.Literal{Kind: ast.Int, Int: pick[int64](g, 0, 1, -1, 42, 1<<62, -1<<63)}
	case 3:
		return &ast.Literal{Kind: ast.Float, Float: pick[float64](g, 0, 1, -1.5, 2e30, 1e-30, 0.1, 123456.789)}
	default:
		return g.text()
	}
}

func (g generator) text() *ast.Literal {
	return &ast.Literal{Kind: ast.Text, Text: pick(g, "", "x", "a*b?", `"`, `\`, `a\b`, `"a\`, `a\"`, "a\n\t\r\f\bb", "\u200f", "\x00",
		"☃ 語", `"""`, `x"""\y`, fmt.Sprint(g.Uint32()))}
}

func (g generator) expr(depth int) ast.Expr {
	if depth == 0 {
		if g.one(50) {
			return g.literal()
		}
		return g.field()
	}
	sub := func() ast.Expr { return g.expr(g.IntN(depth)) }
	switch g.IntN(9) {
	case 0:
		return &ast.Unary{Op: pick(g, ast.Not, ast.Negative, ast.Positive), X: sub()}
	case 1:
		return &ast.Logical{Op: pick(g, ast.And, ast.Or), X: many(g, 2, 4, sub)}
	case 2:
		return &ast.Compare{Op: pick(g, ast.Equal, ast.NotEqual, ast.Less, ast.LessEqual, ast.Greater, ast.GreaterEqual), X: sub(), Y: sub()}
	case 3:
		return &ast.Arith{Op: pick(g, ast.Add, ast.Subtract, ast.Multiply, ast.Divide, ast.Modulo), X: sub(), Y: sub()}
	case 4:
		return &ast.In{X: sub(), Not: g.one(30), Fold: g.one(30), List: many(g, 1, 3, sub)}
	case 5:
		m := &ast.Match{X: sub(), Op: pick(g, ast.Like, ast.Regex, ast.Colon), Fold: g.one(50), Patterns: many(g, 1, 3, g.text)}
		m.Fold = m.Fold || m.Op == ast.Colon
		return m
	case 6:
		return &ast.Call{Name: pick(g, "f", "startsWith"), Fold: g.one(30), Args: many(g, 0, 3, sub)}
	case 7:
		return &ast.Lineage{Relation: pick(g, "child", "descendant"), Filter: g.filter(depth - 1)}
	default:
		return g.expr(0)
	}
}
