package check

import (
	"fmt"
	"regexp"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/function"
	"github.com/portcullis-dev/portcullis/eql/token"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// CategoryField is the field that holds an event's categories.
const CategoryField = "event.category"

// Options says how strict to be.
type Options struct {
	// UnknownFields is what a field that the schema does not know is reported
	// as. As a Warning, such a field is one that every event misses. Default Error.
	UnknownFields diag.Severity
	// Findings is how many errors are reported of one query, and how many
	// warnings. Default 20.
	Findings int
}

// Info is what checking found out about a tree. It is complete only if there
// were no errors.
type Info struct {
	// Fields has the schema's answer for each field of the tree; those that
	// are not in it are missing in every event.
	Fields map[*ast.Field]value.Field
	// Functions has the function that each call is of.
	Functions map[*ast.Call]function.Function
	// Regexes has the compiled expression of each regex and each call of match.
	Regexes map[ast.Expr]*regexp.Regexp
	// Category is where an event's category is. Unset where nothing asks for it.
	Category value.Field
}

// Query checks a whole query.
func Query(file *token.File, q *ast.Query, schema value.Schema, opts Options) (*Info, diag.List) {
	c := newChecker(file, schema, opts)
	c.query(q)
	return c.info, c.found()
}

// Condition checks a condition that stands alone.
func Condition(file *token.File, e ast.Expr, schema value.Schema, opts Options) (*Info, diag.List) {
	c := newChecker(file, schema, opts)
	c.condition(e)
	return c.info, c.found()
}

type checker struct {
	file   *token.File
	schema value.Schema
	opts   Options
	info   *Info
	diags  diag.List
	// counts has how many findings of each severity there were, also of those
	// beyond the limit.
	counts [2]int
	// automata is the size of all regular expressions together.
	automata int
}

func newChecker(file *token.File, schema value.Schema, opts Options) *checker {
	if opts.Findings <= 0 {
		opts.Findings = 20
	}
	return &checker{file: file, schema: schema, opts: opts, info: &Info{
		Fields:    map[*ast.Field]value.Field{},
		Functions: map[*ast.Call]function.Function{},
		Regexes:   map[ast.Expr]*regexp.Regexp{},
	}}
}

// report notes a finding. Errors and warnings are counted apart, so that
// warnings never hide that a query cannot run.
func (c *checker) report(severity diag.Severity, span token.Span, hint, format string, args ...any) {
	if c.counts[severity]++; c.counts[severity] > c.opts.Findings {
		return
	}
	c.diags = append(c.diags, diag.Diagnostic{
		Severity: severity, File: c.file, Span: span, Hint: hint, Message: fmt.Sprintf(format, args...),
	})
}

// found returns the findings in the order of their places, and says if they are
// not all.
func (c *checker) found() diag.List {
	c.diags.Sort()
	for _, s := range []diag.Severity{diag.Error, diag.Warning} {
		if more := c.counts[s] - c.opts.Findings; more > 0 {
			c.diags = append(c.diags, diag.Diagnostic{
				Severity: s, File: c.file, Span: c.diags[len(c.diags)-1].Span, Message: fmt.Sprintf("%d more %ss of this query are not shown", more, s),
			})
		}
	}
	return c.diags
}

func (c *checker) error(n ast.Node, hint, format string, args ...any) {
	c.report(diag.Error, n.Span(), hint, format, args...)
}

func (c *checker) warn(n ast.Node, hint, format string, args ...any) {
	c.report(diag.Warning, n.Span(), hint, format, args...)
}

// source returns a node as it was written, for messages.
func (c *checker) source(n ast.Node) string {
	const most = 60
	text := []rune(c.file.Slice(n.Span()))
	if len(text) > most {
		return string(text[:most]) + "…"
	}
	return string(text)
}
