package check

import (
	"fmt"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/token"
)

// field looks a name up and returns its type.
func (c *checker) field(f *ast.Field) kind {
	found, ok := c.schema.Lookup(f.Name)
	if ok {
		c.info.Fields[f] = found
		return typeOfField(found)
	}
	if f.Optional {
		return unknown
	}
	hint := "if it may be unknown on purpose, write ?" + f.Name
	if near := diag.NearestWord(f.Name, []string{"true", "false", "null"}); near != "" {
		hint = fmt.Sprintf("did you mean %s?", near)
	} else if near := diag.Nearest(f.Name, c.schema.Names()); near != "" {
		hint = fmt.Sprintf("did you mean %s?", near)
	} else if c.besideSign(f.Span()) {
		hint = "field names with / or - need backquotes: `…`"
	}
	message := "unknown field %s"
	if c.opts.UnknownFields == diag.Warning {
		message += ": it is missing in every event"
	}
	c.report(c.opts.UnknownFields, f.Span(), hint, message, f.Name)
	return unknown
}

// besideSign reports whether a name touches a sign that may belong to it.
func (c *checker) besideSign(s token.Span) bool {
	before := c.file.Slice(token.Span{Start: s.Start - 1, End: s.Start})
	after := c.file.Slice(token.Span{Start: s.End, End: s.End + 1})
	return before == "-" || before == "/" || after == "-" || after == "/"
}
