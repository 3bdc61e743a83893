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
// Publish holds the sender when the bus is full, until there is room or the
// context ends: back-pressure, never a silent drop.
//
// A graceful stop loses nothing: a consumer whose context ends is still given
// what waits, for a bounded time. What is left then is counted and told.
// Publishers must have stopped before the consumer is.
//
// Memory keeps its candidates in the process and loses them with it.
package bus
