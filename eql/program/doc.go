// Package program is a rule made ready to run: every name is a slot, every
// pattern a matcher, every list a set.
//
// A Program has one Stage for a query of single events, or as many as its
// sequence has steps. A stage answers two questions about one event: does it
// match, and by which keys does it join. What to make of the answers, over time
// and many events, is the engine's business: nothing here remembers anything.
//
// Programs are immutable and safe for concurrent use. Match allocates nothing.
//
// # Many rules
//
// A Set links the stages of all rules, so that an event is held against them
// together: what they have in common is evaluated once, and what cannot match is
// not looked at. Events are sorted into buckets by a few fields that nearly all
// rules ask for. Each goroutine has a Memo of the Set:
//
//	memo := set.NewMemo()
//	for event := range events {
//		memo.Reset(event)
//		for _, i := range memo.Candidates() {
//			if memo.Match(int(i)) {
//				// set.Stage(int(i)) matches
//			}
//		}
//	}
//
// # Truth
//
// A condition is true or false; there is no third value. A comparison, pattern
// or function of conditions is true if it is for any of a field's values, and
// false for a missing field. not turns that around as a whole, and != and not in
// are not (… ==) and not (… in): true for a missing field, false as soon as any
// value matches. Where one comparison uses several fields, or calculates, it is
// true if any choice of one value from each makes it so.
//
// A calculation or function is missing if anything it needs is, if whole
// numbers overflow or are divided by zero, and if a text is no number.
package program
