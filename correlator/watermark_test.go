package correlator

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func TestWatermarkFollowsTheLastSource(t *testing.T) {
	t.Parallel()
	const s, lateness = time.Second, 30 * time.Second
	type seen struct {
		at     time.Duration
		source string
		behind time.Duration
	}
	for name, row := range map[string]struct {
		seen []seen
		// want is how far the watermark is behind the clock at some times.
		want map[time.Duration]time.Duration
	}{
		"nothing was seen": {nil, map[time.Duration]time.Duration{100 * s: -1}},
		"at first every source may be behind": {
			[]seen{{0, "a", 0}}, map[time.Duration]time.Duration{0: 60 * s, 29 * s: 60 * s, 31 * s: 30 * s}},
		"one is behind": {
			[]seen{{0, "a", 0}, {40 * s, "a", 0}, {40 * s, "b", 10 * s}}, map[time.Duration]time.Duration{45 * s: 40 * s, 69 * s: 40 * s}},
		"one was behind and is silent": {
			[]seen{{0, "a", 0}, {40 * s, "b", 10 * s}}, map[time.Duration]time.Duration{72 * s: 30 * s}},
		"one catches up": {
			[]seen{{0, "a", 0}, {40 * s, "b", 10 * s}, {42 * s, "b", 2 * s}}, map[time.Duration]time.Duration{44 * s: 32 * s}},
		"an old event of one that has caught up": {
			[]seen{{0, "a", 0}, {40 * s, "b", s}, {42 * s, "b", 20 * s}}, map[time.Duration]time.Duration{44 * s: 31 * s}},
		"one is behind by hours": {
			[]seen{{0, "a", 0}, {40 * s, "b", 10000 * s}}, map[time.Duration]time.Duration{41 * s: 60 * s}},
		"one lives in the future": {
			[]seen{{0, "a", 0}, {40 * s, "b", -10000 * s}}, map[time.Duration]time.Duration{41 * s: 30 * s}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for at, want := range row.want {
				w := newWatermark(lateness)
				for _, x := range row.seen {
					if x.at <= at {
						w.see(x.source, noon.Add(x.at-x.behind), noon.Add(x.at))
					}
				}
				now := noon.Add(at)
				switch got := w.at(now); {
				case want < 0 && !got.IsZero():
					t.Errorf("after %s it is %s", at, got)
				case want >= 0 && now.Sub(got) != want:
					t.Errorf("after %s it is %s behind, want %s", at, now.Sub(got), want)
				}
			}
		})
	}
}

// Whatever sources claim: it is one to two times lateness behind the clock, and
// never goes back.
func TestWatermarkStaysInItsBounds(t *testing.T) {
	t.Parallel()
	const lateness = 30 * time.Second
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 5))
		w, now, last := newWatermark(lateness), noon, time.Time{}
		for range 500 {
			now = now.Add(time.Duration(r.Int64N(int64(5 * time.Second))))
			if r.IntN(3) > 0 {
				w.see(fmt.Sprint(r.IntN(5)), now.Add(time.Duration(r.Int64N(int64(4*lateness)))-3*lateness), now)
			}
			got := w.at(now)
			if got.IsZero() {
				continue
			}
			if behind := now.Sub(got); got.Before(last) || behind < lateness || behind > 2*lateness {
				t.Fatalf("seed %d: %s behind the clock, %s after the last", seed, behind, got.Sub(last))
			}
			last = got
		}
	}
}

func TestSourcesAreBounded(t *testing.T) {
	t.Parallel()
	w := newWatermark(time.Minute)
	now := noon
	for i := range 3 * maxSources {
		now = now.Add(time.Microsecond)
		w.see(fmt.Sprint("agent/", i), now, now)
	}
	if n := len(w.sources); n > maxSources+1 {
		t.Errorf("%d sources are remembered", n)
	}
	if behind := now.Sub(w.at(now)); behind != 2*time.Minute {
		t.Errorf("%s behind although not all sources are known", behind)
	}
	now = now.Add(2 * time.Minute)
	w.at(now)
	if n := len(w.sources); n != 0 {
		t.Errorf("%d sources are remembered that are silent", n)
	}
}
