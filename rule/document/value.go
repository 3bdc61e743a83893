package document

import (
	"fmt"
	"iter"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/portcullis-dev/portcullis/eql/token"
)

// Value is what stands at a place in a document. The zero Value is absent: it
// has no fields or elements and reads as the zero of everything.
type Value struct {
	reader *Reader
	path   string
	node   *yaml.Node
}

// Exists reports whether something stands there that can be read.
func (v Value) Exists() bool { return v.node != nil }

// Line is the line that the value begins in, from 1.
func (v Value) Line() int {
	if v.node == nil {
		return 0
	}
	return v.node.Line
}

// Path names the place within the document, as in spec.exceptions[0].where.
func (v Value) Path() string { return v.path }

// Span is where the value is written.
func (v Value) Span() token.Span {
	if v.node == nil {
		return token.Span{}
	}
	return v.reader.span(v.node)
}

// Problem notes an error about the value. Without a place (an absent value),
// what is wrong has been noted already.
func (v Value) Problem(format string, args ...any) {
	if v.node != nil {
		v.reader.note(v.node, v.path, fmt.Sprintf(format, args...))
	}
}

// at is a value at a node, absent if it is wrong.
func (v Value) at(n *yaml.Node, path string) Value {
	if v.reader.wrong[n] {
		return Value{}
	}
	return Value{reader: v.reader, path: path, node: n}
}

// Field is a field of an object or an entry of a mapping.
func (v Value) Field(name string) Value {
	if v.node == nil || v.node.Kind != yaml.MappingNode {
		return Value{}
	}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		if key := v.node.Content[i]; key.Value == name && !v.reader.wrong[key] {
			return v.at(v.node.Content[i+1], below(v.path, name))
		}
	}
	return Value{}
}

// Entries are the keys, as values of their own, and the values of an object or
// a mapping, as far as they can be read.
func (v Value) Entries() iter.Seq2[Value, Value] {
	return func(yield func(key, value Value) bool) {
		if v.node == nil || v.node.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(v.node.Content); i += 2 {
			path := below(v.path, v.node.Content[i].Value)
			key, value := v.at(v.node.Content[i], path), v.at(v.node.Content[i+1], path)
			if key.Exists() && value.Exists() && !yield(key, value) {
				return
			}
		}
	}
}

// Elements are the elements of a list, as far as they can be read.
func (v Value) Elements() []Value {
	if v.node == nil || v.node.Kind != yaml.SequenceNode {
		return nil
	}
	var elements []Value
	for i, n := range v.node.Content {
		if element := v.at(n, fmt.Sprintf("%s[%d]", v.path, i)); element.Exists() {
			elements = append(elements, element)
		}
	}
	return elements
}

// Text is the text of a scalar.
func (v Value) Text() string {
	if v.node == nil || v.node.Kind != yaml.ScalarNode {
		return ""
	}
	return v.node.Value
}

// Texts are the texts of a list of scalars.
func (v Value) Texts() []string {
	elements := v.Elements()
	if len(elements) == 0 {
		return nil
	}
	texts := make([]string, len(elements))
	for i, element := range elements {
		texts[i] = element.Text()
	}
	return texts
}

// Integer is the value of an Integer.
func (v Value) Integer() int {
	i, err := strconv.Atoi(v.Text())
	if err != nil {
		return 0
	}
	return i
}

// Boolean is the value of a Boolean.
func (v Value) Boolean() bool {
	var b bool
	if v.node != nil && v.node.Decode(&b) != nil {
		return false
	}
	return b
}

// Time is the value of a Time, in UTC.
func (v Value) Time() time.Time {
	t, err := parseTime(v.Text())
	if err != nil {
		return time.Time{}
	}
	return t
}

// Duration is the value of a Duration.
func (v Value) Duration() time.Duration {
	d, err := time.ParseDuration(v.Text())
	if err != nil {
		return 0
	}
	return d
}

// Any is the value as Go data: map[string]any, []any, string, int64, float64,
// bool and nil. What looks like a time is a string: only its reader knows better.
func (v Value) Any() any {
	if v.node == nil {
		return nil
	}
	return plain(v.node)
}

func plain(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plain(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		l := make([]any, 0, len(n.Content))
		for _, element := range n.Content {
			l = append(l, plain(element))
		}
		return l
	default:
		return plainScalar(n)
	}
}

func plainScalar(n *yaml.Node) any {
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		var b bool
		if n.Decode(&b) == nil {
			return b
		}
	case "!!int":
		var i int64
		if n.Decode(&i) == nil {
			return i
		}
	case "!!float":
		var f float64
		if n.Decode(&f) == nil {
			return f
		}
	}
	return n.Value
}

// Locate returns the function from an offset in the text of a scalar to the
// offset in the file, where that is possible: it answers false for styles in
// which the two do not correspond (folded, or with escapes).
func (v Value) Locate() func(token.Pos) (token.Pos, bool) {
	if v.node == nil {
		return func(token.Pos) (token.Pos, bool) { return 0, false }
	}
	return v.reader.locate(v.node)
}
