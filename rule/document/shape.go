package document

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// kind says which of Shape's fields count.
type kind uint8

const (
	anything kind = iota
	object
	mapping
	list
	text
	integer
	boolean
	moment
	span
)

// Shape is what a document may hold at one place. It is immutable.
type Shape struct {
	kind   kind
	fields []Field // of an object
	items  *Shape  // of a list or a mapping
	most   int     // elements of a list or mapping, bytes of a text
	words  []string
	least  int // fields of an object

	// pattern is what a text must match, and must says so to people.
	pattern *regexp.Regexp
	must    string
	// low and high bound an integer, and in nanoseconds a duration.
	low, high int64
}

// Field is a field of an object.
type Field struct {
	name     string
	doc      string
	shape    *Shape
	required bool
}

// Required is a field that must be there. The doc is shown by editors.
func Required(name string, shape *Shape, doc string) Field {
	return Field{name: name, doc: doc, shape: shape, required: true}
}

// Optional is a field that may be left out.
func Optional(name string, shape *Shape, doc string) Field {
	return Field{name: name, doc: doc, shape: shape}
}

// Object is a mapping with these fields and no others.
func Object(fields ...Field) *Shape { return &Shape{kind: object, fields: fields} }

// AnyOf is an Object with at least one of these fields, all of which are optional.
func AnyOf(fields ...Field) *Shape { return &Shape{kind: object, fields: fields, least: 1} }

// Map is a mapping with keys of the document's own choice, at most so many.
func Map(values *Shape, most int) *Shape { return &Shape{kind: mapping, items: values, most: most} }

// List is a list of at most so many elements.
func List(items *Shape, most int) *Shape { return &Shape{kind: list, items: items, most: most} }

// Text is a text that is not blank, of at most so many bytes.
func Text(most int) *Shape { return &Shape{kind: text, most: most} }

// Pattern is a Text that a regular expression matches. It should be anchored and
// keep to what JavaScript understands as well. must completes the sentence
// "this …", as in "must be small letters".
func Pattern(most int, pattern, must string) *Shape {
	return &Shape{kind: text, most: most, pattern: regexp.MustCompile(pattern), must: must}
}

// OneOf is one of a few words.
func OneOf[T ~string](words ...T) *Shape {
	s := &Shape{kind: text}
	for _, w := range words {
		s.words = append(s.words, string(w))
	}
	return s
}

// Integer is a whole number between two others, both included.
func Integer(low, high int) *Shape { return &Shape{kind: integer, low: int64(low), high: int64(high)} }

// Boolean is true or false.
func Boolean() *Shape { return &Shape{kind: boolean} }

// Time is a date, which means its beginning in UTC, or a point in time in RFC 3339.
func Time() *Shape { return &Shape{kind: moment} }

// Duration is a duration as Go writes it, such as 1h30m, between two others,
// both included.
func Duration(low, high time.Duration) *Shape {
	return &Shape{kind: span, low: int64(low), high: int64(high)}
}

// Anything is any YAML, with fields of any name, and null.
func Anything() *Shape { return &Shape{} }

func (s *Shape) field(name string) *Field {
	i := slices.IndexFunc(s.fields, func(f Field) bool { return f.name == name })
	if i < 0 {
		return nil
	}
	return &s.fields[i]
}

func (s *Shape) names() string {
	names := make([]string, len(s.fields))
	for i, f := range s.fields {
		names[i] = f.name
	}
	return strings.Join(names, ", ")
}

func (s *Shape) unknown(name string) string {
	return fmt.Sprintf("unknown field %q, known are %s", name, s.names())
}

// scalar says what is wrong with a scalar node, empty if nothing is.
func (s *Shape) scalar(n *yaml.Node) string {
	isScalar, tag := n.Kind == yaml.ScalarNode, n.ShortTag()
	switch s.kind {
	case text:
		return s.text(n)
	case integer:
		i, err := strconv.ParseInt(n.Value, 10, 64)
		if !isScalar || tag != "!!int" || err != nil || i < s.low || i > s.high {
			return fmt.Sprintf("must be a whole number from %d to %d", s.low, s.high)
		}
	case boolean:
		if !isScalar || tag != "!!bool" {
			return "must be true or false"
		}
	case moment:
		if _, err := parseTime(n.Value); !isScalar || err != nil {
			return "must be a date such as 2027-01-31 or a time such as 2027-01-31T18:00:00Z"
		}
	case span:
		if d, err := time.ParseDuration(n.Value); tag != "!!str" || err != nil || int64(d) < s.low || int64(d) > s.high {
			return fmt.Sprintf("must be a duration such as 1h, from %s to %s", time.Duration(s.low), time.Duration(s.high))
		}
	default: // no scalar
	}
	return ""
}

func (s *Shape) text(n *yaml.Node) string {
	isScalar := n.Kind == yaml.ScalarNode
	switch {
	case s.words != nil && (!isScalar || !slices.Contains(s.words, n.Value)):
		return "must be one of " + strings.Join(s.words, ", ")
	case s.words != nil:
		return ""
	case !isScalar || n.ShortTag() != "!!str":
		return "must be a text (in quotes, if it looks like something else)"
	case len(n.Value) > s.most:
		return fmt.Sprintf("has %d bytes, at most %d are allowed", len(n.Value), s.most)
	case strings.TrimSpace(n.Value) == "":
		return "is empty"
	case s.pattern != nil && !s.pattern.MatchString(n.Value):
		return s.must
	default:
		return ""
	}
}

func parseTime(s string) (time.Time, error) {
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	return t.UTC(), err
}
