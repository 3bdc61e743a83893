package witness

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/portcullis-dev/portcullis/eql/value"
)

// Shape is one kind of event that exists, such as a process' start: which fields
// its events have and how those hang together. A query may ask for anything; an
// event that no source can make proves nothing.
//
// In its maps, the key is a field that follows from others.
type Shape struct {
	// Name is what messages call it: a process event.
	Name string
	// Has reports whether its events can have a field.
	Has func(field string) bool
	// Usual are values that an event has where the query does not ask for others.
	// They must make an event of the shape on their own.
	Usual map[string]any
	// Fixed are values that every event has, and no other.
	Fixed map[string]any
	// Always are fields that no event misses.
	Always []string
	// Formats are regular expressions that all values of a field match as a whole.
	Formats map[string]string
	// Same names the field that another equals.
	Same map[string]string
	// Parts are fields that are parts of a path.
	Parts map[string]PartOf
	// Joined are texts that are a list's values with a space between, Counted
	// numbers that say how many those are.
	Joined  map[string]string
	Counted map[string]string
	// Follows are texts that say in other words what another field does.
	Follows map[string]Follow
	// Identity names the field that a reference joins by.
	Identity map[string]string
}

// Follow says what a field has by what another one has.
type Follow struct {
	Field string
	// Values has for each text that there can be a value of Field that makes it.
	Values map[string]any
}

// PartOf is a part of the path that another field holds.
type PartOf struct {
	Field string
	Part  Part
}

// shape is a Shape with its values and expressions ready for use.
type shape struct {
	Shape
	fixed, usual map[string][]value.Value
	formats      map[string]*textTest
	follows      map[string]map[string][]value.Value
	// nonEmpty is the format of all other texts: an empty text is a missing one.
	nonEmpty *textTest
}

func newShape(s Shape) (*shape, error) {
	if s.Has == nil {
		return nil, fmt.Errorf("shape %q: Has is missing", s.Name)
	}
	out := &shape{Shape: s, formats: map[string]*textTest{}, follows: map[string]map[string][]value.Value{}}
	var err error
	if out.fixed, err = valuesOf(s.Fixed); err != nil {
		return nil, fmt.Errorf("shape %q: %w", s.Name, err)
	}
	if out.usual, err = valuesOf(s.Usual); err != nil {
		return nil, fmt.Errorf("shape %q: %w", s.Name, err)
	}
	for field, f := range s.Follows {
		if out.follows[field], err = valuesOf(f.Values); err != nil {
			return nil, fmt.Errorf("shape %q: %w", s.Name, err)
		}
	}
	for field, expr := range s.Formats {
		if out.formats[field], err = format(expr); err != nil {
			return nil, fmt.Errorf("shape %q: format of %s: %w", s.Name, field, err)
		}
	}
	out.nonEmpty, err = format(".+")
	return out, err
}

// format is the test for texts that match an expression as a whole.
func format(expr string) (*textTest, error) {
	re, err := regexp.Compile(regardingCase + expr + ending)
	if err != nil {
		return nil, err
	}
	return newRegex(re, whole)
}

func valuesOf(document map[string]any) (map[string][]value.Value, error) {
	out := map[string][]value.Value{}
	for field, v := range document {
		switch v := v.(type) {
		case string:
			out[field] = []value.Value{value.String(v)}
		case []string:
			for _, text := range v {
				out[field] = append(out[field], value.String(text))
			}
		case bool:
			out[field] = []value.Value{value.Bool(v)}
		case int:
			out[field] = []value.Value{value.Int(int64(v))}
		default:
			return nil, fmt.Errorf("%s: a %T is no value of a field", field, v)
		}
	}
	return out, nil
}

// home returns the field that holds what a field says, and which part of it.
func (s *shape) home(field string) (name string, part Part) {
	if same, ok := s.Same[field]; ok {
		field = same
	}
	if of, ok := s.Parts[field]; ok {
		return of.Field, of.Part
	}
	if f, ok := s.Follows[field]; ok {
		return f.Field, whole
	}
	return field, whole
}

// sources returns the values by which a field that follows from another passes a
// test, as a test of the other.
func (s *shape) sources(field string, t test) test {
	var out among
	for text, source := range s.follows[field] {
		if t.holds(value.String(text)) {
			out = append(out, source...)
		}
	}
	return out
}

// following returns what a field has that follows from one with that value.
func (s *shape) following(field string, source value.Value) value.Value {
	for text, v := range s.follows[field] {
		if equal(v[0], source) {
			return value.String(text)
		}
	}
	return value.Missing()
}

// format returns what all values of a field match.
func (s *shape) format(field string) *textTest {
	if t, ok := s.formats[field]; ok {
		return t
	}
	return s.nonEmpty
}

func (s *shape) always(field string) bool { return slices.Contains(s.Always, field) }

// derived returns the fields that follow from a list's values.
func (s *shape) derived(list string) (joined, counted string) {
	return keyOf(s.Joined, list), keyOf(s.Counted, list)
}

func keyOf(m map[string]string, v string) string {
	for k, of := range m {
		if of == v {
			return k
		}
	}
	return ""
}
