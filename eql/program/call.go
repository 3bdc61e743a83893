package program

import (
	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/function"
	"github.com/portcullis-dev/portcullis/eql/pattern"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// function translates a call. Functions that are an operator under another name
// become that operator.
func (c compiler) function(e *ast.Call, l *leaf) *expr {
	f := c.info.Functions[e]
	if op, ok := arithFunction(f.ID); ok {
		return &expr{op: opArith, arith: op, args: c.exprs(e.Args, l)}
	}
	switch f.ID {
	case function.CIDRMatch:
		return &expr{op: opMatch, matcher: newAddresses(c.texts(e.Args[1:])), args: c.exprs(e.Args[:1], l)}
	case function.Wildcard:
		return &expr{op: opMatch, matcher: pattern.Like(c.texts(e.Args[1:]), e.Fold), args: c.exprs(e.Args[:1], l)}
	case function.Match:
		return &expr{op: opMatch, matcher: regex{c.info.Regexes[e]}, args: c.exprs(e.Args[:1], l)}
	default:
		return c.ordinary(f.ID, e, l)
	}
}

func (c compiler) ordinary(id function.ID, e *ast.Call, l *leaf) *expr {
	builds := id == function.Concat || id == function.String
	return &expr{op: opCall, call: id, fold: e.Fold, args: c.exprs(e.Args, l), builds: builds}
}

func arithFunction(id function.ID) (ast.ArithOp, bool) {
	switch id {
	case function.Add:
		return ast.Add, true
	case function.Subtract:
		return ast.Subtract, true
	case function.Multiply:
		return ast.Multiply, true
	case function.Divide:
		return ast.Divide, true
	case function.Modulo:
		return ast.Modulo, true
	default:
		return 0, false
	}
}

func (c compiler) texts(list []ast.Expr) []string {
	out := make([]string, 0, len(list))
	for _, e := range list {
		out = append(out, c.constant(e).Text())
	}
	return out
}

// evalCall computes a function. Where an argument is missing, so is the result,
// but for the base of number, where null stands for the default.
func (x *expr) evalCall(f *frame) value.Value {
	switch x.call {
	case function.Concat:
		return x.concat(f)
	case function.String:
		return f.text(x.args[0].eval(f))
	case function.Number:
		return x.number(f)
	default:
		return x.textFunction(f)
	}
}

// textFunction computes a function of a text and further arguments.
func (x *expr) textFunction(f *frame) value.Value {
	var args [4]value.Value
	for i, a := range x.args {
		args[i] = a.eval(f)
		if args[i].IsMissing() {
			return value.Missing()
		}
	}
	if args[0].Kind() != value.KindString {
		return value.Missing()
	}
	source := args[0].Text()
	switch x.call {
	case function.Length:
		return value.Int(int64(characters(source)))
	case function.Substring:
		return substring(source, args[1], args[2])
	default:
		if args[1].Kind() != value.KindString {
			return value.Missing()
		}
		return x.search(source, args[1].Text(), &args)
	}
}

// search computes a function that looks for one text in another.
func (x *expr) search(source, part string, args *[4]value.Value) value.Value {
	switch x.call {
	case function.StartsWith:
		return value.Bool(pattern.HasPrefix(source, part, x.fold))
	case function.EndsWith:
		return value.Bool(pattern.HasSuffix(source, part, x.fold))
	case function.StringContains:
		start, _ := pattern.Index(source, part, x.fold)
		return value.Bool(start >= 0 && source != "" && part != "")
	case function.IndexOf:
		return indexOf(source, part, args[2], x.fold)
	case function.Between:
		return between(source, part, args[2], args[3].Bool(), x.fold)
	default:
		return value.Missing()
	}
}
