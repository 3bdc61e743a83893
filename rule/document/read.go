package document

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/token"
)

// maxProblems is how many errors of a file are told: nobody reads more, and a
// file may be made of nothing else.
const maxProblems = 100

// Reader reads the documents of one file. It works on the YAML tree and not on
// structs, because only the tree knows places.
type Reader struct {
	file     *token.File
	problems diag.List
	errors   int
	// wrong are the nodes that read as absent.
	wrong map[*yaml.Node]bool
}

// NewReader returns a Reader of a file.
func NewReader(file *token.File) *Reader {
	return &Reader{file: file, wrong: map[*yaml.Node]bool{}}
}

// File is the file that is read.
func (r *Reader) File() *token.File { return r.file }

// Problems is everything that is wrong with what has been read so far. Beyond a
// bound, further errors are left out: the file is refused anyway.
func (r *Reader) Problems() diag.List { return r.problems }

// Documents reads one document after the other, empty ones left out, and notes
// what is wrong with each. It ends early in a file with too many mistakes.
func (r *Reader) Documents(shape *Shape) iter.Seq[Value] {
	return func(yield func(Value) bool) {
		decoder := yaml.NewDecoder(strings.NewReader(r.file.Text()))
		for r.errors < maxProblems {
			var document yaml.Node
			err := decoder.Decode(&document)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				r.syntaxError(err)
				return
			}
			if v, ok := r.document(&document, shape); ok && !yield(v) {
				return
			}
		}
	}
}

// document checks one document. It has no value if there is nothing to read in it.
func (r *Reader) document(document *yaml.Node, shape *Shape) (Value, bool) {
	if len(document.Content) == 0 || document.Content[0].ShortTag() == "!!null" {
		return Value{}, false
	}
	root := document.Content[0]
	if alias := findAlias(root); alias != nil {
		r.note(alias, "", "anchors and aliases are not supported")
		return Value{}, false
	}
	r.check(root, "", shape)
	return Value{reader: r, node: root}, !r.wrong[root]
}

// syntaxError notes what is no YAML. The decoder says the line in its text.
func (r *Reader) syntaxError(err error) {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if n, scanErr := fmt.Sscanf(message, "line %d:", &line); n == 1 && scanErr == nil {
		_, message, _ = strings.Cut(message, ": ")
	}
	r.note(&yaml.Node{Line: line, Column: 1}, "", "not YAML: "+message)
}

// findAlias returns the first node that is an alias or has an anchor.
func findAlias(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return n
	}
	for _, child := range n.Content {
		if found := findAlias(child); found != nil {
			return found
		}
	}
	return nil
}

// note notes an error at a node, which reads as absent from now on.
func (r *Reader) note(n *yaml.Node, path, message string) {
	r.wrong[n] = true
	r.complain(n, path, message)
}

// complain notes an error at a node. It looks for the place only if there is
// room for the error: that takes time, and a file may be made of mistakes.
func (r *Reader) complain(n *yaml.Node, path, message string) {
	if r.errors >= maxProblems {
		return
	}
	if path != "" {
		message = path + ": " + message
	}
	r.Add(diag.Diagnostic{File: r.file, Span: r.span(n), Message: message})
}

// Add notes a problem that somebody else has found in the file.
func (r *Reader) Add(d diag.Diagnostic) {
	if d.Severity == diag.Error {
		if r.errors >= maxProblems {
			return
		}
		r.errors++
	}
	r.problems = append(r.problems, d)
}

// check notes where a node is not of a shape.
func (r *Reader) check(n *yaml.Node, path string, shape *Shape) {
	switch shape.kind {
	case object:
		r.checkObject(n, path, shape)
	case mapping:
		r.checkMapping(n, path, shape)
	case list:
		r.checkList(n, path, shape)
	case anything:
		r.checkKeys(n, path)
	default:
		if problem := shape.scalar(n); problem != "" {
			r.note(n, path, problem)
		}
	}
}

func (r *Reader) checkObject(n *yaml.Node, path string, shape *Shape) {
	if n.Kind != yaml.MappingNode {
		r.note(n, path, "must be a mapping with the fields "+shape.names())
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i], n.Content[i+1]
		field := shape.field(key.Value)
		switch {
		case key.Kind != yaml.ScalarNode || field == nil:
			r.note(key, path, shape.unknown(key.Value))
			continue
		case seen[key.Value]:
			r.note(key, below(path, key.Value), "is there twice")
			continue
		case v.ShortTag() == "!!null" && field.shape.kind != anything:
			r.note(v, below(path, key.Value), "is empty")
		default:
			r.check(v, below(path, key.Value), field.shape)
		}
		seen[key.Value] = true // Also where it is wrong: then it is not missing as well.
	}
	if len(n.Content)/2 < shape.least {
		r.note(n, path, "needs one of the fields "+shape.names())
	}
	for _, field := range shape.fields {
		if field.required && !seen[field.name] {
			// The object itself is not wrong: its other fields are still read.
			r.complain(n, below(path, field.name), "is missing")
		}
	}
}

func (r *Reader) checkMapping(n *yaml.Node, path string, shape *Shape) {
	switch {
	case n.Kind != yaml.MappingNode:
		r.note(n, path, "must be a mapping")
		return
	case len(n.Content)/2 > shape.most:
		r.note(n, path, fmt.Sprintf("has %d entries, at most %d are allowed", len(n.Content)/2, shape.most))
		return
	}
	r.uniqueKeys(n, path)
	for i := 0; i+1 < len(n.Content); i += 2 {
		r.check(n.Content[i+1], below(path, n.Content[i].Value), shape.items)
	}
}

func (r *Reader) checkList(n *yaml.Node, path string, shape *Shape) {
	switch {
	case n.Kind != yaml.SequenceNode:
		r.note(n, path, "must be a list")
		return
	case len(n.Content) > shape.most:
		r.note(n, path, fmt.Sprintf("has %d elements, at most %d are allowed", len(n.Content), shape.most))
		return
	}
	for i, element := range n.Content {
		r.check(element, fmt.Sprintf("%s[%d]", path, i), shape.items)
	}
}

// checkKeys looks for repeated keys, at any depth.
func (r *Reader) checkKeys(n *yaml.Node, path string) {
	if n.Kind == yaml.MappingNode {
		r.uniqueKeys(n, path)
		for i := 0; i+1 < len(n.Content); i += 2 {
			r.checkKeys(n.Content[i+1], below(path, n.Content[i].Value))
		}
		return
	}
	for i, element := range n.Content {
		r.checkKeys(element, fmt.Sprintf("%s[%d]", path, i))
	}
}

// uniqueKeys notes keys of a mapping that are no plain words, or there twice.
func (r *Reader) uniqueKeys(n *yaml.Node, path string) {
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch key := n.Content[i]; {
		case key.Kind != yaml.ScalarNode || key.Value == "":
			r.note(key, path, "a key must be a word")
		case seen[key.Value]:
			r.note(key, below(path, key.Value), "is there twice")
		default:
			seen[key.Value] = true
		}
	}
}

func below(path, field string) string {
	if path == "" {
		return field
	}
	return path + "." + field
}

// span is where a node is written: all of a scalar on one line, else its start.
func (r *Reader) span(n *yaml.Node) token.Span {
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
func (r *Reader) offset(line, column int) token.Pos {
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
