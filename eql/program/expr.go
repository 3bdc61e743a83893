package program

import (
	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/function"
	"github.com/portcullis-dev/portcullis/eql/pattern"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// op is what a node of an expression does.
type op uint8

const (
	opConstant op = iota
	opField
	opNegative
	opArith
	opCompare
	opMatch
	opIn
	opCondition
	opCall
)

// expr is an expression that has a value, missing among them. It is a struct
// with a switch rather than an interface so that the compiler sees that a frame
// does not outlive its evaluation and keeps it on the stack.
type expr struct {
	op      op
	value   value.Value // opConstant
	field   int         // opField
	arith   ast.ArithOp
	compare ast.CompareOp
	matcher pattern.Matcher // opMatch, and functions with constant patterns
	list    []value.Value   // opIn
	cond    cond            // opCondition
	call    function.ID
	fold    bool
	args    []*expr

	constant bool // does not depend on the event
	builds   bool // puts texts together, or uses what does
}

// test translates a condition that is calculated for one choice of values at a
// time; l learns which fields it uses.
func (c compiler) test(e ast.Expr, l *leaf) *expr {
	switch e := e.(type) {
	case *ast.Compare:
		return settle(&expr{op: opCompare, compare: e.Op, args: c.exprs([]ast.Expr{e.X, e.Y}, l)})
	case *ast.Match:
		return settle(&expr{op: opMatch, matcher: c.matcher(e), args: c.exprs([]ast.Expr{e.X}, l)})
	case *ast.In:
		return settle(c.inList(e, l))
	default:
		return c.expr(e, l)
	}
}

// expr translates an expression. Conditions inside it, such as that in
// string(a == "x"), are as a whole true or false, whatever choice is being tried.
func (c compiler) expr(e ast.Expr, l *leaf) *expr {
	switch e := e.(type) {
	case *ast.Literal:
		return settle(&expr{value: Literal(e)})
	case *ast.Field:
		if known, ok := c.info.Fields[e]; ok {
			return &expr{op: opField, field: l.field(known.Slot)}
		}
		return settle(&expr{})
	case *ast.Unary:
		if e.Op == ast.Negative {
			return settle(&expr{op: opNegative, args: c.exprs([]ast.Expr{e.X}, l)})
		}
		if e.Op == ast.Positive {
			return c.expr(e.X, l)
		}
	case *ast.Arith:
		return settle(&expr{op: opArith, arith: e.Op, args: c.exprs([]ast.Expr{e.X, e.Y}, l)})
	case *ast.Call:
		return settle(c.function(e, l))
	}
	return &expr{op: opCondition, cond: c.condition(e)}
}

func (c compiler) exprs(list []ast.Expr, l *leaf) []*expr {
	out := make([]*expr, 0, len(list))
	for _, e := range list {
		out = append(out, c.expr(e, l))
	}
	return out
}

// settle derives from an expression's arguments what holds for the whole.
func settle(x *expr) *expr {
	x.constant = true
	for _, a := range x.args {
		x.builds = x.builds || a.builds
		x.constant = x.constant && a.constant
	}
	return x
}

func (c compiler) inList(e *ast.In, l *leaf) *expr {
	x := &expr{op: opIn, args: c.exprs([]ast.Expr{e.X}, l)}
	texts, others := c.items(e)
	x.list = others
	if len(texts) > 0 {
		x.op, x.matcher = opMatch, pattern.Set(texts, e.Fold)
	}
	return x
}

// Literal returns the value that a literal stands for.
func Literal(l *ast.Literal) value.Value {
	switch l.Kind {
	case ast.Bool:
		return value.Bool(l.Bool)
	case ast.Int:
		return value.Int(l.Int)
	case ast.Float:
		return value.Float(l.Float)
	case ast.Text:
		return value.String(l.Text)
	default:
		return value.Missing()
	}
}

// constant returns the value of an expression without fields.
func (c compiler) constant(e ast.Expr) value.Value {
	if l, ok := e.(*ast.Literal); ok {
		return Literal(l)
	}
	l := c.newLeaf(e)
	return l.x.eval(&frame{scratch: new(scratch)})
}

// eval returns the value of the expression for the frame's choice of values.
func (x *expr) eval(f *frame) value.Value {
	switch x.op {
	case opConstant:
		return x.value
	case opField:
		return f.value(x.field)
	case opNegative:
		return negative(x.args[0].eval(f))
	case opArith:
		return calculate(x.arith, x.args[0].eval(f), x.args[1].eval(f))
	case opCompare:
		return value.Bool(compare(x.compare, x.args[0].eval(f), x.args[1].eval(f)))
	case opMatch:
		v := x.args[0].eval(f)
		return value.Bool(v.Kind() == value.KindString && x.matcher.Match(v.Text()))
	case opIn:
		return value.Bool(contains(x.list, x.args[0].eval(f)))
	case opCondition:
		return value.Bool(x.cond.eval(f.record))
	default:
		return x.evalCall(f)
	}
}
