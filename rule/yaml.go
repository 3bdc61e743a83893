package rule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/token"
)

// reader takes values out of a YAML tree and notes everything that is wrong.
// It works on the tree and not on structs, because only the tree knows places.
type reader struct {
	file     *token.File
	problems diag.List
	// errors counts those among the problems.
	errors int
}

// object is a mapping whose fields are taken one by one.
type object struct {
	reader *reader
	path   string
	node   *yaml.Node
	fields map[string]*yaml.Node
}

// maxProblems is how many problems of a file are told: nobody reads more, and a
// file may be made of nothing else.
const maxProblems = 100

// problem notes what is wrong with a node. Beyond maxProblems it does nothing:
// the file is refused anyway.
func (r *reader) problem(n *yaml.Node, path, format string, args ...any) {
	if r.errors >= maxProblems {
		return
	}
	r.errors++
	message := fmt.Sprintf(format, args...)
	if path != "" {
		message = path + ": " + message
	}
	r.problems = append(r.problems, diag.Diagnostic{File: r.file, Span: r.span(n), Message: message})
}

// span is where a node is written: all of a scalar on one line, else its start.
func (r *reader) span(n *yaml.Node) token.Span {
	start := r.offset(n.Line, n.Column)
	line := r.file.Line(n.Line)
	if n.Kind == yaml.ScalarNode && n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
		written := n.Value
		if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
			written = "'" + written + "'"
		}
		rest := r.offset(n.Line, 1) + token.Pos(len(line)) - start
		return token.Span{Start: start, End: start + min(token.Pos(len(written)), max(rest, 0))}
	}
	return token.Span{Start: start, End: start}
}

// offset is the byte offset of a line and column, as YAML counts them: from 1,
// in characters.
func (r *reader) offset(line, column int) token.Pos {
	text := r.file.Text()
	start := 0
	for range line - 1 {
		next := strings.IndexByte(text[start:], '\n')
		if next < 0 {
			return token.Pos(len(text))
		}
		start += next + 1
	}
	for i := range text[start:] {
		if column--; column <= 0 {
			return token.Pos(start + i)
		}
	}
	return token.Pos(len(text))
}

// object takes a mapping with no other fields than the known ones. Nil if n is none.
func (r *reader) object(n *yaml.Node, path string, known ...string) *object {
	if n == nil {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		r.problem(n, path, "must be a mapping with the fields %s", strings.Join(known, ", "))
		return nil
	}
	o := &object{reader: r, path: path, node: n, fields: map[string]*yaml.Node{}}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i], n.Content[i+1]
		switch _, twice := o.fields[key.Value]; {
		case key.Kind != yaml.ScalarNode || !slices.Contains(known, key.Value):
			r.problem(key, path, "unknown field %q, known are %s", key.Value, strings.Join(known, ", "))
		case twice:
			r.problem(key, o.at(key.Value), "is there twice")
		case v.ShortTag() == "!!null":
			r.problem(v, o.at(key.Value), "is empty")
			o.fields[key.Value] = nil // It is there, so it is not missing as well.
		default:
			o.fields[key.Value] = v
		}
	}
	return o
}

// at is the path of a field.
func (o *object) at(field string) string {
	if o.path == "" {
		return field
	}
	return o.path + "." + field
}

// get returns a field's node, and notes it if a required one is missing.
func (o *object) get(field string, required bool) *yaml.Node {
	if o == nil {
		return nil
	}
	n, there := o.fields[field]
	if !there && required {
		o.reader.problem(o.node, o.at(field), "is missing")
	}
	return n
}

// text takes a text of at most limit bytes, which must be there.
func (o *object) text(field string, limit int) string {
	n := o.get(field, true)
	if n == nil {
		return ""
	}
	return o.reader.text(n, o.at(field), limit)
}

func (r *reader) text(n *yaml.Node, path string, limit int) string {
	switch {
	case n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str":
		r.problem(n, path, "must be a text (in quotes, if it looks like something else)")
		return ""
	case len(n.Value) > limit:
		r.problem(n, path, "has %d bytes, at most %d are allowed", len(n.Value), limit)
		return ""
	case strings.TrimSpace(n.Value) == "":
		r.problem(n, path, "is empty")
		return ""
	}
	return n.Value
}

// integer takes a whole number between low and high.
func (o *object) integer(field string, required bool, low, high int) int {
	n := o.get(field, required)
	if n == nil {
		return 0
	}
	i, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil || i < low || i > high {
		o.reader.problem(n, o.at(field), "must be a whole number from %d to %d", low, high)
		return 0
	}
	return i
}

// object takes a field that is a mapping. Nil if it is missing.
func (o *object) object(field string, required bool, known ...string) *object {
	n := o.get(field, required)
	if n == nil {
		return nil
	}
	return o.reader.object(n, o.at(field), known...)
}

// each calls take for every element of a list of at most limit.
func (o *object) each(field string, limit int, take func(n *yaml.Node, path string)) {
	n := o.get(field, false)
	switch {
	case n == nil:
		return
	case n.Kind != yaml.SequenceNode:
		o.reader.problem(n, o.at(field), "must be a list")
		return
	case len(n.Content) > limit:
		o.reader.problem(n, o.at(field), "has %d elements, at most %d are allowed", len(n.Content), limit)
		return
	}
	for i, element := range n.Content {
		take(element, fmt.Sprintf("%s[%d]", o.at(field), i))
	}
}

// oneOf takes one of a few words.
func oneOf[T ~string](o *object, field string, required bool, words ...T) T {
	n := o.get(field, required)
	if n == nil {
		return ""
	}
	return oneWord(o.reader, n, o.at(field), words...)
}

func oneWord[T ~string](r *reader, n *yaml.Node, path string, words ...T) T {
	if n.Kind == yaml.ScalarNode && slices.Contains(words, T(n.Value)) {
		return T(n.Value)
	}
	names := make([]string, len(words))
	for i, w := range words {
		names[i] = string(w)
	}
	r.problem(n, path, "must be one of %s", strings.Join(names, ", "))
	return ""
}
