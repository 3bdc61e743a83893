package witness

import (
	"slices"

	"github.com/portcullis-dev/portcullis/eql/value"
)

// cell is what is known of one field: what is asked of it, and values that
// answer to that. It is not changed once it is made; see with.
type cell struct {
	name string
	typ  value.Type
	many bool
	// always: it is not missing in any event. fixed: it has no other values.
	// derived: its value follows from another field, which is what has to answer.
	always, fixed, derived bool
	format                 *textTest
	// must are tests that some value passes, mustNot those that none may pass.
	must, mustNot []test
	values        []value.Value
	// usual is what it has where nothing else is asked of it.
	usual []value.Value
	// work is how much searching is left; see maxWork.
	work *int
}

// answers reports whether the values do what is asked.
func (c *cell) answers() bool {
	if c.always && len(c.values) == 0 {
		return false
	}
	for _, t := range c.must {
		if !slices.ContainsFunc(c.values, t.holds) {
			return false
		}
	}
	for _, t := range c.mustNot {
		if slices.ContainsFunc(c.values, t.holds) {
			return false
		}
	}
	return true
}

// with returns the cell with one more test, and other values if those it had
// fail it. It returns nil if none were found that pass.
func (c *cell) with(t test, want bool) *cell {
	next := *c
	if want {
		next.must = append(slices.Clip(next.must), t)
	} else {
		next.mustNot = append(slices.Clip(next.mustNot), t)
	}
	return next.answered()
}

func (c *cell) answered() *cell {
	switch {
	case c.derived || c.answers():
		return c
	case c.fixed:
		return nil
	case c.many:
		return c.several()
	default:
		return c.one()
	}
}

// one finds the value of a field that has a single one.
func (c *cell) one() *cell {
	if c.values = c.usual; c.answers() {
		return c
	}
	v, ok := c.pick(c.must)
	switch {
	case ok:
		c.values = []value.Value{v}
	case len(c.must) == 0 && !c.always:
		c.values = nil
	default:
		return nil
	}
	return c
}

// several drops the values that are forbidden, and finds one for each test that
// none of the rest passes.
func (c *cell) several() *cell {
	c.values = slices.DeleteFunc(slices.Clone(c.values), c.forbidden)
	for _, t := range c.must {
		if slices.ContainsFunc(c.values, t.holds) {
			continue
		}
		v, ok := c.pick([]test{t})
		if !ok {
			return nil
		}
		c.values = append(c.values, v)
	}
	if !c.answers() {
		return nil
	}
	return c
}

func (c *cell) forbidden(v value.Value) bool {
	return slices.ContainsFunc(c.mustNot, func(t test) bool { return t.holds(v) })
}

// pick finds a value that passes the tests and none of those that none may pass.
func (c *cell) pick(must []test) (value.Value, bool) {
	if c.isText() {
		must = append(slices.Clip(must), c.format)
	}
	for _, candidate := range c.candidates(must) {
		passes := !c.forbidden(candidate)
		for _, t := range must {
			passes = passes && t.holds(candidate)
		}
		if passes {
			return candidate, true
		}
	}
	if !c.isText() {
		return value.Missing(), false
	}
	text, ok := findText(machines(must), machines(c.mustNot), c.work)
	v := value.String(text)
	return v, ok && !c.forbidden(v) // Not every test is one of a text.
}

func (c *cell) isText() bool {
	return c.typ == value.Keyword || c.typ == value.Reference
}

// candidates are values worth trying: those at which the answer of some test changes.
func (c *cell) candidates(must []test) []value.Value {
	var out []value.Value
	for _, t := range must {
		out = append(out, t.samples()...)
	}
	if c.isText() {
		return out
	}
	for _, t := range c.mustNot {
		out = append(out, t.samples()...)
	}
	switch c.typ {
	case value.Boolean:
		return []value.Value{value.Bool(false), value.Bool(true)}
	case value.IP:
		return append(out, value.String("192.0.2.10"), value.String("2001:db8::10"))
	default:
		return append(between(out), value.Int(1), value.Int(0), value.Int(7), value.Int(1000))
	}
}

// between returns numbers, and those that lie halfway between two of them.
func between(numbers []value.Value) []value.Value {
	const few = 32
	out := slices.Clone(numbers)
	for i, a := range numbers[:min(len(numbers), few)] {
		for _, b := range numbers[:i] {
			out = append(out, value.Float((a.Float()+b.Float())/2))
		}
	}
	return out
}

func machines(tests []test) []machine {
	var out []machine
	for _, t := range tests {
		if text, ok := t.(*textTest); ok {
			out = append(out, text.machine)
		}
	}
	return out
}
