// Package sequence joins hits into sequences: "a token was read, and within a
// minute the same pod called the API". It is the stateful half of the
// correlator, and nothing but a state machine: no clock, no goroutine, no I/O.
// Time comes in as data, so any history can be replayed.
//
// # Input and output
//
// A Hit says that an event satisfied one stage of the sequence under one join
// key. [Engine.Step] takes a hit and returns the matches that it changed.
// [Engine.Advance] moves the watermark, below which no more hits are expected;
// it returns what could only be decided then, and forgets what is too old to
// take part in anything.
//
// # Semantics
//
// Those of EQL on events sorted by time and tiebreaker. Every (key, stage) has
// room for one partial sequence; a hit of the first stage opens one; a hit of a
// later stage takes the newest partial of the stage before it, and with it goes
// every older one of that stage. MaxSpan counts from the first hit and is
// inclusive; a partial that is too old when its turn comes is lost, not put
// back. An Until hit ends the partials whose last hit is not after it, seen by
// hits strictly after it. Negated stages must have no hit between their
// neighbours: strictly between two positive stages; from MaxSpan before the
// last positive hit until the first one, for negated stages in front; from the
// last positive hit until MaxSpan after the first one, for those at the end.
//
// # Any order of arrival
//
// Agents deliver within milliseconds, API servers seconds late and in batches,
// so hits arrive in any order, some twice. The engine keeps a key's hits for as
// long as they can matter. A hit that is the newest of its key is one step on
// the key's state; any other is put in its place and the key is replayed. So a
// match is Found as soon as a chain exists, whatever arrived last. Since the
// newest partial wins and is consumed, a late hit can change the pairing: then
// the matches that no longer exist are Superseded, once and by name. After
// everything has arrived, the matches Found and not Superseded are exactly
// those of the sorted events. A match is Found once, ever.
//
// Sequences with Until or negated stages wait for the watermark before they
// report anything, because what has not arrived yet could forbid the match.
//
// # One request, one hit
//
// An API request is audited at several stages. They share Hit.Request, and
// count once: the hit's identity, and the tiebreaker, is its Request. An event
// never follows itself, a request neither.
//
// # Bounds
//
// Hits per key, hits and bytes in total are limited. Over a limit the oldest
// hits go first, and are counted. Forgetting a key's oldest hits only ever
// loses the matches that contain them (and never invents one): a partial in a
// later slot is never older, by its first hit, than one that it pushed out.
package sequence
