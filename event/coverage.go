package event

import "time"

// Coverage says whether everything was seen that could have mattered to a
// detection. The zero value says that nobody has looked.
type Coverage struct {
	// Known is set once somebody has looked.
	Known bool
	// Holes are what was not seen, none if everything was. They are bounded: the
	// longest ones are kept.
	Holes []Hole
}

// Hole is a time during which events of one source are missing, or may be.
type Hole struct {
	// Source is as in Event.Source.
	Source string
	// From and To are when it began and ended, in event time. To is zero while it lasts.
	From, To time.Time
	// Cause is a short constant, such as "kernel-ring-full" or "audit-stream-silent".
	Cause string
	// Lost is how many events are missing, 0 where nobody can count them.
	Lost uint64
}
