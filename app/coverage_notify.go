package app

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/portcullis-dev/portcullis/status"
)

// unsentWatch remembers which notifications never got to where they should. It may be asked while it looks.
type unsentWatch struct {
	mu    sync.Mutex
	sinks map[string]status.Unsent
}

// look compares the counters with what they were.
func (w *unsentWatch) look(read samples, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	lost := map[string]status.Unsent{}
	for _, s := range read[metricNotified] {
		one := lost[s.labels["sink"]]
		switch s.labels["result"] {
		case "dropped":
			one.Dropped += int64(s.value)
		case "rejected":
			one.Rejected += int64(s.value)
		}
		lost[s.labels["sink"]] = one
	}
	if w.sinks == nil {
		w.sinks = map[string]status.Unsent{}
	}
	for sink, one := range lost {
		before := w.sinks[sink]
		one.Sink, one.Newest = sink, before.Newest
		if one.Dropped > before.Dropped || one.Rejected > before.Rejected {
			one.Newest = now
		}
		w.sinks[sink] = one
	}
}

// since are the sinks that missed something after then, by name.
func (w *unsentWatch) since(then time.Time) (out []status.Unsent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, sink := range slices.Sorted(maps.Keys(w.sinks)) {
		if one := w.sinks[sink]; one.Newest.After(then) {
			out = append(out, one)
		}
	}
	return out
}
