package witness

import (
	"maps"
	"strings"

	"github.com/portcullis-dev/portcullis/eql/value"
)

// state is an event in the making: the fields about which something was asked,
// each with values that answer to it. It is not changed once it is made.
type state struct {
	cells map[string]*cell
	// opaque are the conditions that calculate: they were not taken apart.
	opaque []goal
}

func (st *state) set(c *cell) *state {
	next := &state{cells: maps.Clone(st.cells), opaque: st.opaque}
	if next.cells == nil {
		next.cells = map[string]*cell{}
	}
	next.cells[c.name] = c
	return next
}

// cell returns what is known of a field that holds values itself.
func (s *solver) cell(st *state, name string) *cell {
	if c, ok := st.cells[name]; ok {
		return c
	}
	c := &cell{name: name, format: s.shape.format(name), always: s.shape.always(name), work: s.work}
	if known, ok := s.schema.Lookup(name); ok {
		c.typ, c.many = known.Type, known.Many
	}
	c.usual = s.shape.usual[name]
	c.values = c.usual
	if values, ok := s.initial[name]; ok {
		c.values = values
	}
	if values, ok := s.shape.fixed[name]; ok {
		c.values, c.fixed = values, true
	}
	if c.always && len(c.values) == 0 {
		c = c.answered()
	}
	return c
}

// value returns what the event has in a field of any kind.
func (s *solver) value(st *state, field string) value.Value {
	name, part := s.shape.home(field)
	if !s.shape.Has(field) || !s.shape.Has(name) {
		return value.Missing()
	}
	if list, ok := s.shape.Joined[name]; ok {
		return s.joined(s.cell(st, list).values)
	}
	if list, ok := s.shape.Counted[name]; ok {
		return value.Int(int64(len(s.cell(st, list).values)))
	}
	c := s.cell(st, name)
	switch {
	case len(c.values) == 0:
		return value.Missing()
	case s.shape.follows[field] != nil:
		return s.shape.following(field, c.values[0])
	case part != whole:
		text, ok := part.of(c.values[0].Text())
		if !ok {
			return value.Missing()
		}
		return value.String(text)
	case len(c.values) == 1:
		return c.values[0]
	default:
		return value.Strings(textsOf(c.values))
	}
}

func (s *solver) joined(values []value.Value) value.Value {
	if text := strings.Join(textsOf(values), " "); text != "" {
		return value.String(text)
	}
	return value.Missing()
}

func textsOf(values []value.Value) []string {
	texts := make([]string, 0, len(values))
	for _, v := range values {
		texts = append(texts, v.Text())
	}
	return texts
}

// view is a state as the language reads events.
type view struct {
	solver *solver
	state  *state
}

// Field implements value.Record.
func (v view) Field(slot int) value.Value {
	name, ok := v.solver.slots[slot]
	if !ok {
		return value.Missing()
	}
	return v.solver.value(v.state, name)
}

// document returns the state as the source of an event: what follows from other
// fields is left out, and what was asked to be missing is null.
func (s *solver) document(st *state) map[string]any {
	d := map[string]any{}
	for name := range s.shape.usual {
		s.put(d, s.cell(st, name))
	}
	for _, name := range s.shape.Always {
		s.put(d, s.cell(st, name))
	}
	for _, c := range st.cells {
		s.put(d, c)
	}
	return d
}

func (s *solver) put(d map[string]any, c *cell) {
	_, joined := s.shape.Joined[c.name]
	_, counted := s.shape.Counted[c.name]
	switch {
	case c.fixed || joined || counted:
		return
	case len(c.values) == 0:
		d[c.name] = nil
		return
	}
	switch v := c.values[0]; {
	case c.many && v.Kind() == value.KindString:
		d[c.name] = textsOf(c.values)
	case v.Kind() == value.KindString:
		d[c.name] = v.Text()
	case v.Kind() == value.KindBool:
		d[c.name] = v.Bool()
	case v.Kind() == value.KindInt:
		d[c.name] = v.Int()
	default:
		d[c.name] = v.Float()
	}
}
