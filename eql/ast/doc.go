// Package ast is the shape of a query: what the parser builds, the checker
// reads and the compiler translates.
//
// A tree says what was written, not what it means: field names are not looked
// up, types are unknown, and constructs that Portcullis does not run (pipes,
// samples) have their place. Every node knows its span in the text. Parentheses
// and comments leave no trace.
//
// Print is the inverse of parsing: a tree prints in one canonical form, and what
// it prints parses to the same tree. It is for messages, and for knowing equal
// conditions by their text. A text that people keep is laid out by package format,
// which works on the words and loses no comment.
package ast
