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
// # Clocks in doubt
//
// Hits of one Source are ordered by their times. Two hits of different Sources
// have a doubt, the sum of their Tolerances: one may precede the other if its
// time is no more than the doubt after the other's, and precedes it for sure if
// the other may not precede it. Two hits are possibly within a length of time if
// they are when the doubt is taken off their distance, and surely so if they are
// when it is added. The same event never precedes itself. With this, the above is:
//
//   - A hit can follow a hit of the stage before that may precede it, unless
//     something parts them: something that for sure came after the one and before
//     the other, and is a hit of the later one's stage, or a hit of the earlier
//     one's stage that completes a partial, or an Until (also one with the earlier).
//   - A chain is a row of hits of the positive stages, each of which can follow the
//     one before it. Each may precede every later one, and the first and the last
//     are possibly within MaxSpan.
//   - A hit of a negated stage forbids a chain if it lies in its window for sure:
//     after the one end, before the other, and within MaxSpan.
//   - A hit of the last positive stage completes a match if there is a chain to it
//     that nothing forbids. The match is the newest such chain: that with the newest
//     last hit but one, of these that with the newest before, and so on.
//
// Without doubt, each hit can follow one hit at most, and this is EQL, word for
// word. With doubt, it errs to telling: what may have parted or forbidden a chain,
// but may as well not have, does not. So of several hits that may each be the first
// after a partial, each completes a match; and where events as they truly happened
// hold a match, one is found under that key.
//
// Hits whose doubts overlap are looked at together, 32 at most: within a longer row
// of them (a flood under one key) the doubt between the first and the rest is
// ignored. So is a chain that is not found within 1024 steps of searching.
//
// # Any order of arrival
//
// Agents deliver within milliseconds, API servers seconds late and in batches,
// so hits arrive in any order, some twice. The engine keeps a key's hits for as
// long as they can matter. A hit that is the newest of its key is one step on
// the key's state; any other is put in its place, and the hits from there on (and
// a few before) are processed again. So a match is Found as soon as a chain exists,
// whatever arrived last. Since the newest partial wins and is consumed, a late hit
// can change the pairing: then the matches that no longer exist are Superseded, once
// and by name. After everything has arrived, the matches Found and not Superseded are
// exactly those of the sorted events. A match is Found once, ever.
//
// Sequences with Until or negated stages wait for the watermark before they
// report anything, because what has not arrived yet could forbid the match.
//
// A match is Final when nothing that is still taken can change it: when its
// completing hit expires, MaxSpan and Lateness behind the watermark (and eight
// times the greatest Tolerance, where there is any), or is forgotten by a limit.
//
// An engine depends on nothing but what it was given. One that is given all of it
// again tells all of it again.
//
// # One request, one hit
//
// An API request is audited at several stages. They share Hit.Request, and
// count once: the hit's identity, and the tiebreaker, is its Request. An event
// never follows itself, a request neither.
//
// # Bounds, and whose loss it is
//
// Hits per key, hits and bytes in total are limited. Every hit has an Owner. Over a
// limit in total, the owner that keeps most (by its share of both) loses hits: the
// oldest of the key that it has had for longest. Over the limit of one key, the
// owner that has most hits there loses its oldest. Nobody else loses anything, so
// whoever makes noise pushes out its own. What is lost is counted, and told to
// Limits.Dropped. It is not taken again, for as long as its owner keeps any hit.
//
// Forgetting the oldest hits of a key that is one owner's only ever loses the matches
// that contain them (and never invents one): a partial in a later slot is never older,
// by its first hit, than one that it pushed out. Hits forgotten from between those of
// other owners are as if they had never been, an Until or a negated one too: the
// others' hits may then make matches that they did not make before. What was told of
// the forgotten ones stays.
package sequence
