package rule

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/token"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// compile compiles the text of a node with one of the language's compilers, and
// moves what that finds to its place in the file. It returns nil after an error.
func compile[T any](p *parser, n *yaml.Node, path, text string,
	compiler func(name, source string, schema value.Schema, o eql.Options) (*T, diag.List),
) *T {
	if text == "" {
		return nil
	}
	compiled, found := compiler(p.file.Name(), text, p.options.Schema, p.options.Language)
	where := p.locate(n)
	for _, d := range found {
		moved := diag.Diagnostic{Severity: d.Severity, File: p.file, Hint: d.Hint, Message: path + ": " + d.Message}
		start, ok := where(d.Span.Start)
		end, okEnd := where(d.Span.End)
		if ok && okEnd {
			moved.Span = token.Span{Start: start, End: end}
		} else {
			moved.Span = p.span(n)
			position := token.NewFile("", text).Position(d.Span.Start)
			moved.Message = fmt.Sprintf("%s, line %d, column %d of it: %s", path, position.Line, position.Column, d.Message)
		}
		if d.Severity == diag.Error {
			p.errors++
		}
		p.problems = append(p.problems, moved)
	}
	if found.HasErrors() {
		return nil
	}
	return compiled
}

// locate returns the function from an offset in a scalar's value to the offset
// in the file. It answers false for styles in which the two do not correspond
// (folded, or with escapes).
func (p *parser) locate(n *yaml.Node) func(token.Pos) (token.Pos, bool) {
	start := p.span(n).Start
	if n.Style&yaml.LiteralStyle != 0 {
		return p.locateInBlock(n)
	}
	if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		start = min(start+1, token.Pos(len(p.file.Text())))
	}
	verbatim := strings.HasPrefix(p.file.Text()[start:], n.Value)
	return func(offset token.Pos) (token.Pos, bool) {
		return start + max(0, min(offset, token.Pos(len(n.Value)))), verbatim
	}
}

// locateInBlock is locate for `query: |`: every line of the value is a line of
// the file, less the indentation.
func (p *parser) locateInBlock(n *yaml.Node) func(token.Pos) (token.Pos, bool) {
	written := token.NewFile("", n.Value)
	indentation := -1
	lines := strings.Count(n.Value, "\n") + 1
	for i := 1; indentation < 0 && i <= lines; i++ {
		if line := written.Line(i); line != "" {
			indentation = len(p.file.Line(n.Line+i)) - len(line)
		}
	}
	return func(offset token.Pos) (token.Pos, bool) {
		at := written.Position(offset)
		line := p.file.Line(n.Line + at.Line)
		lineStart := p.offset(n.Line+at.Line, 1)
		content := written.Line(at.Line)
		if indentation < 0 || !strings.HasSuffix(line, content) {
			return 0, false
		}
		before := len(string([]rune(content)[:min(at.Column-1, utf8.RuneCountInString(content))]))
		return lineStart + token.Pos(min(indentation+before, len(line))), true
	}
}
