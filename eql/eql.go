package eql

import (
	"github.com/portcullis-dev/portcullis/eql/check"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/parse"
	"github.com/portcullis-dev/portcullis/eql/program"
	"github.com/portcullis-dev/portcullis/eql/token"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// Options says how to compile. The zero Options are strict and bounded.
type Options struct {
	// UnknownFields is what a field that the schema does not know is reported
	// as. Error, the zero value, is right for rules that one writes; Warning
	// is for rules made for other data, whose unknown fields are then missing
	// in every event.
	UnknownFields diag.Severity
	// Limits bounds what one query may cost. Zero fields mean the default.
	Limits parse.Limits
}

// Compile parses, checks and compiles one query. The name is for messages only,
// usually that of the file. It returns a program, with warnings if there are
// any, or no program and a list with at least one error.
func Compile(name, source string, schema value.Schema, opts Options) (*program.Program, diag.List) {
	file := token.NewFile(name, source)
	query, diags := parse.Query(file, opts.Limits)
	if diags.HasErrors() {
		return nil, diags
	}
	info, diags := check.Query(file, query, schema, check.Options{UnknownFields: opts.UnknownFields, Findings: opts.Limits.Errors})
	if diags.HasErrors() {
		return nil, diags
	}
	return program.New(query, info), diags
}

// CompileCondition does for a condition that stands alone, such as a rule's
// exception, what Compile does for a query.
func CompileCondition(name, source string, schema value.Schema, opts Options) (*program.Condition, diag.List) {
	file := token.NewFile(name, source)
	expr, diags := parse.Expr(file, opts.Limits)
	if diags.HasErrors() {
		return nil, diags
	}
	info, diags := check.Condition(file, expr, schema, check.Options{UnknownFields: opts.UnknownFields, Findings: opts.Limits.Errors})
	if diags.HasErrors() {
		return nil, diags
	}
	return program.NewCondition(expr, info), diags
}
