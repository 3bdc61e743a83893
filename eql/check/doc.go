// Package check holds a query against a schema and against the rules of the
// language that no grammar expresses.
//
// It finds what a field name means, gives every expression a type, and reports
// whatever could only fail, never match, or mean something else than it says:
// unknown fields (with the name that was probably meant), comparisons of text
// with numbers, of fields with fields, patterns that are none, sequences that
// cannot be decided. An error stops the rule; a warning is for what can be
// meant but seldom is.
//
// Constructs of the language that a streaming engine has no answer for are
// errors here rather than in the parser, so that the message can say why.
package check
