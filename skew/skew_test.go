package skew_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/skew"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

const ms = time.Millisecond

func between(t *testing.T, before, after, stamp time.Time) skew.Bounds {
	t.Helper()
	b, ok := skew.Between(before, after, stamp)
	if !ok {
		t.Fatalf("nothing is measured between %v and %v", before, after)
	}
	return b
}

func TestBetweenHasTheTruth(t *testing.T) {
	// The other clock is three minutes behind, and is read 20 ms after we ask, 80 ms before we hear.
	b := between(t, noon, noon.Add(100*ms), noon.Add(20*ms-3*time.Minute))
	if want := (skew.Bounds{Low: -3*time.Minute - 80*ms, High: -3*time.Minute + 20*ms}); b != want {
		t.Errorf("bounds are %v, want %v", b, want)
	}
}

func TestBetweenSeesThatOurClockWasSet(t *testing.T) {
	if _, ok := skew.Between(noon, noon.Add(-ms), noon); ok {
		t.Error("a clock that went back measures something")
	}
	before := time.Now()
	after := time.Now()
	if _, ok := skew.Between(before, after, noon); !ok {
		t.Error("nothing is measured by a clock that nobody touched")
	}
}

func TestOffsetStaysWhileItCanBeTrue(t *testing.T) {
	var e skew.Estimate
	for i, row := range []struct {
		low, high, want time.Duration
		changed         bool
	}{
		{-5 * ms, 20 * ms, 0, true},               // may agree: nothing is corrected
		{-1 * ms, 9 * ms, 0, false},               // narrower
		{2 * ms, 30 * ms, 5505 * ms / 1000, true}, // proven wrong: the middle of 2 and 9, a little more for the time since
		{1 * ms, 30 * ms, 5505 * ms / 1000, false},
		{179 * time.Second, 181 * time.Second, 180 * time.Second, true}, // somebody set it
	} {
		changed := e.Add(skew.Bounds{Low: row.low, High: row.high}, noon.Add(time.Duration(i)*10*time.Second))
		if (e.Offset-row.want).Abs() > 3*ms || changed != row.changed {
			t.Errorf("after measurement %d the offset is %v, changed %v, want %v, %v", i, e.Offset, changed, row.want, row.changed)
		}
	}
}

func TestToleranceGrowsWithTime(t *testing.T) {
	var e skew.Estimate
	e.Add(skew.Bounds{Low: -2 * ms, High: 3 * ms}, noon)
	if got := e.Tolerance(noon); got != 3*ms {
		t.Errorf("tolerance at once is %v", got)
	}
	if got := e.Tolerance(noon.Add(time.Hour)); got != 3*ms+1800*ms {
		t.Errorf("tolerance after an hour is %v", got)
	}
	if got := e.Tolerance(noon.Add(-time.Hour)); got != 3*ms {
		t.Errorf("tolerance before the measurement is %v", got)
	}
}

// TestTruthIsWithinTheTolerance has clocks that drift and are set, over networks of any slowness.
func TestTruthIsWithinTheTolerance(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 1))
		truth := time.Duration(rng.Int64N(int64(20*time.Minute))) - 10*time.Minute
		if rng.IntN(3) == 0 {
			truth = 0
		}
		rate := (rng.Float64() - 0.5) * 2 * 400e-6
		var e skew.Estimate
		now, widest := noon, time.Duration(0)
		for range 60 {
			pause := time.Duration(rng.Int64N(int64(30 * time.Second)))
			now = now.Add(pause)
			truth += time.Duration(float64(pause) * rate)
			set := rng.IntN(20) == 0
			if set {
				truth += time.Duration(rng.Int64N(int64(time.Hour))) - 30*time.Minute
			}
			there, back := time.Duration(rng.Int64N(int64(200*ms))), time.Duration(rng.Int64N(int64(200*ms)))
			stamp := now.Add(there).Add(truth)
			b, ok := skew.Between(now, now.Add(there+back), stamp)
			if !ok {
				t.Fatal("nothing is measured")
			}
			if !b.Contains(truth) {
				t.Fatalf("seed %d: %v is not within %v", seed, truth, b)
			}
			e.Add(b, now)
			if off := (e.Offset - truth).Abs(); !set && off > e.Tolerance(now)+ms || off > b.High-b.Low {
				t.Fatalf("seed %d: off by %v, tolerance %v, measured within %v", seed, off, e.Tolerance(now), b)
			}
			widest = max(widest, e.Tolerance(now))
		}
		if widest > 401*ms {
			t.Errorf("seed %d: the tolerance was up to %v", seed, widest)
		}
	}
}

func TestEstimateIsPlainData(t *testing.T) {
	var e, back skew.Estimate
	if e.Known() {
		t.Error("the zero Estimate knows something")
	}
	e.Add(skew.Bounds{Low: time.Second, High: 2 * time.Second}, noon)
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, back); diff != "" || !back.Known() {
		t.Errorf("what was stored is another (-before +after):\n%s", diff)
	}
}
