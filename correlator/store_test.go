package correlator

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
)

func TestStoreKeepsWhatEventsShareOnce(t *testing.T) {
	t.Parallel()
	s := newStore(0)
	first, second, elsewhere := execIn(cart(), 0, "ls"), execIn(cart(), time.Second, "id"), execIn(elsewhere(), 0, "ls")
	a, again, b, c := s.keep(first), s.keep(first), s.keep(second), s.keep(elsewhere)
	if *a != *again || a.part != b.part || b.part == c.part || len(s.parts) != 2 {
		t.Errorf("%d parts are kept", len(s.parts))
	}
	for k, want := range map[*kept]*event.Event{a: first, b: second, c: elsewhere} {
		if diff := cmp.Diff(want, s.event(k, tieOf(want))); diff != "" {
			t.Error(diff)
		}
	}
	for _, k := range []*kept{a, b, c} {
		s.release(k)
	}
	if len(s.parts) != 1 || s.bytes != a.part.size() {
		t.Errorf("%d parts of %d bytes are kept, one hit is still there", len(s.parts), s.bytes)
	}
	if s.release(a); len(s.parts) != 0 || s.bytes != 0 {
		t.Errorf("%d parts of %d bytes are kept for nothing", len(s.parts), s.bytes)
	}
}

// Whatever happens to open sequences, the store keeps nothing for none.
func TestStoreIsEmptyWhenNothingIsOpen(t *testing.T) {
	t.Parallel()
	schema := field.New()
	for name, end := range map[string]func(*harness){
		"expired": func(h *harness) { h.pass(t, time.Hour) },
		"exchanged": func(h *harness) {
			setRules(t, h, ruleSet(t, schema, ""))
			h.pass(t, time.Hour)
		},
		"panicked": func(h *harness) {
			for _, r := range h.join.rules {
				if r.engine != nil {
					h.join.restart(r, "test", h.now)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, schema, replayRules(t, schema), func(o *Options) { o.MaxHits = 100 })
			for i := range 50 {
				pod := elsewhere()
				pod.UID = pod.UID[:30] + string(rune('a'+i%20))
				at := time.Duration(i) * time.Second / 5
				h.feed(t, execIn(pod, at, "id"), execIn(pod, at, "ls"), called(pod, at+time.Second, "get", "pods"), called(pod, at, "get", "pods"))
			}
			if h.join.hits == 0 || h.join.store.bytes == 0 {
				t.Fatal("nothing is kept in the first place")
			}
			end(h)
			if j := h.join; j.hits != 0 || j.bytes != 0 || j.store.bytes != 0 || len(j.store.parts) != 0 {
				t.Errorf("%d hits of %d bytes and %d parts of %d bytes are kept for nothing", j.hits, j.bytes, len(j.store.parts), j.store.bytes)
			}
		})
	}
}
