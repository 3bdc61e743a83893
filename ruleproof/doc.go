// Package ruleproof shows that a rule runs: that it can fire at all, and that every
// part of its query counts.
//
// The events are made from the query itself (package witness) and go the way that
// all events go: as documents into an event.Event, through the matcher and the join
// of the correlator. A rule runs if
//
//   - the events that were made for it make a detection, of just those events, and
//   - none of the events that fail one condition of the query makes any: for each
//     condition at the top of each step, for each step that is left out, for a step
//     of another key, for one beyond maxspan, and for what must not happen and does.
//
// Some conditions hold for every event of ours (host.os.type == "linux"). For those
// it is enough that the compiled query would fail without them.
//
// A rule's exceptions are not looked at: they say what is not meant.
package ruleproof
