// Package token holds the smallest pieces of the rule language: the kinds of
// words that a query is made of, and the positions at which they stand.
//
// Everything that speaks about a query's text (the parser, the syntax tree, the
// diagnostics) does so in a Span of a File. A Span is two byte offsets; only
// where a person reads it does a File turn an offset into line and column.
package token
