package program

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/pattern"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// cond is a condition, ready to be asked about an event. Those that look at one
// field hold its slot and a test of its values; everything else is a leaf.
type cond interface {
	eval(r value.Record) bool
}

type constant bool

func (c constant) eval(value.Record) bool { return bool(c) }

type not struct{ x cond }

func (n not) eval(r value.Record) bool { return !n.x.eval(r) }

type all []cond

func (a all) eval(r value.Record) bool {
	for _, c := range a {
		if !c.eval(r) {
			return false
		}
	}
	return true
}

type either []cond

func (e either) eval(r value.Record) bool {
	for _, c := range e {
		if c.eval(r) {
			return true
		}
	}
	return false
}

// exists asks whether the event has the field.
type exists struct{ slot int }

func (e exists) eval(r value.Record) bool { return !r.Field(e.slot).IsMissing() }

// textTest asks for a text by a matcher: ==, in, like and regex.
type textTest struct {
	slot    int
	matcher pattern.Matcher
	// texts are all that the matcher matches, where it only compares; patterns
	// are what it was made of, where it is for wildcards.
	texts    []string
	patterns []string
	fold     bool
}

// equal asks for one of some texts as they are.
func equal(slot int, texts []string) textTest {
	return textTest{slot: slot, matcher: pattern.Set(texts, false), texts: texts}
}

func (t textTest) eval(r value.Record) bool {
	v := r.Field(t.slot)
	switch v.Kind() {
	case value.KindString:
		return t.matcher.Match(v.Text())
	case value.KindStrings:
		for _, s := range v.Texts() {
			if t.matcher.Match(s) {
				return true
			}
		}
	default:
	}
	return false
}

// textOrder asks for texts before or behind another, by their bytes.
type textOrder struct {
	op   ast.CompareOp
	text string
}

// Match implements pattern.Matcher.
func (t textOrder) Match(text string) bool { return ordered(t.op, strings.Compare(text, t.text)) }

// ordered translates the result of comparing x with y to that of x op y.
func ordered(op ast.CompareOp, sign int) bool {
	switch op {
	case ast.Equal:
		return sign == 0
	case ast.NotEqual:
		return sign != 0
	case ast.Less:
		return sign < 0
	case ast.LessEqual:
		return sign <= 0
	case ast.Greater:
		return sign > 0
	default:
		return sign >= 0
	}
}

// addresses matches texts that are IP addresses within one of some blocks,
// however they are spelled.
type addresses []netip.Prefix

// Match implements pattern.Matcher.
func (a addresses) Match(text string) bool {
	if !mayBeAddress(text) {
		return false
	}
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return false
	}
	ip = ip.Unmap()
	return slices.ContainsFunc(a, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// mayBeAddress spares netip the texts that are no addresses, since its errors
// allocate. Addresses with a zone (fe80::1%eth0) are in no block either.
func mayBeAddress(text string) bool {
	const longest = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")
	separated := false
	for i := range len(text) {
		c := text[i]
		separator := c == ':' || c == '.'
		separated = separated || separator
		if !separator && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return false
		}
	}
	return separated && len(text) <= longest
}

// newAddresses reads addresses and blocks that were checked.
func newAddresses(texts []string) addresses {
	out := make(addresses, 0, len(texts))
	for _, t := range texts {
		if p, err := netip.ParsePrefix(t); err == nil {
			out = append(out, unmap(p))
		} else if ip, err := netip.ParseAddr(t); err == nil {
			ip = ip.Unmap().WithZone("")
			out = append(out, netip.PrefixFrom(ip, ip.BitLen()))
		}
	}
	return out
}

// unmap returns the IPv4 block that an IPv4-mapped IPv6 block stands for.
func unmap(p netip.Prefix) netip.Prefix {
	const mapped = 96 // bits of ::ffff:0:0/96
	if p.Addr().Is4In6() && p.Bits() >= mapped {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	return p
}

// boolTest asks for true or false.
type boolTest struct {
	slot int
	want bool
}

func (t boolTest) eval(r value.Record) bool {
	v := r.Field(t.slot)
	return v.Kind() == value.KindBool && v.Bool() == t.want
}

// numberTest asks for a number that compares with another.
type numberTest struct {
	slot   int
	op     ast.CompareOp
	number value.Value
}

func (t numberTest) eval(r value.Record) bool { return compare(t.op, r.Field(t.slot), t.number) }

// numberSet asks for one of some numbers.
type numberSet struct {
	slot    int
	numbers []value.Value
}

func (t numberSet) eval(r value.Record) bool { return contains(t.numbers, r.Field(t.slot)) }

// contains reports whether one of some constants equals v.
func contains(list []value.Value, v value.Value) bool {
	for i := range list {
		if compare(ast.Equal, v, list[i]) {
			return true
		}
	}
	return false
}

// compare compares two single values. Values of different types, and missing
// ones, do not compare: the result is false for every operator.
func compare(op ast.CompareOp, x, y value.Value) bool {
	switch {
	case isNumber(x) && isNumber(y):
		return ordered(op, compareNumbers(x, y))
	case x.Kind() != y.Kind():
		return false
	case x.Kind() == value.KindString:
		return ordered(op, strings.Compare(x.Text(), y.Text()))
	case x.Kind() == value.KindBool:
		return op == ast.Equal && x.Bool() == y.Bool()
	default:
		return false
	}
}

func isNumber(v value.Value) bool { return v.Kind() == value.KindInt || v.Kind() == value.KindFloat }

func compareNumbers(x, y value.Value) int {
	if x.Kind() == value.KindInt && y.Kind() == value.KindInt {
		return sign(x.Int() < y.Int(), x.Int() > y.Int())
	}
	return sign(x.Float() < y.Float(), x.Float() > y.Float())
}

func sign(less, more bool) int {
	switch {
	case less:
		return -1
	case more:
		return 1
	default:
		return 0
	}
}
