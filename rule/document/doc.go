// Package document reads YAML documents of a known shape, strictly: unknown,
// repeated and empty fields are mistakes, and all mistakes of a file are told at
// once, each with its place.
//
// A Shape says what a document may hold:
//
//	shape := document.Object(
//		document.Required("name", document.Text(63), "What it is called."),
//		document.Optional("tags", document.List(document.Text(20), 8), "What it is about."),
//	)
//
// The same Shape reads documents and describes them to editors as a JSON schema
// (Shape.Schema), so the two cannot disagree about what is allowed.
//
//	reader := document.NewReader(file)
//	for doc := range reader.Documents(shape) {
//		name := doc.Field("name").Text()
//		…
//	}
//	if reader.Problems().HasErrors() { … }
//
// What a Shape cannot say, the caller checks and tells with Value.Problem. A
// value that is wrong reads as if it were absent: callers need not look first,
// and must not use what they have read if there were errors.
//
// Files may be hostile: their size is the caller's to bound, problems are counted
// and cut off, and anchors and aliases, which make little text into much data,
// are refused.
package document
