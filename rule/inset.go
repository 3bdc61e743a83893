package rule

import (
	"fmt"

	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/token"
)

// Inset is a text of its own that stands inside a file, such as a query in a
// rule file: the language speaks of places in the query, people want those in
// the file.
type Inset struct {
	File *token.File
	// Field names it in messages, such as spec.query.
	Field string
	// Text is what the language was given.
	Text string
	// Span is where in the file the whole of it stands.
	Span token.Span
	// At translates an offset in Text to one in the file. It answers false
	// where the two do not correspond.
	At func(token.Pos) (token.Pos, bool)
}

// Move returns findings about the text as findings about the file.
func (i Inset) Move(found diag.List) diag.List {
	moved := make(diag.List, 0, len(found))
	for _, d := range found {
		moved = append(moved, i.move(d))
	}
	return moved
}

func (i Inset) move(d diag.Diagnostic) diag.Diagnostic {
	moved := diag.Diagnostic{Severity: d.Severity, File: i.File, Hint: d.Hint, Message: i.Field + ": " + d.Message}
	start, ok := i.At(d.Span.Start)
	end, okEnd := i.At(d.Span.End)
	if ok && okEnd {
		moved.Span = token.Span{Start: start, End: end}
		return moved
	}
	moved.Span = i.Span
	position := token.NewFile("", i.Text).Position(d.Span.Start)
	moved.Message = fmt.Sprintf("%s, line %d, column %d of it: %s", i.Field, position.Line, position.Column, d.Message)
	return moved
}
