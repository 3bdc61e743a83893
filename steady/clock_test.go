package steady_test

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/skew"
	"github.com/portcullis-dev/portcullis/steady"
)

var noon = time.Date(2026, 8, 22, 12, 0, 0, 0, time.UTC)

// machine is one whose wall clock a test sets.
type machine struct {
	passed time.Duration
	set    time.Duration // by how much the wall clock was
	log    bytes.Buffer
	*steady.Clock
	registry *prometheus.Registry
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{registry: prometheus.NewPedanticRegistry()}
	var err error
	m.Clock, err = steady.New(steady.Options{
		Logger: slog.New(slog.NewTextHandler(&m.log, nil)), Registerer: m.registry,
		Wall: m.wall, Passed: func() time.Duration { return m.passed },
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) wall() time.Time { return noon.Add(m.passed + m.set) }

// pass lets time pass, and looks at the clock every second.
func (m *machine) pass(d time.Duration) time.Time {
	for ; d > time.Second; d -= time.Second {
		m.passed += time.Second
		m.Now()
	}
	m.passed += d
	return m.Now()
}

func TestAStepOfTheWallClockChangesNothing(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour, 400 * 24 * time.Hour, -400 * 24 * time.Hour, steady.Far + 1, -steady.Far - 1} {
		m := newMachine(t)
		m.pass(time.Minute)
		m.set = step
		if got, want := m.pass(time.Hour), noon.Add(61*time.Minute); !got.Equal(want) {
			t.Errorf("an hour after a step of %v it is %v, want %v", step, got, want)
		}
		m.set = 0
		if got, want := m.pass(time.Hour), noon.Add(121*time.Minute); !got.Equal(want) {
			t.Errorf("an hour after the step of %v back it is %v, want %v", step, got, want)
		}
		if lines := strings.Count(m.log.String(), "\n"); lines != 2 {
			t.Errorf("step of %v and back is told in %d lines, want 2:\n%s", step, lines, m.log.String())
		}
	}
}

func TestASmallDifferenceIsFollowedSlowly(t *testing.T) {
	for _, step := range []time.Duration{time.Second, -time.Second} {
		m := newMachine(t)
		m.pass(time.Minute)
		m.set = step
		m.pass(1000 * time.Second)
		if got, want := m.WallAhead().Abs(), 900*time.Millisecond; (got - want).Abs() > time.Millisecond {
			t.Errorf("1000 s after a step of %v the clocks differ by %v, want %v", step, got, want)
		}
		m.pass(10_000 * time.Second)
		if got := m.WallAhead(); got != 0 {
			t.Errorf("after hours the clocks still differ by %v", got)
		}
		if m.log.Len() > 0 {
			t.Errorf("a step of %v is told of:\n%s", step, m.log.String())
		}
	}
}

func TestItNeverGoesBackAndNeverHurries(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		m := newMachine(t)
		before, passed := m.Now(), m.passed
		for range 200 {
			if rng.IntN(4) == 0 {
				m.set += time.Duration(rng.Int64N(int64(8*time.Second))) - 4*time.Second
			}
			m.passed += time.Duration(rng.Int64N(int64(time.Second) << rng.IntN(12) >> 8))
			now := m.Now()
			went, should := now.Sub(before), m.passed-passed
			if went < 0 || (went-should).Abs() > should/9999+time.Microsecond {
				t.Fatalf("seed %d: the clock went on by %v in %v", seed, went, should)
			}
			before, passed = now, m.passed
		}
	}
}

func TestPeopleSeeThatTheWallClockWasSet(t *testing.T) {
	m := newMachine(t)
	m.set = -time.Hour
	m.pass(time.Minute)
	if got := m.log.String(); !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "wallAhead=-1h0m0s") {
		t.Errorf("the log says:\n%s", got)
	}
	want := `
# HELP portcullis_clock_wall_ahead_seconds How far the wall clock is ahead of the server's own. More than some seconds: it was set while the server ran.
# TYPE portcullis_clock_wall_ahead_seconds gauge
portcullis_clock_wall_ahead_seconds -3600
`
	if err := testutil.GatherAndCompare(m.registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

// TestSourcesStayWhereTheyAre measures another machine's clock before and after ours was set.
func TestSourcesStayWhereTheyAre(t *testing.T) {
	m := newMachine(t)
	theirs := func() time.Time { return noon.Add(m.passed + 3*time.Minute) } // Nobody sets that one.
	var e skew.Estimate
	measure := func() (changed bool) {
		before := m.Now()
		m.passed += time.Millisecond
		stamp := theirs()
		m.passed += time.Millisecond
		b, ok := skew.Between(before, m.Now(), stamp)
		if !ok {
			t.Fatal("nothing is measured")
		}
		return e.Add(b, m.Now())
	}
	measure()
	for _, step := range []time.Duration{time.Hour, 0, -time.Hour} {
		m.set = step
		m.pass(15 * time.Second)
		if measure() {
			t.Errorf("after our wall clock was set to %v, the other one is taken to be %v ahead", step, e.Offset)
		}
	}
	// One that is set together with ours is found out at the next measurement, and not before.
	m.set = time.Hour
	theirs = m.wall
	m.pass(15 * time.Second)
	if !measure() || (e.Offset-time.Hour).Abs() > 2*time.Millisecond {
		t.Errorf("a clock that was set by an hour is taken to be %v ahead", e.Offset)
	}
}

func TestTheKernelsClock(t *testing.T) {
	c, err := steady.New(steady.Options{Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	if ahead := c.WallAhead().Abs(); ahead > time.Minute {
		t.Errorf("the clock is %v from the wall clock at once", ahead)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			before := c.Now()
			for range 10_000 {
				now := c.Now()
				if now.Before(before) {
					t.Errorf("the clock went back from %v to %v", before, now)
					return
				}
				before = now
			}
		})
	}
	before := c.Now()
	all.Wait()
	if !c.Now().After(before) {
		t.Error("the clock stands still")
	}
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	for want, opts := range map[string]steady.Options{
		"Logger":     {Registerer: prometheus.NewRegistry()},
		"Registerer": {Logger: slog.New(slog.DiscardHandler)},
	} {
		if _, err := steady.New(opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("without %s: %v", want, err)
		}
	}
}

func BenchmarkNow(b *testing.B) {
	c, err := steady.New(steady.Options{Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		c.Now()
	}
}
