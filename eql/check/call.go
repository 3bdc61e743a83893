package check

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/function"
	"github.com/portcullis-dev/portcullis/eql/token"
)

func (c *checker) call(e *ast.Call) kind {
	f, ok := function.Lookup(e.Name)
	if !ok {
		hint := function.Elsewhere(e.Name)
		if near := diag.Nearest(e.Name, function.Names()); hint == "" && near != "" {
			hint = fmt.Sprintf("did you mean %s?", near)
		}
		name := token.Span{Start: e.Span().Start, End: e.Span().Start + token.Pos(len(e.Name))}
		c.error(place(name), hint, "unknown function %s", e.Name)
		for _, a := range e.Args {
			c.expr(a)
		}
		return unknown
	}
	c.info.Functions[e] = f
	if e.Fold && !f.Fold {
		c.error(e, "leave ~ out", "%s has no form that ignores case", f.Name)
	}
	if least, most := f.Arity(); len(e.Args) < least || most >= 0 && len(e.Args) > most {
		c.error(e, "it is called as "+signature(f), "%s takes %s, not %d", f.Name, arguments(least, most), len(e.Args))
	}
	for i, a := range e.Args {
		c.argument(f, f.Param(i), a)
	}
	c.special(f, e)
	return typeOfFunction(f.Result)
}

func (c *checker) argument(f function.Function, p function.Param, a ast.Expr) {
	k := c.expr(a)
	switch {
	case p.Constant && usesField(a):
		c.error(a, "", "%s of %s must be a constant", p.Name, f.Name)
	case !k.fits(typeOfFunction(p.Type)):
		hint := ""
		switch {
		case p.Type == function.Text:
			hint = fmt.Sprintf("write string(%s)", c.source(a))
		case p.Type == function.Numeric && k == text:
			hint = fmt.Sprintf("write number(%s)", c.source(a))
		}
		c.error(a, hint, "%s of %s must be %s, %s is %s", p.Name, f.Name, p.Type, c.source(a), k)
	}
}

// special checks what only one function asks of its arguments.
func (c *checker) special(f function.Function, e *ast.Call) {
	switch f.ID {
	case function.Match:
		if patterns, ok := c.constants(f, e); ok && len(patterns) > 0 {
			c.regex(e, patterns, e.Fold)
		}
	case function.Wildcard:
		c.constants(f, e)
	case function.CIDRMatch:
		blocks, _ := c.constants(f, e)
		for _, b := range blocks {
			if _, err := netip.ParsePrefix(b.Text); err != nil {
				c.error(b, `such as "10.0.0.0/8" or "fd00::/8"`, "%q is not a CIDR block", b.Text)
			}
		}
	case function.Number:
		if len(e.Args) == 2 {
			c.base(e.Args[1])
		}
	default:
	}
}

// constants returns the arguments behind the first, which must be strings.
func (c *checker) constants(f function.Function, e *ast.Call) (list []*ast.Literal, ok bool) {
	if len(e.Args) < 2 {
		return nil, false
	}
	ok = true
	for _, a := range e.Args[1:] {
		l, isLiteral := a.(*ast.Literal)
		if !isLiteral || l.Kind != ast.Text {
			if !usesField(a) {
				c.error(a, "", "%s of %s must be a string", f.Param(1).Name, f.Name)
			}
			ok = false
			continue
		}
		list = append(list, l)
	}
	return list, ok
}

func (c *checker) base(a ast.Expr) {
	l, ok := a.(*ast.Literal)
	switch {
	case ok && l.Kind == ast.Null:
	case !ok || l.Kind != ast.Int || l.Int < 2 || l.Int > 36:
		c.error(a, "", "base of number must be a whole number from 2 to 36")
	}
}

func arguments(least, most int) string {
	switch {
	case most < 0:
		return fmt.Sprintf("at least %d arguments", least)
	case most == 1:
		return "1 argument"
	case least == most:
		return fmt.Sprintf("%d arguments", least)
	default:
		return fmt.Sprintf("%d to %d arguments", least, most)
	}
}

// signature returns how a function is called: indexOf(source, part[, start]).
func signature(f function.Function) string {
	var b strings.Builder
	b.WriteString(f.Name + "(")
	for i, p := range f.Params {
		comma := ""
		if i > 0 {
			comma = ", "
		}
		if p.Optional {
			b.WriteString("[" + comma + p.Name + "]")
		} else {
			b.WriteString(comma + p.Name)
		}
	}
	if f.Variadic {
		b.WriteString(", …")
	}
	b.WriteString(")")
	return b.String()
}
