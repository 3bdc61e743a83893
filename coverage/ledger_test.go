package coverage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/portcullis-dev/portcullis/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// at is so many seconds after noon.
func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

func hole(source, cause string, from, to int) event.Hole {
	return event.Hole{Source: source, Cause: cause, From: at(from), To: at(to)}
}

// rig is a Ledger with a clock that is set.
type rig struct {
	*Ledger
	now time.Time
	log bytes.Buffer
}

func newRig(t testing.TB, change func(*Options)) *rig {
	t.Helper()
	r := &rig{now: noon}
	opts := Options{
		Clock: func() time.Time { return r.now }, Logger: slog.New(slog.NewTextHandler(&r.log, nil)),
		Registerer: prometheus.NewPedanticRegistry(),
	}
	if change != nil {
		change(&opts)
	}
	var err error
	if r.Ledger, err = New(opts); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) note(holes ...event.Hole) {
	for _, h := range holes {
		r.Known(h.Source, noon.Add(-time.Hour))
		r.Note(h)
	}
}

func TestHolesThatTouchTheTime(t *testing.T) {
	r := newRig(t, nil)
	r.note(hole("agent/n1", "ring", 0, 10), hole("agent/n1", "spool", 20, 30), hole("agent/n2", "ring", 0, 10), hole("audit/a", "silent", 5, 8))
	r.Open("agent/n1", "away", at(50))
	for _, tc := range []struct {
		names    []string
		from, to int
		want     []event.Hole
	}{
		{[]string{"agent/n1"}, 11, 19, nil},
		{[]string{"agent/n1"}, 10, 20, []event.Hole{hole("agent/n1", "ring", 0, 10), hole("agent/n1", "spool", 20, 30)}},
		{[]string{"agent/n1"}, -9, -1, nil},
		{[]string{"agent/n1"}, 31, 49, nil},
		{[]string{"agent/n1"}, 60, 70, []event.Hole{{Source: "agent/n1", Cause: "away", From: at(50)}}},
		{[]string{"agent/"}, 9, 9, []event.Hole{hole("agent/n1", "ring", 0, 10), hole("agent/n2", "ring", 0, 10)}},
		{[]string{"agent/", "agent/n2"}, 9, 9, []event.Hole{hole("agent/n1", "ring", 0, 10), hole("agent/n2", "ring", 0, 10)}},
		{[]string{"audit/", "server/"}, 0, 100, []event.Hole{hole("audit/a", "silent", 5, 8)}},
		{[]string{"server/", "pod/x", "join/y"}, 0, 100, nil},
	} {
		if diff := cmp.Diff(tc.want, r.Holes(tc.names, at(tc.from), at(tc.to))); diff != "" {
			t.Errorf("%v from %d to %d (-want +got):\n%s", tc.names, tc.from, tc.to, diff)
		}
	}
}

func TestNothingKnownIsAHole(t *testing.T) {
	r := newRig(t, nil)
	for _, name := range []string{"agent/n1", "agent/", "audit/"} {
		holes := r.Holes([]string{name}, at(0), at(1))
		if len(holes) != 1 || holes[0].Cause != CauseUnknown || !strings.HasPrefix(holes[0].Source, name) {
			t.Errorf("of %s, which nobody has heard of: %+v", name, holes)
		}
	}
	r.Known("agent/n1", at(10))
	want := []event.Hole{hole("agent/n1", CauseUnknown, 0, 10)}
	if diff := cmp.Diff(want, r.Holes([]string{"agent/n1"}, at(0), at(20))); diff != "" {
		t.Errorf("before it was known (-want +got):\n%s", diff)
	}
	if holes := r.Holes([]string{"agent/n1"}, at(11), at(20)); len(holes) > 0 {
		t.Errorf("since it is known: %+v", holes)
	}
}

func TestHolesOfOneCauseThatTouchAreOne(t *testing.T) {
	r := newRig(t, nil)
	for i := range 5 {
		h := hole("agent/n1", "ring", i, i+1)
		h.Lost = 2
		r.note(h)
	}
	r.note(hole("agent/n1", "spool", 2, 3))
	want := []event.Hole{{Source: "agent/n1", Cause: "ring", From: at(0), To: at(5), Lost: 10}, hole("agent/n1", "spool", 2, 3)}
	if diff := cmp.Diff(want, r.Holes([]string{"agent/n1"}, at(0), at(9))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLastingHoles(t *testing.T) {
	r := newRig(t, nil)
	r.Known("audit/a", at(-10))
	r.Open("audit/a", "silent", at(5))
	r.Open("audit/a", "silent", at(9))
	r.Open("audit/a", "silent", at(3)) // it turns out to have begun earlier
	r.Close("audit/a", "other", at(10))
	r.Close("audit/b", "silent", at(10))
	r.Close("audit/a", "silent", at(10))
	r.Close("audit/a", "silent", at(11))
	if diff := cmp.Diff([]event.Hole{hole("audit/a", "silent", 3, 10)}, r.Holes([]string{"audit/"}, at(0), at(99))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.Open("audit/a", "silent", at(20))
	r.Fill("audit/a", "silent")
	r.Fill("audit/b", "silent")
	if holes := r.Holes([]string{"audit/"}, at(15), at(99)); len(holes) > 0 {
		t.Errorf("what arrived after all is missing: %+v", holes)
	}
}

func TestReplace(t *testing.T) {
	r := newRig(t, nil)
	r.note(hole("audit/a", "silent", 0, 5), hole("audit/a", "silent", 20, 25), hole("audit/a", "unreadable", 21, 22))
	r.Replace("audit/a", "silent", at(10), []event.Hole{{From: at(22), To: at(30)}})
	want := []event.Hole{hole("audit/a", "silent", 0, 5), hole("audit/a", "unreadable", 21, 22), hole("audit/a", "silent", 22, 30)}
	if diff := cmp.Diff(want, r.Holes([]string{"audit/"}, at(0), at(99))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.Replace("audit/a", "silent", at(10), nil)
	if diff := cmp.Diff(want[:2], r.Holes([]string{"audit/"}, at(0), at(99))); diff != "" {
		t.Errorf("none any more (-want +got):\n%s", diff)
	}
}

// TestNeverForgetsThatThereWasAHole notes holes at random, far beyond every bound, and asks about every moment
// of each: the answer may have more, never less, and nothing of the count of what was lost goes missing.
func TestNeverForgetsThatThereWasAHole(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 1))
		r := newRig(t, func(o *Options) {
			o.MaxPerSource, o.MaxSources, o.MaxHoles = 1+random.IntN(5), 1+random.IntN(4), 1+random.IntN(9)
		})
		noted := make([]event.Hole, 0, 200)
		var lost uint64
		for range 200 {
			from := random.IntN(500)
			h := hole(fmt.Sprintf("%s%d", []string{"agent/", "join/", "audit/"}[random.IntN(3)], random.IntN(6)),
				fmt.Sprintf("cause-%d", random.IntN(3)), from, from+random.IntN(8))
			h.Lost = uint64(random.IntN(3))
			lost += h.Lost
			noted = append(noted, h)
			r.Note(h)
		}
		for _, h := range noted {
			for _, moment := range []time.Time{h.From, h.To} {
				if len(r.Holes([]string{h.Source}, moment, moment)) == 0 || len(r.Holes([]string{family(h.Source)}, moment, moment)) == 0 {
					t.Fatalf("seed %d: the hole %+v is forgotten", seed, h)
				}
			}
		}
		checkBounds(t, r, lost)
	}
}

func checkBounds(t *testing.T, r *rig, lost uint64) {
	t.Helper()
	total, families := 0, map[string]int{}
	for _, s := range r.sources {
		if len(s.ended) > r.opts.MaxPerSource {
			t.Fatalf("%s has %d holes, %d are the most", s.name, len(s.ended), r.opts.MaxPerSource)
		}
		if !slices.IsSortedFunc(s.ended, func(a, b event.Hole) int { return a.From.Compare(b.From) }) {
			t.Fatalf("%s is not sorted: %v", s.name, s.ended)
		}
		total += len(s.ended)
		families[family(s.name)]++
		for _, h := range s.ended {
			lost -= h.Lost
		}
	}
	if total != r.total || total > max(r.opts.MaxHoles, len(families)) {
		t.Fatalf("%d holes, counted %d, %d are the most", total, r.total, r.opts.MaxHoles)
	}
	if len(r.ranked) != len(r.sources) {
		t.Fatalf("%d of %d sources are ranked", len(r.ranked), len(r.sources))
	}
	for i, s := range r.ranked {
		if s.rank != i || i > 0 && r.ranked.Less(i, (i-1)/2) {
			t.Fatalf("%s is not where it should be", s.name)
		}
	}
	if lost != 0 {
		t.Fatalf("%d lost events are not counted any more", lost)
	}
	for of, n := range families {
		if n > r.opts.MaxSources+1 || n != len(r.families[of]) {
			t.Fatalf("%d sources of %s, counted %d, %d are the most", n, of, len(r.families[of]), r.opts.MaxSources)
		}
	}
}

func TestOldHolesGo(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Retention = time.Hour })
	r.note(hole("agent/n1", "ring", 0, 10), hole("join/x", "flood", 0, 10), hole("agent/n2", "ring", 0, 3000))
	r.Open("agent/n3", CauseDisconnected, at(0))
	r.sweep(at(3700))
	var names []string
	for _, of := range []string{FamilyAgent, FamilyJoin} {
		for _, s := range r.Summaries(of, time.Time{}) {
			names = append(names, s.Source)
		}
	}
	// n1 is known still. Nothing is known any more of n3, which says the same as a hole.
	if diff := cmp.Diff([]string{"agent/n1", "agent/n2"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if r.total != 1 || len(r.Holes([]string{"agent/n3"}, at(3800), at(3800))) != 1 {
		t.Errorf("%d holes, of n3 %v", r.total, r.Holes([]string{"agent/n3"}, at(3800), at(3800)))
	}
}

func TestSummaries(t *testing.T) {
	r := newRig(t, nil)
	r.note(hole("agent/n1", "ring", 0, 10), hole("agent/n1", "spool", 20, 30), hole("audit/a", "x", 0, 1))
	r.Open("agent/n2", "away", at(7))
	want := []Summary{
		{Source: "agent/n1", Ended: []event.Hole{hole("agent/n1", "spool", 20, 30)}},
		{Source: "agent/n2", Open: []event.Hole{{Source: "agent/n2", Cause: "away", From: at(7)}}},
	}
	if diff := cmp.Diff(want, r.Summaries(FamilyAgent, at(15))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	r := newRig(t, func(o *Options) { o.Registerer = reg })
	r.note(hole("agent/n1", "ring", 0, 10), hole("audit/a", "x", 0, 1))
	r.Open("agent/n2", "away", at(7))
	r.Of(&event.Detection{Events: []*event.Event{{Source: "agent/n1", Time: at(5)}}}, at(5), at(5))
	r.Of(&event.Detection{Events: []*event.Event{{Source: "agent/n1", Time: at(50)}}}, at(50), at(50))
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP portcullis_coverage_detections_total Times that a detection's coverage was asked for, by what it was: whole, or with holes.
# TYPE portcullis_coverage_detections_total counter
portcullis_coverage_detections_total{coverage="holes"} 1
portcullis_coverage_detections_total{coverage="whole"} 1
# HELP portcullis_coverage_holes Times in which something was not seen that are remembered, by family of sources.
# TYPE portcullis_coverage_holes gauge
portcullis_coverage_holes{family="agent"} 1
portcullis_coverage_holes{family="audit"} 1
# HELP portcullis_coverage_open_holes Sources of which something is not seen at the moment, by family and cause.
# TYPE portcullis_coverage_open_holes gauge
portcullis_coverage_open_holes{cause="away",family="agent"} 1
`), "portcullis_coverage_detections_total", "portcullis_coverage_holes", "portcullis_coverage_open_holes"); err != nil {
		t.Error(err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	_, err := New(Options{Retention: -1, MaxHoles: -1})
	for _, want := range []string{"Clock", "Logger", "Registerer", "Retention", "MaxHoles"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want one that names %s", err, want)
		}
	}
}

// memory is a Store.
type memory struct {
	mu     sync.Mutex
	values map[string]string
	broken error
}

func (m *memory) Put(_ context.Context, key string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return m.broken
	}
	if m.values == nil {
		m.values = map[string]string{}
	}
	m.values[key] = string(value)
	return nil
}

func (m *memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.values, key)
	return m.broken
}

func (m *memory) Range(_ context.Context, visit func(string, []byte, time.Time) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return m.broken
	}
	for key, value := range m.values {
		if err := visit(key, []byte(value), noon); err != nil {
			return err
		}
	}
	return nil
}

// restarted is a ledger at the start of the next process.
func restarted(t *testing.T, store Store, now time.Time, change ...func(*Options)) *rig {
	t.Helper()
	r := newRig(t, func(o *Options) {
		o.Store = store
		for _, c := range change {
			c(o)
		}
	})
	r.now = now
	if err := r.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestHolesOutliveARestart(t *testing.T) {
	store := &memory{}
	r := restarted(t, store, at(0))
	r.note(hole("agent/n1", "ring", 0, 10), hole("server/bus", "lost", 2, 3))
	r.Open("audit/a", "silent", at(4))
	r.store(t.Context(), &time.Time{}, false)
	next := restarted(t, store, at(100))
	for _, names := range [][]string{{"agent/n1"}, {"server/"}, {"audit/"}} {
		if diff := cmp.Diff(r.Holes(names, at(0), at(20)), next.Holes(names, at(0), at(20)), withoutServerDown()); diff != "" {
			t.Errorf("%v (-before +after):\n%s", names, diff)
		}
	}
	// What is forgotten is removed.
	next.sweep(at(100).Add(2 * DefaultRetention))
	next.store(t.Context(), &time.Time{}, false)
	if _, kept := store.values[sourceKey+"server/bus"]; kept {
		t.Error("a source that was forgotten is still stored")
	}
}

// withoutServerDown compares holes but for those that a restart makes.
func withoutServerDown() cmp.Option {
	return cmp.FilterValues(func(a, b []event.Hole) bool { return true }, cmp.Transformer("kept", func(holes []event.Hole) []string {
		var out []string
		for _, h := range holes {
			if h.Cause != CauseServerDown && h.Cause != CauseDisconnected {
				out = append(out, fmt.Sprint(h))
			}
		}
		return out
	}))
}

// TestServerDown: API servers try again for a while, and drop after that; agents keep everything until they catch up.
func TestServerDown(t *testing.T) {
	for name, tc := range map[string]struct {
		down int
		want bool
	}{"short": {20, false}, "long": {40, true}} {
		store := &memory{}
		r := restarted(t, store, at(0))
		r.Known("audit/a", at(-1000))
		r.Agents().Connected("n1", "s1", at(-1000))
		r.Agents().Reached("n1", "s1", at(-1))
		r.store(t.Context(), &time.Time{}, false)

		r = restarted(t, store, at(tc.down))
		if holes := r.Holes([]string{"audit/"}, at(10), at(10)); len(holes) != 1 || holes[0].Cause != CauseServerDown {
			t.Errorf("%s: before it is known how long it takes: %+v", name, holes)
		}
		r.Started(at(tc.down))
		r.Started(at(tc.down + 100)) // Once is enough.
		if holes := r.Holes([]string{"audit/"}, at(10), at(10)); (len(holes) == 1) != tc.want {
			t.Errorf("%s: %+v", name, holes)
		}
		if holes := r.Holes([]string{"audit/"}, at(tc.down+1), at(tc.down+1)); len(holes) > 0 {
			t.Errorf("%s: still down: %+v", name, holes)
		}
		checkAgentsMakeUpForIt(t, r, tc.down)
	}
}

func checkAgentsMakeUpForIt(t *testing.T, r *rig, down int) {
	t.Helper()
	here := func(moment int) int { return len(r.Holes([]string{"agent/n1"}, at(moment), at(moment))) }
	a := r.Agents()
	if here(10) != 1 || here(-900) != 0 {
		t.Error("the agent has not come back, and nothing is missing")
	}
	a.Connected("n1", "s1", at(down+5))
	a.Reached("n1", "s1", at(10))
	if here(10) != 1 {
		t.Error("the agent has not caught up, and nothing is missing")
	}
	a.Reached("n1", "s1", at(down+6))
	if here(10) != 0 {
		t.Error("the agent has caught up, and something is missing")
	}
}

func TestAgentThatRestartsLosesWhatItHad(t *testing.T) {
	r := newRig(t, nil)
	a := r.Agents()
	a.Connected("n1", "s1", at(0))
	a.Reached("n1", "s1", at(10))
	a.Disconnected("n1", at(30))
	a.Connected("n1", "s2", at(50))
	a.Reached("n1", "s1", at(60)) // nobody's any more
	a.Reached("n1", "s2", at(60))
	want := []event.Hole{hole("agent/n1", CauseRestarted, 10, 50)}
	if diff := cmp.Diff(want, r.Holes([]string{"agent/n1"}, at(1), at(99))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAgentThatReconnectsLosesNothing(t *testing.T) {
	r := newRig(t, nil)
	a := r.Agents()
	a.Connected("n1", "s1", at(0))
	a.Disconnected("n1", at(30))
	if holes := r.Holes([]string{"agent/n1"}, at(31), at(99)); len(holes) != 1 || holes[0].Cause != CauseDisconnected {
		t.Errorf("while it is away: %+v", holes)
	}
	a.Connected("n1", "s1", at(50))
	a.Lost("n1", "spool-full", at(30), at(35), 7)
	a.Reached("n1", "s1", at(50))
	want := []event.Hole{{Source: "agent/n1", Cause: "spool-full", From: at(30), To: at(35), Lost: 7}}
	if diff := cmp.Diff(want, r.Holes([]string{"agent/n1"}, at(1), at(99))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	a.Reached("n9", "s1", at(50)) // unheard of
}

func TestValuesThatCannotBeReadAreAHole(t *testing.T) {
	for name, value := range map[string]string{
		"source/agent/n1": "{", "source/nothing": "{}", "alive": "[]", "source/audit/a": `{"holes":[{"cause":"x"}]}`,
		"source/agent/n2": `{"x":"` + strings.Repeat("x", maxStored) + `"}`,
	} {
		r := restarted(t, &memory{values: map[string]string{name: value, "else": "x"}}, at(0))
		if len(r.Holes([]string{"server/"}, at(-100), at(-100))) == 0 || !strings.Contains(r.log.String(), "cannot be read") {
			t.Errorf("%s with %.40q is passed over in silence", name, value)
		}
	}
}

func TestStoreThatFails(t *testing.T) {
	store := &memory{}
	r := restarted(t, store, at(0))
	r.note(hole("agent/n1", "ring", 0, 10))
	r.Note(hole("join/x", "flood", 0, 1))
	r.sweep(at(0).Add(2 * DefaultRetention))
	store.broken = errors.New("no disk")
	r.store(t.Context(), &time.Time{}, false)
	if got := testutil.ToFloat64(r.metrics.fails); got != 1 || !strings.Contains(r.log.String(), "no disk") {
		t.Errorf("%v failures, log %s", got, r.log.String())
	}
	store.broken = nil
	r.store(t.Context(), &time.Time{}, false)
	if len(store.values) != 2 || store.values[aliveKey] == "" {
		t.Errorf("after the disk is back: %v", store.values)
	}
	store.broken = errors.New("no disk")
	if err := newRig(t, func(o *Options) { o.Store = store }).Load(t.Context()); err == nil {
		t.Error("a store that cannot be read is empty")
	}
}

func TestRunStoresAtTheEnd(t *testing.T) {
	store := &memory{}
	r := restarted(t, store, at(0))
	r.note(hole("agent/n1", "ring", 0, 10))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Run(ctx); err != nil || store.values[sourceKey+"agent/n1"] == "" || store.values[aliveKey] == "" {
		t.Errorf("%v, stored %v", err, store.values)
	}
}
