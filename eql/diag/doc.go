// Package diag holds what the rule language has to say about a query: errors
// and warnings, each with its place in the text.
//
// A Diagnostic is data: severity, place, message, and a hint where there is
// something better to write. A List holds many, since an author wants to see
// every mistake at once. How they look is the business of Render, which shows
// the line with a mark under the offending words:
//
//	exec.eql:1:15: error: unknown field "process.nmae"
//	  1 | process where process.nmae == "sh"
//	    |               ^^^^^^^^^^^^
//	  hint: did you mean process.name?
//
// Queries come from files that others wrote. Whatever is printed is
// therefore escaped: no control or direction-changing character of a query
// reaches the terminal.
package diag
