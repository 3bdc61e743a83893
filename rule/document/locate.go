package document

import (
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/portcullis-dev/portcullis/eql/token"
)

// locate is Value.Locate.
func (r *Reader) locate(n *yaml.Node) func(token.Pos) (token.Pos, bool) {
	start := r.span(n).Start
	if n.Style&yaml.LiteralStyle != 0 {
		return r.locateInBlock(n)
	}
	if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		start = min(start+1, token.Pos(len(r.file.Text())))
	}
	verbatim := strings.HasPrefix(r.file.Text()[start:], n.Value)
	return func(offset token.Pos) (token.Pos, bool) {
		return start + max(0, min(offset, token.Pos(len(n.Value)))), verbatim
	}
}

// locateInBlock is locate for `query: |`: every line of the value is a line of
// the file, less the indentation.
func (r *Reader) locateInBlock(n *yaml.Node) func(token.Pos) (token.Pos, bool) {
	written := token.NewFile("", n.Value)
	indentation := -1
	lines := strings.Count(n.Value, "\n") + 1
	for i := 1; indentation < 0 && i <= lines; i++ {
		if line := written.Line(i); line != "" {
			indentation = len(r.file.Line(n.Line+i)) - len(line)
		}
	}
	return func(offset token.Pos) (token.Pos, bool) {
		at := written.Position(offset)
		line := r.file.Line(n.Line + at.Line)
		lineStart := r.offset(n.Line+at.Line, 1)
		content := written.Line(at.Line)
		if indentation < 0 || !strings.HasSuffix(line, content) {
			return 0, false
		}
		before := len(string([]rune(content)[:min(at.Column-1, utf8.RuneCountInString(content))]))
		return lineStart + token.Pos(min(indentation+before, len(line))), true
	}
}
