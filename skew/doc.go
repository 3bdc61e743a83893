// Package skew measures how far another machine's clock is from ours.
//
// Nobody can read two clocks at the same moment. But if a machine stamped something
// between a moment before and a moment after it, both told by our clock, then its clock
// was ahead by no less than stamp - after and by no more than stamp - before. That
// interval (Bounds, made by Between) is the truth whatever the network did: a slow answer makes it
// wide, never wrong.
//
// An Estimate is what several such intervals say together. It gives the offset to
// correct times by, and the tolerance that remains. Two properties matter to whoever joins
// events by corrected times:
//
//   - The offset stays what it is for as long as it can be true. Two events of one
//     source keep their distance, and an event that is delivered twice gets the same time twice.
//   - Clocks that may agree are left alone: the offset is 0 until it is proven wrong.
//
// The package has no clock of its own.
package skew
