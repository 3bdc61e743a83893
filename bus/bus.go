package bus

import (
	"context"

	"github.com/portcullis-dev/portcullis/event"
)

// Candidate is an event that satisfies one stage of one rule, under one join key.
type Candidate struct {
	// Rule is the rule's name. Stage is the index of the sequence's term,
	// sequence.Until for its until term, 0 for a rule that is no sequence.
	Rule  string
	Stage int
	// Version tells apart what a rule asks for from what one of that name asked
	// for before. A candidate of another version is none of the rule's.
	Version uint64
	// Key is the encoded join key, and what the candidate is partitioned by:
	// all candidates that could meet have the same one.
	Key string
	// Event is shared and immutable.
	Event *event.Event
}

// Handler takes delivery of a candidate. Nil acknowledges it.
type Handler func(context.Context, Candidate) error

// Bus hands candidates over. Its methods may be called concurrently.
type Bus interface {
	// Publish returns nil when the bus has taken over all candidates. After an
	// error some may have been taken: publishing all of them again is right.
	Publish(ctx context.Context, candidates ...Candidate) error
	// Consume calls the handler, one candidate after the other, until the
	// context ends or the handler returns an error (which it returns; that
	// candidate is delivered again to the next Consume). When the context ends it
	// delivers what waits and then returns nil, or after a bounded time an error
	// that says what it left. The handler's context outlives Consume's by that
	// time, so that what is delivered can be dealt with.
	Consume(ctx context.Context, handle Handler) error
}
