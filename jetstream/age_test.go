package jetstream

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAgeLetsGoWhatIsOldEnoughAndNothingElse(t *testing.T) {
	t.Parallel()
	const keep = 16 * time.Minute
	var a age
	a.keepFor(keep)
	stored := map[uint64]time.Time{} // when a sequence was there at the latest
	now := time.Unix(0, 0)
	last, gone := uint64(0), uint64(0)
	for step := range 500 {
		now = now.Add(time.Duration(step%7) * 10 * time.Second)
		for range step % 3 {
			last++
			stored[last] = now
		}
		until := a.let(last, now)
		if until < gone {
			t.Fatalf("step %d: up to %d may go, after %d", step, until, gone)
		}
		for ; gone < until; gone++ {
			if old := now.Sub(stored[gone+1]); old < keep {
				t.Fatalf("step %d: %d goes after %s", step, gone+1, old)
			}
		}
		for sequence := gone + 1; sequence <= last; sequence++ {
			if old := now.Sub(stored[sequence]); old > keep+keep/ageSteps+2*time.Minute {
				t.Fatalf("step %d: %d is still there after %s", step, sequence, old)
			}
		}
		if len(a.marks) > ageSteps+2 {
			t.Fatalf("step %d: %d marks", step, len(a.marks))
		}
	}
	if gone == 0 {
		t.Error("nothing went")
	}
}

// TestClockThatJumped starts a store again at another time of day: what was stored looks hours
// older or younger than it is.
func TestClockThatJumped(t *testing.T) {
	t.Parallel()
	const retention = time.Hour
	for name, test := range map[string]struct {
		jump time.Duration
		// stay is how long what was stored stays after the start, by the process' own clock.
		stay time.Duration
	}{
		"not":        {0, retention},
		"a bit":      {retention / 2, retention / 2},
		"ahead":      {5 * time.Hour, 0},
		"back":       {-5 * time.Hour, retention},
		"years back": {-20 * 365 * 24 * time.Hour, retention},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := open(t, options(dir))
			publish(t, openBus(t, s), candidates("k", 3)...)
			shut(t, s)

			o := options(dir)
			o.Clock = func() time.Time { return time.Now().Add(test.jump) }
			s = open(t, o)
			b := openBus(t, s)
			s.stop() // Its time is the test's from here on.
			s.housekeeping.Wait()
			start := time.Now()
			if n := heldAt(t, s, start); n != 1 {
				t.Errorf("%d messages are left before the replay, want 1", n)
			}
			if diff := cmp.Diff(names(candidates("k", 3)), consume(t, b, 3)); diff != "" {
				t.Error(diff)
			}
			if test.stay > 0 {
				if n := heldAt(t, s, start.Add(test.stay-time.Minute)); n != 1 {
					t.Errorf("%d messages are left a minute before it is time, want 1", n)
				}
			}
			if n := heldAt(t, s, start.Add(test.stay+retention/ageSteps+time.Minute)); n != 0 {
				t.Errorf("%d messages are left when it is time, want none", n)
			}
			publish(t, b, candidate("k", 3))
			if n := heldAt(t, s, start.Add(2*retention)); n != 1 {
				t.Errorf("%d messages are left, but the last is new", n)
			}
		})
	}
}

// heldAt has a store look after its bus at a time, and returns how many messages it still holds.
func heldAt(tb testing.TB, s *Store, now time.Time) uint64 {
	tb.Helper()
	return heldAtOf(tb, s, candidateStream, now)
}

// heldAtOf is heldAt for any stream.
func heldAtOf(tb testing.TB, s *Store, name string, now time.Time) uint64 {
	tb.Helper()
	e, err := s.current()
	if err != nil {
		tb.Fatal(err)
	}
	s.tendAll(tb.Context(), e, now)
	stream, err := e.js.Stream(tb.Context(), name)
	if err != nil {
		tb.Fatal(err)
	}
	return stream.CachedInfo().State.Msgs
}

func TestReplayTellsSinceWhenNothingIsMissing(t *testing.T) {
	t.Parallel()
	const retention = time.Hour
	dir := t.TempDir()
	s := open(t, options(dir))
	b := openBus(t, s)
	s.stop() // Its time is the test's from here on.
	s.housekeeping.Wait()
	publish(t, b, candidate("k", 0))
	consume(t, b, 1)
	if !b.Horizon().IsZero() {
		t.Errorf("horizon is %s although nothing was let go", b.Horizon())
	}
	start := time.Now()
	heldAt(t, s, start) // marks the first message
	between := time.Now()
	publish(t, b, candidate("k", 1))
	if n := heldAt(t, s, start.Add(retention)); n != 1 {
		t.Fatalf("%d messages are left, want the last", n)
	}
	shut(t, s)

	b = openBus(t, open(t, options(dir)))
	consume(t, b, 1)
	if h := b.Horizon(); h.Before(between) || h.After(time.Now()) {
		t.Errorf("horizon is %s, not when the oldest message came, after %s", h, between)
	}
}

func TestStreamThatFailsHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	s := open(t, options(t.TempDir()))
	b, records := openBus(t, s), openBucket(t, s)
	s.stop() // Its time is the test's from here on.
	s.housekeeping.Wait()
	consumeAll(t, b)
	// The first of all is not there, so that looking after it fails.
	s.mu.Lock()
	s.tended = append([]*tended{newTended("missing", time.Hour, nil, b.handled.Load)}, s.tended...)
	s.mu.Unlock()
	put(t, records, "k", "1")
	start := time.Now()
	held := func(hours int) uint64 {
		return heldAtOf(t, s, records.stream(), start.Add(time.Duration(hours)*time.Hour))
	}
	if held(0) != 1 || held(2) != 0 {
		t.Error("the record is not let go")
	}

	// While candidates cannot be let go, records of what became of them must stay.
	s.mu.Lock()
	s.tended[0].stream = candidateStream
	s.mu.Unlock()
	put(t, records, "l", "1")
	e, err := s.current()
	if err != nil {
		t.Fatal(err)
	}
	if err = e.js.DeleteStream(t.Context(), candidateStream); err != nil {
		t.Fatal(err)
	}
	if held(3) != 1 || held(5) != 1 {
		t.Error("the record is let go before the candidates")
	}
}

func TestRetentionCanChange(t *testing.T) {
	t.Parallel()
	var a age
	a.keepFor(time.Hour)
	start := time.Now()
	a.let(5, start)
	a.keepFor(2 * time.Hour)
	if n := a.let(5, start.Add(time.Hour+time.Minute)); n != 0 {
		t.Errorf("messages up to %d may go, before the longer time is over", n)
	}
	if n := a.let(5, start.Add(2*time.Hour)); n != 5 {
		t.Errorf("messages up to %d may go, want 5", n)
	}
}
