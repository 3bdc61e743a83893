// Package coverage remembers what was not seen.
//
// A detection is only worth as much as what stands behind it. Whoever reads one, or misses
// one, needs to know whether everything that could have mattered was seen: the agent on the
// node may have been away, the kernel's ring may have been full, an API server may have sent
// nothing, the server itself may have been down or have had no room. The [Ledger] has all of
// these times as holes ([event.Hole]), by source, and [Ledger.Of] says which of them touch a
// detection.
//
// # Sources
//
// A source is named as in event.Event.Source. What stands before the first slash is its
// family:
//
//	agent/<node>       the node's telemetry
//	audit/<API server> its audit events
//	pod/<UID>          telemetry of one pod, which did more than an agent reports of one
//	server/<part>      the server itself: whatever it dropped concerns everybody
//	join/<owner>       what was forgotten or cut of a pod's or user's own, who is the only one to lose by it
//	rule/<name>        open sequences of one rule that were forgotten
//
// Agents and API servers are expected: one that is not known at all, or was not yet known
// then, is a hole itself. "family/*" stands for all of a family.
//
// # How far an agent has come
//
// An agent that is connected may be behind. What it has not told yet is a hole too, from the last event that has
// arrived to the end of what is asked for, until the agent has come there. One that is prompt and was heard
// of just now has no such hole: it says at once what it sees, and every few seconds that there was nothing.
//
// # Bounds
//
// The ledger is bounded in holes per source, in sources per family, and in all. Beyond a
// bound it becomes coarser, and never forgets that there was a hole: neighbours become
// one hole that covers both and the time between. So too much noise makes the ledger say "perhaps" more often, never
// less often.
//
// Whom it says that of is whoever makes the noise. Sources have a share of their family's room by who can make many of
// them, and one for which there is no room is noted under what stands for its share: pods under their node
// ("agent/<node>"), what was forgotten of them under "join/node:<node>", service accounts under those of their
// namespace, pods that nobody knows under "join/uid:*". Only what has no share of its own ends under "family/*".
//
// # Who makes up for what
//
// An agent keeps what the server has not acknowledged and sends it again: its time without a
// stream is a hole only until the same agent process has caught up. If another process
// comes instead, what the first one had not sent is lost, and the hole stays. What the same process has lost meanwhile
// it counts: the ledger keeps for the collector what that has to compare the counters with, also across a restart.
//
// An API server tries a batch again for a while (five times in 80 s by default) and then
// drops it. A time in which the server was down for no longer than [Options.AuditPatience] is
// therefore no hole, and a longer one is.
//
// What was sent too late to be joined was not seen either; whoever drops it notes that.
//
// # Restarts
//
// With a [Store] the holes from before a restart still count, and the time between is one as
// described. Without, everything before the start counts as not seen.
//
// Nothing waits for the ledger: all methods but Load and Run work in memory.
package coverage
