package diag

import (
	"fmt"
	"sort"
	"strings"

	"github.com/portcullis-dev/portcullis/eql/token"
)

// Severity says what a Diagnostic means for the query.
type Severity uint8

// The severities.
const (
	// Error: the query cannot run.
	Error Severity = iota
	// Warning: the query runs, but probably not as its author thinks.
	Warning
)

// String returns "error" or "warning".
func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// Diagnostic is one finding about a query.
type Diagnostic struct {
	Severity Severity
	File     *token.File
	Span     token.Span
	// Message says what is wrong, in lower case, without a full stop.
	Message string
	// Hint says what to write instead. Empty where there is nothing to say.
	Hint string
}

// Position is where the finding starts.
func (d Diagnostic) Position() token.Position {
	if d.File == nil {
		return token.Position{Line: 1, Column: 1}
	}
	return d.File.Position(d.Span.Start)
}

// String returns the finding in one line: place, severity, message and hint.
func (d Diagnostic) String() string {
	s := fmt.Sprintf("%s: %s: %s", Escape(d.Position().String()), d.Severity, sentence(d.Message))
	if d.Hint != "" {
		s += " (" + sentence(d.Hint) + ")"
	}
	return s
}

// List is the findings about one query, in the order of their places.
type List []Diagnostic

// Err returns the list's errors as a *QueryError if there is one, else nil.
func (l List) Err() error {
	if l.HasErrors() {
		return &QueryError{Diagnostics: l}
	}
	return nil
}

// HasErrors reports whether the query cannot run.
func (l List) HasErrors() bool {
	for _, d := range l {
		if d.Severity == Error {
			return true
		}
	}
	return false
}

// Errors returns the errors of the list alone.
func (l List) Errors() List { return l.only(Error) }

// Warnings returns the warnings of the list alone.
func (l List) Warnings() List { return l.only(Warning) }

func (l List) only(s Severity) List {
	var out List
	for _, d := range l {
		if d.Severity == s {
			out = append(out, d)
		}
	}
	return out
}

// Sort orders the list by place; findings at one place keep their order.
func (l List) Sort() {
	sort.SliceStable(l, func(i, j int) bool { return l[i].Span.Start < l[j].Span.Start })
}

// QueryError is a List that travels as an error.
type QueryError struct{ Diagnostics List }

// Error returns the errors, one per line and without the warnings. The lines
// have no source text: see List.Render.
func (e *QueryError) Error() string {
	lines := make([]string, 0, len(e.Diagnostics))
	for _, d := range e.Diagnostics.Errors() {
		lines = append(lines, d.String())
	}
	return strings.Join(lines, "\n")
}
