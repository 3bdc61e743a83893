package check

import (
	"fmt"
	"strings"

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
	if near := nearest(f.Name, c.schema.Names()); near != "" {
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

// nearest returns the name that was probably meant, or "".
func nearest(name string, names []string) string {
	const longest = 200
	if len(name) > longest {
		return ""
	}
	best, least := "", max(2, len(name)/5)+1
	for _, n := range names {
		if len(n) > longest {
			continue
		}
		if strings.EqualFold(n, name) {
			return n
		}
		if d := distance(name, n, least+1); d < least || d == least && best != "" && n < best {
			best, least = n, d
		}
	}
	return best
}

// distance counts the letters to insert, delete, replace or exchange with their
// neighbour to make a from b, giving up at limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	before := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	next := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row, next = row, next, before
	}
	return min(row[len(b)], limit)
}
