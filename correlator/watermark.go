package correlator

import "time"

// watermark tells below which event time nothing more is expected.
type watermark struct {
	lateness time.Duration
	// newest is the newest stage time seen, and seen the wall time of that.
	newest, seen time.Time
	// last is the highest that was told: a watermark never goes back.
	last time.Time
}

func newWatermark(lateness time.Duration) *watermark { return &watermark{lateness: lateness} }

// see notes an event's stage time. A time ahead of the clock counts as now: a
// node whose clock is wrong, or that lies, must not expire everybody's sequences.
func (w *watermark) see(t, now time.Time) {
	if t.After(now) {
		t = now
	}
	if t.After(w.reached(now)) {
		w.newest, w.seen = t, now
	}
}

// reached is the event time that the stream has come to: while nothing newer
// arrives, it is taken to move on with the clock.
func (w *watermark) reached(now time.Time) time.Time {
	if w.newest.IsZero() {
		return time.Time{}
	}
	return w.newest.Add(max(0, now.Sub(w.seen)))
}

// at returns the watermark, zero before the first event.
func (w *watermark) at(now time.Time) time.Time {
	if w.newest.IsZero() {
		return time.Time{}
	}
	if t := w.reached(now).Add(-w.lateness); t.After(w.last) {
		w.last = t
	}
	return w.last
}
