// Package bus is the hand-over between the stateless and the stateful half of
// the correlator: what some rule wants (a Candidate) goes in at every replica,
// and comes out at the one that joins it.
//
// # The contract
//
// Publish is the point of no return: when it has returned nil, the sender may
// forget the event, and its own sender (an API server, an agent) may be told
// so. Candidates of one partition are delivered in the order in which they
// were published; those of different partitions in any order. Delivery is at
// least once: a candidate counts as delivered when the handler has returned
// nil for it, so consumers must know duplicates by the event's ID.
//
// A bus that has no room for more, or cannot store it, says so: Memory when the
// sender's context has ended, until which it waits for room, a durable one at once
// (ErrFull, ErrUnavailable). That is back-pressure: the sender's sender keeps what
// it has and comes again. Nothing is ever dropped silently.
//
// A graceful stop loses nothing: a consumer whose context ends is still given
// what waits, for a bounded time. What is left then is counted and told.
// Publishers must have stopped before the consumer is.
//
// Memory keeps its candidates in the process and loses them with it.
package bus
