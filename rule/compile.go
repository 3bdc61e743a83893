package rule

import (
	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/rule/document"
)

// compile compiles a text with one of the language's compilers, and moves what
// that finds to its place in the file. It returns nil after an error.
func compile[T any](p *parser, v document.Value,
	compiler func(name, source string, schema value.Schema, o eql.Options) (*T, diag.List),
) *T {
	text := v.Text()
	if text == "" {
		return nil
	}
	compiled, found := compiler(p.File().Name(), text, p.options.Schema, p.options.Language)
	inset := Inset{File: p.File(), Field: v.Path(), Text: text, Span: v.Span(), At: v.Locate()}
	for _, d := range inset.Move(found) {
		p.Add(d)
	}
	if found.HasErrors() {
		return nil
	}
	return compiled
}
