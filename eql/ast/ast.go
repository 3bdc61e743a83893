package ast

import (
	"time"

	"github.com/portcullis-dev/portcullis/eql/token"
)

// Node is any part of a query.
type Node interface {
	// Span is where the node stands in the text.
	Span() token.Span
}

// Place is the part that all nodes share.
type Place struct{ Range token.Span }

// At returns the place of a node that spans s.
func At(s token.Span) Place { return Place{s} }

// Span implements Node.
func (p Place) Span() token.Span { return p.Range }

// Query is a whole query: a body and the pipes behind it.
type Query struct {
	Place
	Body  Body
	Pipes []*Pipe
}

// Body is what a query looks for: *Filter, *Sequence or *Group.
type Body interface {
	Node
	body()
}

// Filter is a query for single events, and what stands in the brackets of a
// sequence: process where process.name == "sh".
type Filter struct {
	Place
	// Any says that the category is the word any: every event, also those
	// without a category. Category is empty then.
	Any      bool
	Category string
	// CategoryPlace is where the category stands.
	CategoryPlace token.Span
	Where         Expr
}

// Sequence is events that follow each other.
type Sequence struct {
	Place
	// By are the keys that all terms share; they come before a term's own.
	By []*Field
	// MaxSpan bounds the time from first to last event. Nil where not given.
	MaxSpan *Duration
	Terms   []*Term
	// Until ends what has not been completed. Nil where not given.
	Until *Term
}

// Term is one step of a sequence.
type Term struct {
	Place
	// Missing says that the step is ![ … ]: no such event may happen.
	Missing bool
	Filter  *Filter
	By      []*Field
	// Runs is the number in with runs=n, nil where not given.
	Runs *Literal
}

// Duration is a length of time as it was written, such as 5m.
type Duration struct {
	Place
	Value time.Duration
}

// Group is a sample or a join: events in any order that share keys.
type Group struct {
	Place
	// Keyword is "sample" or "join".
	Keyword string
	By      []*Field
	Terms   []*Term
	Until   *Term
}

// Pipe is a step behind a query, such as | head 5.
type Pipe struct {
	Place
	Name string
	Args []Expr
}

func (*Filter) body()   {}
func (*Sequence) body() {}
func (*Group) body()    {}
