package skew

import "time"

// drift bounds how fast two clocks move apart between two measurements: the kernel lets a
// time daemon slew its clock by 500 ppm, and a crystal that nobody corrects is better than that. A
// clock that moves faster, or is set, contradicts what was known, and is measured anew.
const drift = 500e-6

// Bounds is an interval, both ends included, in which an offset lies: how far the other clock is
// ahead of ours.
type Bounds struct {
	Low  time.Duration `json:"low"`
	High time.Duration `json:"high"`
}

// Between returns where the offset of a clock lies that was read as stamp at some moment
// between before and after of our own. It reports false if our own clock went back in between, so that
// nothing can be said.
func Between(before, after, stamp time.Time) (Bounds, bool) {
	// Only wall times compare with a stamp; the monotonic readings tell whether ours was set meanwhile.
	passed, wall := after.Sub(before), after.Round(0).Sub(before.Round(0))
	if wall < 0 || (wall-passed).Abs() > time.Millisecond+passed/100 {
		return Bounds{}, false
	}
	return Bounds{Low: stamp.Sub(after.Round(0)), High: stamp.Sub(before.Round(0))}, true
}

// Contains reports whether the offset can be d.
func (b Bounds) Contains(d time.Duration) bool { return b.Low <= d && d <= b.High }

// Hull is the smallest interval that has both in it.
func (b Bounds) Hull(other Bounds) Bounds {
	return Bounds{Low: min(b.Low, other.Low), High: max(b.High, other.High)}
}

// Preferred is the offset to go by if nothing else is known: none if that is possible, else the middle.
func (b Bounds) Preferred() time.Duration {
	if b.Contains(0) {
		return 0
	}
	return b.Low + (b.High-b.Low)/2
}

// Farthest is how wrong an offset may be.
func (b Bounds) Farthest(offset time.Duration) time.Duration {
	return max(b.High-offset, offset-b.Low)
}

// wider is the interval after some time without a measurement.
func (b Bounds) wider(passed time.Duration) Bounds {
	d := time.Duration(float64(max(0, passed)) * drift)
	return Bounds{Low: b.Low - d, High: b.High + d}
}

// Estimate is what is known of one clock. The zero Estimate knows nothing. It is plain data: it
// can be copied, and stored as JSON.
type Estimate struct {
	// Offset is how far the clock is taken to be ahead of ours.
	Offset time.Duration `json:"offset"`
	// Within is where the offset lay At that time of our clock.
	Within Bounds    `json:"within"`
	At     time.Time `json:"at"`
}

// Known reports whether the clock was ever measured.
func (e Estimate) Known() bool { return !e.At.IsZero() }

// Add takes a measurement into account that was made at that time of our clock. It reports whether
// the Offset is another one now.
func (e *Estimate) Add(b Bounds, at time.Time) (changed bool) {
	at = at.Round(0)
	within := b
	if known := e.At; !known.IsZero() {
		old := e.Bounds(at)
		within = Bounds{Low: max(b.Low, old.Low), High: min(b.High, old.High)}
		if within.Low > within.High { // somebody has set the clock
			within = b
		}
		if at.Before(known) {
			at = known
		}
	}
	before, known := e.Offset, e.Known()
	e.Within, e.At = within, at
	if !known || !within.Contains(before) {
		e.Offset = within.Preferred()
	}
	return !known || e.Offset != before
}

// Bounds returns where the offset lies now: the longer ago the last measurement, the wider.
func (e Estimate) Bounds(now time.Time) Bounds { return e.Within.wider(now.Round(0).Sub(e.At)) }

// Tolerance is how far the Offset may be wrong now.
func (e Estimate) Tolerance(now time.Time) time.Duration { return e.Bounds(now).Farthest(e.Offset) }
