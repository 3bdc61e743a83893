// Package value is the window through which the rule language sees events.
//
// The language knows nothing of what an event is. A Schema tells it, once, when
// a rule is compiled, which fields exist: their names, types, and the slot by
// which each is read. A Record then answers for one event what is in a slot, as
// a Value. A rule that has been compiled looks no name up any more.
//
// # Values
//
// A Value is what one field holds in one event: nothing (Missing, the zero
// Value), one text, number or boolean, or several texts. Fields with several
// values are ordinary: a process has arguments, a user has groups, and
// telemetry may merge fork, exec and exit of one process into one event. A
// comparison holds if it holds for any of the values.
//
// A Value borrows what it was made of. It is read while the rule looks at the
// event and kept no longer, so making one allocates nothing and the slice given
// to Strings must merely not change until then.
//
// # References
//
// A Ref is a text that stands for something which has an identity of its own,
// such as the name of a pod. Comparisons see the text; a sequence joins by the
// identity. That is how rules which join pods by name do not join two pods that
// happen to be named alike.
package value
