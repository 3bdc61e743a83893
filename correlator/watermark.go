package correlator

import "time"

// Bounds of what is remembered of sources. The largest clusters have 5,000 nodes.
const (
	maxSources = 1 << 14
	// sweepEvery is how often all sources are looked at: in between, the most that
	// one is behind only grows.
	sweepEvery = time.Second
)

// otherSources stands for those that there was no room for.
const otherSources = ""

// watermark tells below which event time nothing more is expected: lateness ago, and
// so much longer as the source is behind that is most behind. A source that is
// silent for longer than lateness is not waited for, and none counts as more behind
// than that. So the watermark is lateness to twice lateness behind the clock, whatever
// times the sources claim, and nobody can hold it for ever.
type watermark struct {
	lateness time.Duration
	sources  map[string]*source
	// began is when the first event came. For one lateness from then on nobody
	// knows what sources there are: as if one were as far behind as can be.
	began time.Time
	// held: for as long as it is set, the same goes, with a reserve: what was taken
	// before a restart is taken again, although the engines are told of the watermark
	// in steps and have yet to learn how far clocks are off.
	held bool
	// lag is how far behind the last source is; swept is when it was looked for.
	lag   time.Duration
	swept time.Time
	// last is the highest that was told: a watermark never goes back.
	last time.Time
}

// source is who reports events, by one clock and at one pace.
type source struct {
	// newest is the newest stage time seen, lag how far it was behind the clock.
	newest time.Time
	lag    time.Duration
	// seen is when something came last.
	seen time.Time
}

func newWatermark(lateness time.Duration) *watermark {
	return &watermark{lateness: lateness, sources: map[string]*source{}}
}

// begin says that the sources have been out of touch until now.
func (w *watermark) begin(now time.Time) {
	w.began, w.lag, w.held = now, w.lateness, false
}

// see notes an event's source and stage time. A time ahead of the clock counts as now: a
// node whose clock is wrong, or that lies, must not expire everybody's sequences.
func (w *watermark) see(name string, t, now time.Time) {
	if w.began.IsZero() {
		w.began, w.lag = now, w.lateness
	}
	if t.After(now) {
		t = now
	}
	s := w.sources[name]
	if s == nil {
		name = w.roomFor(name, now)
		if s = w.sources[name]; s == nil {
			s = &source{}
			w.sources[name] = s
		}
	}
	s.seen = now
	switch {
	case name == otherSources: // Several: what one has reached says nothing of the next.
		s.lag = w.lateness
	case !t.Before(s.newest) || s.newest.After(now):
		s.newest, s.lag = t, min(now.Sub(t), w.lateness)
	}
	w.lag = max(w.lag, s.lag)
}

// roomFor is the name under which a new source is remembered.
func (w *watermark) roomFor(name string, now time.Time) string {
	if len(w.sources) >= maxSources && now.Sub(w.swept) >= sweepEvery {
		w.sweep(now)
	}
	if len(w.sources) >= maxSources {
		return otherSources
	}
	return name
}

// sweep forgets silent sources and finds how far behind the last of the others is.
func (w *watermark) sweep(now time.Time) {
	w.swept, w.lag = now, 0
	if w.held || now.Before(w.began.Add(w.lateness)) {
		w.lag = w.lateness
	}
	for name, s := range w.sources {
		if now.Sub(s.seen) > w.lateness {
			delete(w.sources, name)
			continue
		}
		w.lag = max(w.lag, s.lag)
	}
}

// at returns the watermark, zero before the first event.
func (w *watermark) at(now time.Time) time.Time {
	if w.began.IsZero() {
		return time.Time{}
	}
	if since := now.Sub(w.swept); since >= sweepEvery || since < 0 {
		w.sweep(now)
	}
	t := now.Add(-w.lag - w.lateness)
	if w.held {
		t = t.Add(-retentionReserve)
	}
	if t.After(w.last) {
		w.last = t
	}
	return w.last
}
