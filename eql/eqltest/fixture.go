package eqltest

import (
	"fmt"
	"slices"

	"github.com/portcullis-dev/portcullis/eql/value"
)

// Schema is a fixed list of fields. The slot of a field is its place in it.
type Schema []value.Field

// NewSchema returns a schema of fields; their slots are set.
func NewSchema(fields ...value.Field) Schema {
	s := make(Schema, len(fields))
	for i, f := range fields {
		f.Slot = i
		s[i] = f
	}
	return s
}

// Lookup implements value.Schema.
func (s Schema) Lookup(name string) (value.Field, bool) {
	for _, f := range s {
		if f.Name == name {
			return f, true
		}
	}
	return value.Field{}, false
}

// Names implements value.Schema.
func (s Schema) Names() []string {
	names := make([]string, len(s))
	for i, f := range s {
		names[i] = f.Name
	}
	return names
}

// Event is the values of one event, by slot. It implements value.Record.
type Event []value.Value

// Event returns an event with these values, by name. It panics if the schema
// does not know a name: tests would only wonder why nothing matches.
func (s Schema) Event(values map[string]value.Value) Event {
	e := make(Event, len(s))
	for name, v := range values {
		f, ok := s.Lookup(name)
		if !ok {
			panic(fmt.Sprintf("eqltest: no field %s in %v", name, s.Names()))
		}
		e[f.Slot] = v
	}
	return e
}

// Field implements value.Record.
func (e Event) Field(slot int) value.Value {
	if slot < 0 || slot >= len(e) {
		return value.Missing()
	}
	return e[slot]
}

// With returns the event with one more value.
func (e Event) With(slot int, v value.Value) Event {
	e = slices.Clone(e)
	e[slot] = v
	return e
}
