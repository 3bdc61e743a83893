package check

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/lucene"
	"github.com/portcullis-dev/portcullis/eql/token"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// condition checks an expression that must be true or false.
func (c *checker) condition(e ast.Expr) {
	k := c.expr(e)
	if k.fits(boolean) {
		if call, ok := e.(*ast.Call); ok {
			c.fields(call, call)
		}
		return
	}
	hint := "compare it with something"
	if f, ok := e.(*ast.Field); ok {
		hint = fmt.Sprintf("to ask whether it exists, write %s != null", ast.Print(f))
	}
	c.error(e, hint, "expected a condition, %s is %s", c.source(e), k)
}

// expr checks an expression and returns its type.
func (c *checker) expr(e ast.Expr) kind {
	switch e := e.(type) {
	case *ast.Literal:
		return typeOfLiteral(e)
	case *ast.Field:
		return c.field(e)
	case *ast.Unary:
		return c.unary(e)
	case *ast.Logical:
		for _, x := range e.X {
			c.condition(x)
		}
		return boolean
	case *ast.Compare:
		return c.compare(e)
	case *ast.Arith:
		return c.arith(e)
	case *ast.In:
		return c.in(e)
	case *ast.Match:
		return c.match(e)
	case *ast.Call:
		return c.call(e)
	case *ast.Lineage:
		c.error(e, "process.parent and process.entry_leader name a process' ancestors",
			"%s of is not supported: it needs all processes of the past", e.Relation)
		return boolean
	default:
		return unknown
	}
}

func (c *checker) unary(e *ast.Unary) kind {
	if e.Op == ast.Not {
		c.condition(e.X)
		return boolean
	}
	if k := c.expr(e.X); !k.fits(number) {
		c.error(e.X, "", "%s needs a number, %s is %s", e.Op, c.source(e.X), k)
		return unknown
	}
	return number
}

func (c *checker) arith(e *ast.Arith) kind {
	if c.unquotedName(e) {
		return unknown
	}
	result := number
	for _, x := range []ast.Expr{e.X, e.Y} {
		if k := c.expr(x); !k.fits(number) {
			result = unknown
			hint := ""
			if k == text && e.Op == ast.Add {
				hint = "texts are joined by concat(…)"
			}
			c.error(x, hint, "%s needs numbers, %s is %s", e.Op, c.source(x), k)
		}
	}
	return result
}

// unquotedName finds a field name such as kubernetes.io/pod-name that was
// written without backquotes, and so became a calculation.
func (c *checker) unquotedName(e *ast.Arith) bool {
	written := c.file.Slice(e.Span())
	if strings.ContainsAny(written, " \t\r\n()`") {
		return false
	}
	if _, ok := c.schema.Lookup(written); !ok || c.allKnown(e) {
		return false
	}
	c.error(e, fmt.Sprintf("write `%s`", written), "field names with / or - need backquotes")
	return true
}

func (c *checker) allKnown(e ast.Expr) bool {
	known := true
	ast.Walk(e, func(n ast.Node) bool {
		if f, ok := n.(*ast.Field); ok {
			_, found := c.schema.Lookup(f.Name)
			known = known && found
		}
		return known
	})
	return known
}

func (c *checker) compare(e *ast.Compare) kind {
	x, y := c.expr(e.X), c.expr(e.Y)
	ordered := e.Op != ast.Equal && e.Op != ast.NotEqual
	switch {
	case usesField(e.X) && usesField(e.Y) && c.faulty(e.Span()): // one of them may be a word that was meant otherwise
	case usesField(e.X) && usesField(e.Y):
		c.error(e, "compare each with a constant; events are joined by fields with sequence by",
			"two fields of an event cannot be compared with each other")
	case ordered && (isNull(e.X) || isNull(e.Y)):
		c.error(e, "to ask whether it exists, write field != null", "null is neither more nor less than anything")
	case !x.fits(y):
		c.error(e, c.typeHint(e, x, y), "%s is %s, %s is %s: they are never equal", c.source(e.X), x, c.source(e.Y), y)
	case ordered && (x == boolean || y == boolean):
		c.error(e, "write == true or == false", "true and false have no order")
	default:
		c.operands(e)
		c.fields(e, e.X, e.Y)
	}
	return boolean
}

// operands checks what depends on a field's exact type.
func (c *checker) operands(e *ast.Compare) {
	fieldSide, other := e.X, e.Y
	if usesField(e.Y) {
		fieldSide, other = e.Y, e.X
	}
	l, ok := other.(*ast.Literal)
	if !ok || l.Kind != ast.Text {
		return
	}
	if c.isIP(fieldSide) {
		if ordered := e.Op != ast.Equal && e.Op != ast.NotEqual; ordered {
			c.error(e, "", "IP addresses have no order; write cidrMatch(field, \"…/8\") for a block")
			return
		}
		c.address(l)
		return
	}
	if strings.Contains(l.Text, "*") {
		c.warn(l, "wildcards work with like and with :", "%s takes * literally", e.Op)
	}
}

func (c *checker) typeHint(e *ast.Compare, x, y kind) string {
	for _, side := range []struct {
		e     ast.Expr
		other kind
	}{{e.X, y}, {e.Y, x}} {
		l, ok := side.e.(*ast.Literal)
		switch {
		case !ok:
		case side.other == text && l.Kind != ast.Text:
			return fmt.Sprintf("write %q", ast.Print(l))
		case l.Kind == ast.Text && side.other == boolean && (l.Text == "true" || l.Text == "false"),
			l.Kind == ast.Text && side.other == number && isNumber(l.Text):
			return fmt.Sprintf("write %s without quotes", l.Text)
		}
	}
	return ""
}

func isNumber(text string) bool {
	_, err := strconv.ParseFloat(text, 64)
	return err == nil
}

func (c *checker) isIP(e ast.Expr) bool {
	f, ok := e.(*ast.Field)
	return ok && c.info.Fields[f].Type == value.IP
}

// address checks that a literal is an IP address or a CIDR block.
func (c *checker) address(l *ast.Literal) {
	if _, err := netip.ParsePrefix(l.Text); err == nil {
		return
	}
	if _, err := netip.ParseAddr(l.Text); err != nil {
		c.error(l, `such as "10.1.2.3", "fd00::1" or "10.0.0.0/8"`, "%q is neither an IP address nor a CIDR block", l.Text)
	}
}

func (c *checker) in(e *ast.In) kind {
	x := c.expr(e.X)
	c.fields(e, e.X)
	if e.Fold && !x.fits(text) {
		c.error(e.X, "write in without ~", "in~ needs text, %s is %s", c.source(e.X), x)
	}
	for _, item := range e.List {
		k := c.expr(item)
		switch {
		case usesField(item):
			c.error(item, "", "a list holds constants, not fields")
		case isNull(item):
			c.error(item, fmt.Sprintf("write %s == null", c.source(e.X)), "null in a list matches nothing")
		case !k.fits(x):
			c.error(item, "", "%s is %s, %s in the list is %s: they are never equal", c.source(e.X), x, c.source(item), k)
		default:
			c.item(e, item)
		}
	}
	return boolean
}

func (c *checker) item(e *ast.In, item ast.Expr) {
	l, ok := item.(*ast.Literal)
	if !ok || l.Kind != ast.Text {
		return
	}
	if c.isIP(e.X) {
		c.address(l)
	} else if strings.Contains(l.Text, "*") {
		c.warn(l, "wildcards work with like and with :", "%s takes * literally", inOperator(e))
	}
}

func inOperator(e *ast.In) string {
	if e.Fold {
		return "in~"
	}
	return "in"
}

func (c *checker) match(e *ast.Match) kind {
	op := e.Op.String()
	if x := c.expr(e.X); !x.fits(text) {
		c.error(e.X, "write ==", "%s needs text, %s is %s", op, c.source(e.X), x)
	}
	c.fields(e, e.X)
	if c.isIP(e.X) {
		c.error(e, `write == "10.1.2.3", == "10.0.0.0/8" or cidrMatch(…)`,
			"%s does not work on IP addresses: one address has many spellings", op)
	}
	usable := true
	for _, p := range e.Patterns {
		if p.Kind != ast.Text {
			c.error(p, "", "%s needs a string, %s is %s", op, c.source(p), typeOfLiteral(p))
			usable = false
		}
	}
	if usable && e.Op == ast.Regex {
		c.regex(e, e.Patterns, e.Fold)
	}
	return boolean
}

// maxAutomata bounds the regular expressions of a query together, in characters
// and classes after their repetitions are written out. The largest rules known
// have a few hundred.
const maxAutomata = 50_000

// regex compiles the expressions of an operator or a call of match.
func (c *checker) regex(e ast.Expr, patterns []*ast.Literal, fold bool) {
	texts := make([]string, 0, len(patterns))
	sound := true
	for _, p := range patterns {
		size, err := lucene.Size(p.Text)
		if err != nil {
			c.error(p, "", "not a regular expression: %v", err)
			sound = false
		} else if s := lucene.Suspicious(p.Text); s != "" {
			c.warn(p, "", "%s", s)
		}
		c.automata += size
		texts = append(texts, p.Text)
	}
	switch {
	case !sound:
		return
	case c.automata > maxAutomata:
		c.error(e, "split the rule", "regular expressions of the query are too large together")
		return
	}
	re, err := lucene.Compile(texts, fold)
	if err != nil {
		c.tooLarge(e, patterns, fold, err)
		return
	}
	c.info.Regexes[e] = re
}

// tooLarge reports that expressions cannot be compiled: the first of them that
// cannot alone, or all of them together.
func (c *checker) tooLarge(e ast.Expr, patterns []*ast.Literal, fold bool, together error) {
	for _, p := range patterns {
		if _, err := lucene.Compile([]string{p.Text}, fold); err != nil {
			c.error(p, "", "not a regular expression: %v", err)
			return
		}
	}
	c.error(e, "split the list", "%v", together)
}

// MaxFields is how many different fields one comparison, pattern or function of
// conditions can use: a program tries every combination of their values.
const MaxFields = 8

// fields reports a comparison, a pattern or a function e that is computed from
// too many different fields.
func (c *checker) fields(e ast.Expr, operands ...ast.Expr) {
	names := map[string]struct{}{}
	for _, x := range operands {
		computedFrom(x, names)
	}
	if len(names) > MaxFields && !c.faulty(e.Span()) {
		c.error(e, "split it with and or or", "condition uses %d different fields at once, at most %d are supported",
			len(names), MaxFields)
	}
}

// faulty reports whether something was found wrong within a span already.
func (c *checker) faulty(s token.Span) bool {
	return slices.ContainsFunc(c.diags, func(d diag.Diagnostic) bool {
		return d.Severity == diag.Error && d.Span.Start >= s.Start && d.Span.End <= s.End
	})
}

// computedFrom collects the fields that an expression is computed from. Those of
// conditions inside it are not: a condition is evaluated on its own.
func computedFrom(e ast.Expr, names map[string]struct{}) {
	switch e := e.(type) {
	case *ast.Field:
		names[e.Name] = struct{}{}
	case *ast.Unary:
		if e.Op != ast.Not {
			computedFrom(e.X, names)
		}
	case *ast.Arith:
		computedFrom(e.X, names)
		computedFrom(e.Y, names)
	case *ast.Call:
		for _, a := range e.Args {
			computedFrom(a, names)
		}
	}
}
