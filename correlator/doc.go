// Package correlator runs detection rules over events and concludes detections.
//
// A Correlator has two halves with a bus between them. The stateless half, Ingest, runs at
// every replica: it evaluates every rule's predicates and publishes only what
// some rule wants, as candidates of (rule, stage, join key). When Ingest has
// returned nil, the bus is responsible for them, and an API server or an agent
// may be told so. The stateful half, Run, consumes the bus: it feeds the pure
// engines of package sequence, one per sequence rule, turns matches into
// detections and hands them on.
//
// # Matching
//
// Nearly all events are wanted by no rule, so what counts is how soon that is
// known. The terms of all rules are linked (package eql/program): an event goes
// into a bucket by its dataset, category and action (a request by its verb and
// stage), and is held against those terms together that can still match. It costs about the same for a thousand
// rules as for seventy, and allocates nothing.
//
// # Open sequences
//
// An event that a sequence waits with is kept packed (package event/packed), and
// what it shares with others, its pod above all, once. A Correlator keeps a
// million in less than 512 MiB, and bounds them by count and size. Beyond, whoever keeps
// most of them, over all rules, loses the oldest: the pod that an event happened in, the pod
// whose token made a request, or the user. So noise costs those who make it. What is due is
// found in a heap: time that passes costs in proportion to what expires.
//
// # What a detection comes to
//
// A rule of single events is decided by each of them. A sequence is matched as soon as
// its events are there, and told as Provisional: that is enough to act. Events
// that come later can change it, until none is taken any more that could; every change is told
// under the same ID. In the end it is Final, or Superseded by the detection that has its events
// now. The final ones do not depend on the order in which events arrived. What was
// decided to be done about a detection stays as it was at first.
//
// # Exchanging rules
//
// SetRules exchanges the rules while events come. Each candidate carries the
// version of the rule that wanted it, so that one on the bus which an older
// version of a rule wanted is not taken for a stage of the new one.
//
// # Replaying
//
// A Replay runs rules over recorded events, through the same matcher and join but
// by the events' time alone. Its result is what a Correlator would have concluded
// in the end, without what it would have taken back.
//
// # What a detection is about
//
// Its pod is the one in which the chain's telemetry happened; without telemetry
// it is the subject of its audit events (event.Event.SubjectPod). Its user is
// the authenticated one of its audit events. If the events of one chain
// disagree, or an identity is less than certain (a pod needs a UID, and
// confidence by-name or better), the detection says so in Why and its action is
// none: an ambiguous identity never quarantines anybody, in no mode, unless the rule
// says that all candidates are to be. A pod that is ambiguous still joins, as each of its
// candidates.
//
// # Time
//
// Sequences are ordered by the events' own time, as far as the clocks of different
// sources are known. The watermark, below which no more is expected, is Lateness
// behind the clock, and so much longer as the last source is behind; a source counts as
// at most Lateness behind, and is not waited for once it has been silent for that long. So
// nobody can hold it for ever, and whatever time an event claims, it does not move it.
// Events behind the watermark still join if they are not behind by more than
// their sequence's span. Those that are refused are counted and logged.
//
// # Restarts
//
// What is open is nowhere but in memory. After a restart the bus delivers again what it
// has kept (see Retention), and the join goes through the same time again, by when
// the events arrived: it comes to the same matches, by the same IDs (see Options.Known
// and Replaying).
//
// # Rules that misbehave
//
// A rule that panics fails for that event only; one that keeps being slow is
// suspended for a while. Both are counted and logged, the others go on.
package correlator
