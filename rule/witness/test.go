package witness

import (
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/pattern"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// test is what one comparison asks of a value of its field.
type test interface {
	holds(v value.Value) bool
	// samples are values at which the test's answer changes, the ones it likes first.
	samples() []value.Value
}

// anything is what a field has that is there at all.
type anything struct{}

func (anything) holds(v value.Value) bool { return !v.IsMissing() }
func (anything) samples() []value.Value   { return nil }

// textTest asks for a text by a pattern.
type textTest struct {
	matcher pattern.Matcher
	// machine reads the whole field, matcher only the part that is asked about.
	machine machine
	part    Part
	texts   []string
}

func (t *textTest) holds(v value.Value) bool {
	if v.Kind() != value.KindString {
		return false
	}
	text := v.Text()
	if t.part != whole {
		part, ok := t.part.of(text)
		if !ok {
			return false
		}
		text = part
	}
	return t.matcher.Match(text)
}

func (t *textTest) samples() []value.Value {
	if t.part != whole {
		return nil
	}
	out := make([]value.Value, 0, len(t.texts))
	for _, text := range t.texts {
		out = append(out, value.String(text))
	}
	return out
}

const (
	ignoringCase  = `(?si)\A(?:`
	regardingCase = `(?s)\A(?:`
	ending        = `)\z`
)

func opening(fold bool) string {
	if fold {
		return ignoringCase
	}
	return regardingCase
}

// maxSamples bounds how many of a list's texts are tried as they are.
const maxSamples = 128

// newEqual returns the test for one of some texts.
func newEqual(texts []string, fold bool, part Part) (*textTest, error) {
	quoted := make([]string, 0, len(texts))
	for _, text := range texts {
		quoted = append(quoted, regexp.QuoteMeta(text))
	}
	m, err := newAutomaton(opening(fold) + strings.Join(quoted, "|") + ending)
	if err != nil {
		return nil, err
	}
	return &textTest{
		matcher: pattern.Set(texts, fold), machine: part.onPath(m), part: part,
		texts: texts[:min(len(texts), maxSamples)],
	}, nil
}

// newLike returns the test for one of some patterns with wildcards.
func newLike(patterns []string, fold bool, part Part) (*textTest, error) {
	exprs := make([]string, 0, len(patterns))
	var texts []string
	for _, p := range patterns {
		exprs = append(exprs, wildcards(p))
		if len(texts) < maxSamples {
			texts = append(texts, strings.NewReplacer("*", "", "?", "x").Replace(p), strings.NewReplacer("*", "x", "?", "x").Replace(p))
		}
	}
	m, err := newAutomaton(opening(fold) + strings.Join(exprs, "|") + ending)
	if err != nil {
		return nil, err
	}
	return &textTest{matcher: pattern.Like(patterns, fold), machine: part.onPath(m), part: part, texts: texts}, nil
}

// wildcards writes a pattern of like as a regular expression.
func wildcards(p string) string {
	var b strings.Builder
	for i, piece := range strings.Split(p, "*") {
		if i > 0 {
			b.WriteString(".*")
		}
		for j, plain := range strings.Split(piece, "?") {
			if j > 0 {
				b.WriteByte('.')
			}
			b.WriteString(regexp.QuoteMeta(plain))
		}
	}
	return b.String()
}

// newRegex returns the test for an expression that the language has compiled.
func newRegex(re *regexp.Regexp, part Part) (*textTest, error) {
	m, err := newAutomaton(re.String())
	if err != nil {
		return nil, err
	}
	return &textTest{matcher: expression{re}, machine: part.onPath(m), part: part}, nil
}

type expression struct{ *regexp.Regexp }

// Match implements pattern.Matcher.
func (e expression) Match(text string) bool { return e.MatchString(text) }

// among asks for one of some values.
type among []value.Value

func (a among) holds(v value.Value) bool {
	return slices.ContainsFunc(a, func(w value.Value) bool { return equal(v, w) })
}
func (a among) samples() []value.Value { return a }

func equal(v, w value.Value) bool {
	if isNumber(v) && isNumber(w) {
		return v.Float() == w.Float()
	}
	return v.Equal(w)
}

func isNumber(v value.Value) bool {
	return v.Kind() == value.KindInt || v.Kind() == value.KindFloat
}

// order asks for a number on one side of another.
type order struct {
	op ast.CompareOp
	n  value.Value
}

func (o order) holds(v value.Value) bool {
	if !isNumber(v) {
		return false
	}
	x, y := v.Float(), o.n.Float()
	switch o.op {
	case ast.Equal:
		return x == y
	case ast.Less:
		return x < y
	case ast.LessEqual:
		return x <= y
	case ast.Greater:
		return x > y
	default:
		return x >= y
	}
}

func (o order) samples() []value.Value {
	if o.n.Kind() == value.KindInt {
		n := o.n.Int()
		return []value.Value{value.Int(n), value.Int(n + 1), value.Int(n - 1)}
	}
	n := o.n.Float()
	return []value.Value{o.n, value.Int(int64(math.Floor(n))), value.Int(int64(math.Ceil(n))), value.Float(n + 0.5), value.Float(n - 0.5)}
}

// blocks asks for an address in one of some blocks.
type blocks []netip.Prefix

func newBlocks(texts []string) blocks {
	var b blocks
	for _, text := range texts {
		if p, err := netip.ParsePrefix(text); err == nil {
			b = append(b, p.Masked())
		} else if a, err := netip.ParseAddr(text); err == nil {
			a = a.Unmap()
			b = append(b, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return b
}

func (b blocks) holds(v value.Value) bool {
	a, err := netip.ParseAddr(v.Text())
	return err == nil && slices.ContainsFunc(b, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
}

// samples are each block's first and last address and their neighbours: if any
// address fits some blocks and not others, one of those does.
func (b blocks) samples() []value.Value {
	var out []value.Value
	for _, p := range b {
		first, last := p.Addr(), lastOf(p)
		for _, a := range []netip.Addr{first, last, first.Next(), first.Prev(), last.Next()} {
			if a.IsValid() {
				out = append(out, value.String(a.String()))
			}
		}
	}
	return out
}

func lastOf(p netip.Prefix) netip.Addr {
	bytes := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return last
}

func compiledRegex(expr string, part Part) (test, error) {
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, err
	}
	return newRegex(re, part)
}
