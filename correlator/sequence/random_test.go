package sequence

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

var epoch = time.Date(2026, 8, 22, 12, 0, 0, 0, time.UTC)

func hitName(stage int, t time.Time, request string) string {
	return fmt.Sprintf("%d@%d/%s", stage, t.Sub(epoch)/time.Second, request)
}

// ledger is what a caller knows after following every change, and the rules
// that the changes themselves must keep.
type ledger struct {
	tb       testing.TB
	live     map[Identity]string
	ever     map[Identity]bool
	final    map[Identity]bool
	changes  map[Change]int
	problems []string
}

func newLedger(tb testing.TB) *ledger {
	return &ledger{
		tb: tb, live: map[Identity]string{}, ever: map[Identity]bool{}, final: map[Identity]bool{}, changes: map[Change]int{},
	}
}

func (l *ledger) take(matches []Match) {
	l.tb.Helper()
	for _, m := range matches {
		l.changes[m.Change]++
		_, alive := l.live[m.Identity]
		legal := map[Change]bool{
			Found: !l.ever[m.Identity], Revised: alive, Superseded: alive,
			Reinstated: l.ever[m.Identity] && !alive, Final: alive,
		}
		if !legal[m.Change] || l.final[m.Identity] {
			l.problems = append(l.problems, fmt.Sprintf("%s of %v (live %t, final %t)", m.Change, m.Identity, alive, l.final[m.Identity]))
		}
		l.ever[m.Identity] = true
		l.final[m.Identity] = m.Change == Final
		if m.Change == Superseded {
			delete(l.live, m.Identity)
			continue
		}
		names := make([]string, 0, len(m.Hits))
		for _, h := range m.Hits {
			names = append(names, hitName(h.Stage, h.Time, h.Request))
		}
		made := m.Key + ": " + strings.Join(names, " ")
		if m.Change == Final && made != l.live[m.Identity] {
			l.problems = append(l.problems, fmt.Sprintf("%s is final as %s", l.live[m.Identity], made))
		}
		l.live[m.Identity] = made
		last := m.Hits[len(m.Hits)-1]
		if last.Request != m.Request || !last.Time.Equal(m.Time) || last.Key != m.Key {
			l.problems = append(l.problems, fmt.Sprintf("%v is not its completing hit %v", m.Identity, last))
		}
	}
}

func (l *ledger) matches() []string {
	all := make([]string, 0, len(l.live))
	for _, m := range l.live {
		all = append(all, m)
	}
	slices.Sort(all)
	return all
}

func referenceStrings(spec Spec, hits []Hit) []string {
	found := reference(spec, hits)
	all := make([]string, 0, len(found))
	for _, m := range found {
		all = append(all, m.String())
	}
	slices.Sort(all)
	return all
}

func randomSpec(r *rand.Rand) Spec {
	spec := Spec{MaxSpan: time.Duration(1+r.IntN(12)) * time.Second, Until: r.IntN(4) == 0}
	for len(spec.Stages) < 2+r.IntN(3) {
		stage := Stage{Negated: r.IntN(5) == 0}
		for range 1 + r.IntN(3)*r.IntN(2) { // `with runs`, now and then
			spec.Stages = append(spec.Stages, stage)
		}
	}
	if r.IntN(2) == 0 { // Plain ones half of the time: they are what runs.
		spec.Until = false
		for i := range spec.Stages {
			spec.Stages[i].Negated = false
		}
	}
	if _, positive := spec.positives(); positive == 0 {
		spec.Stages[0].Negated = false
	}
	return spec
}

// randomHits makes a stream that has what hurts: equal times, events that hit
// several stages and keys (as those of a run do), requests of two stages.
func randomHits(r *rand.Rand, spec Spec) []Hit {
	var hits []Hit
	span := 4 + r.IntN(30)
	clocks := randomClocks(r)
	for i := range 1 + r.IntN(24) {
		h := clocks[r.IntN(len(clocks))]
		h.Owner = []string{"", "owner"}[r.IntN(2)]
		h.Time, h.ID = epoch.Add(time.Duration(r.IntN(span))*time.Second), fmt.Sprintf("%c%d", 'a'+r.IntN(26), i)
		if r.IntN(4) == 0 {
			h.Request = "r" + h.ID
		}
		run := r.IntN(4) == 0
		for _, key := range []string{"k1", "k2"} {
			for stage := Until; stage < len(spec.Stages); stage++ {
				if (stage == Until && !spec.Until) || (r.IntN(3) > 0 && (!run || stage == Until)) {
					continue
				}
				h.Key, h.Stage = key, stage
				hits = append(hits, h)
				if h.Request != "" && r.IntN(2) == 0 {
					second := h
					second.ID += "-complete"
					hits = append(hits, second)
				}
			}
		}
	}
	return hits
}

// randomClocks are the sources of a stream: most often one that is right, else up to
// four that may be off.
func randomClocks(r *rand.Rand) []Hit {
	clocks := []Hit{{}, {Source: "a"}, {Source: "b"}, {Source: "c"}}[:1+r.IntN(4)]
	if r.IntN(2) == 0 {
		return clocks
	}
	for i := range clocks {
		clocks[i].Tolerance = time.Duration(r.IntN(7)) * 500 * time.Millisecond
	}
	return clocks
}

// withDuplicates delivers some of the hits twice.
func withDuplicates(r *rand.Rand, hits []Hit) []Hit {
	for range r.IntN(6) {
		if len(hits) > 0 {
			hits = append(hits, hits[r.IntN(len(hits))])
		}
	}
	return hits
}

func mustNew(tb testing.TB, spec Spec, limits Limits) *Engine {
	tb.Helper()
	e, err := New(spec, limits)
	if err != nil {
		tb.Fatal(err)
	}
	e.together = 1 << 20 // The reference knows no bound.
	return e
}

func check(t *testing.T, l *ledger, e *Engine, spec Spec, hits []Hit, seed uint64) {
	t.Helper()
	if len(l.problems) > 0 {
		t.Fatalf("seed %d, %+v: %s", seed, spec, strings.Join(l.problems, "; "))
	}
	if diff := gocmp.Diff(referenceStrings(spec, hits), l.matches()); diff != "" {
		t.Fatalf("seed %d, %+v: reference (-) and engine (+) differ:\n%s", seed, spec, diff)
	}
	if s := e.Stats(); s.OverKey+s.OverTotal+s.Expired+s.Invalid > 0 {
		t.Fatalf("seed %d: hits were dropped: %+v", seed, s)
	}
}

// end tells the engine that everything has arrived: what is live then must become
// final, once.
func (l *ledger) end(e *Engine) {
	l.tb.Helper()
	l.take(e.Advance(End()))
	for id := range l.live {
		if !l.final[id] {
			l.problems = append(l.problems, fmt.Sprintf("%v is not final in the end", id))
		}
	}
}

// rounds is the number of random streams per property.
func rounds() uint64 {
	if testing.Short() || raceEnabled { // There is no goroutine in here.
		return 2_000
	}
	return 10_000
}

func TestAnyArrivalOrderEqualsTheReference(t *testing.T) {
	t.Parallel()
	total := map[Change]int{}
	for seed := range rounds() {
		r := rand.New(rand.NewPCG(seed, 1))
		spec := randomSpec(r)
		hits := withDuplicates(r, randomHits(r, spec))
		r.Shuffle(len(hits), func(i, j int) { hits[i], hits[j] = hits[j], hits[i] })
		e, l := mustNew(t, spec, Limits{}), newLedger(t)
		for _, h := range hits {
			l.take(e.Step(h))
		}
		if e.deferred && len(l.ever) > 0 {
			t.Fatalf("seed %d: decided before the watermark", seed)
		}
		// The last moment of any window, where deferred sequences are decided, and not yet final.
		l.take(e.Advance(epoch.Add(70 * time.Second)))
		check(t, l, e, spec, hits, seed)
		l.end(e)
		check(t, l, e, spec, hits, seed)
		for change, n := range l.changes {
			total[change] += n
		}
	}
	for _, change := range []Change{Found, Revised, Superseded, Reinstated, Final} {
		if total[change] < 100 {
			t.Errorf("only %d %s: the streams do not exercise it", total[change], change)
		}
	}
}

func TestProvisionalMatchesAreTheReferenceOfWhatArrived(t *testing.T) {
	t.Parallel()
	for seed := range rounds() / 10 {
		r := rand.New(rand.NewPCG(seed, 2))
		spec := randomSpec(r)
		hits := randomHits(r, spec)
		r.Shuffle(len(hits), func(i, j int) { hits[i], hits[j] = hits[j], hits[i] })
		e, l := mustNew(t, spec, Limits{}), newLedger(t)
		if e.deferred {
			continue
		}
		for i, h := range hits {
			l.take(e.Step(h))
			check(t, l, e, spec, hits[:i+1], seed)
		}
	}
}

func TestSortedArrivalNeverChangesItsMind(t *testing.T) {
	t.Parallel()
	for seed := range rounds() / 3 {
		r := rand.New(rand.NewPCG(seed, 3))
		spec := randomSpec(r)
		hits := randomHits(r, spec)
		for i := range hits { // The clocks are right: else there is no sorting them.
			hits[i].Tolerance = 0
		}
		slices.SortFunc(hits, compareHits)
		e, l := mustNew(t, spec, Limits{}), newLedger(t)
		for _, h := range hits {
			l.take(e.Step(h))
			if r.IntN(2) == 0 {
				l.take(e.Advance(h.Time))
			}
		}
		l.end(e)
		if l.changes[Found] != len(l.ever) || l.changes[Superseded]+l.changes[Revised] > 0 {
			t.Fatalf("seed %d: changes %v", seed, l.changes)
		}
		check(t, l, e, spec, hits, seed)
		if s := e.Stats(); s.Replayed > 0 {
			t.Fatalf("seed %d: sorted hits were replayed: %+v", seed, s)
		}
	}
}

// compareHits is the order that costs the engine least: by time, then request,
// then last stage first and Until at the end.
func compareHits(a, b Hit) int {
	tie := func(h Hit) string { return cmp.Or(h.Request, h.ID) }
	return cmp.Or(a.Time.Compare(b.Time), strings.Compare(tie(a), tie(b)), b.Stage-a.Stage)
}

// Hits are late by up to a bound, the watermark follows as closely as it may:
// expiry and decisions happen all the time, and nothing may be different.
func TestExpiryUnderTheWatermarkLosesNothing(t *testing.T) {
	t.Parallel()
	for seed := range rounds() {
		r := rand.New(rand.NewPCG(seed, 4))
		spec := randomSpec(r)
		hits := randomHits(r, spec)
		order := boundedDisorder(r, hits)
		forgotten := map[any]int{}
		e, l := mustNew(t, spec, Limits{Forgotten: func(payload any) { forgotten[payload]++ }}), newLedger(t)
		e.tolerate(int64(3 * time.Second)) // As if such hits had been seen before.
		for i, h := range order {
			h.Payload = i
			l.take(e.Step(h))
			if rest := order[i+1:]; len(rest) > 0 {
				earliest := slices.MinFunc(rest, func(a, b Hit) int { return a.Time.Compare(b.Time) })
				l.take(e.Advance(earliest.Time))
			}
		}
		l.end(e)
		check(t, l, e, spec, hits, seed)
		if e.deferred && l.changes[Superseded]+l.changes[Revised] > 0 {
			t.Fatalf("seed %d: a decision at the watermark did not last: %v", seed, l.changes)
		}
		if s := e.Stats(); s.Keys+s.Hits+s.Partials != 0 || s.Bytes != 0 {
			t.Fatalf("seed %d: state is left after everything expired: %+v", seed, s)
		}
		for i := range order {
			if forgotten[i] != 1 {
				t.Fatalf("seed %d: the payload of hit %d was forgotten %d times", seed, i, forgotten[i])
			}
		}
	}
}

// boundedDisorder returns the hits in an order that a network could make of them.
func boundedDisorder(r *rand.Rand, hits []Hit) []Hit {
	type arrival struct {
		hit Hit
		at  time.Time
	}
	arrivals := make([]arrival, 0, len(hits))
	for _, h := range hits {
		arrivals = append(arrivals, arrival{h, h.Time.Add(time.Duration(r.IntN(6)) * time.Second)})
	}
	r.Shuffle(len(arrivals), func(i, j int) { arrivals[i], arrivals[j] = arrivals[j], arrivals[i] })
	slices.SortStableFunc(arrivals, func(a, b arrival) int { return a.at.Compare(b.at) })
	order := make([]Hit, 0, len(arrivals))
	for _, a := range arrivals {
		order = append(order, a.hit)
	}
	return order
}

// Under a limit on hits per key, or in total, matches may be lost but never invented.
func TestLimitsLoseMatchesAndInventNone(t *testing.T) {
	t.Parallel()
	lost := 0
	for seed := range rounds() / 3 {
		r := rand.New(rand.NewPCG(seed, 5))
		spec := randomSpec(r)
		spec.Until = false
		for i := range spec.Stages {
			spec.Stages[i].Negated = false
		}
		hits := randomHits(r, spec)
		for i := range hits {
			hits[i].Tolerance, hits[i].Owner = 0, ""
		}
		slices.SortFunc(hits, compareHits)
		kept := 0
		limits := Limits{HitsPerKey: 2 + r.IntN(6), Hits: 8 + r.IntN(12), Forgotten: func(any) { kept-- }}
		e, l := mustNew(t, spec, limits), newLedger(t)
		for i, h := range hits {
			l.take(e.Step(h))
			l.take(e.Step(hits[r.IntN(i+1)])) // Some are delivered again, forgotten ones among them.
			kept += 2
			if s := e.Stats(); s.Hits > limits.Hits || s.Hits != kept {
				t.Fatalf("seed %d: %d hits are kept, limit %d, and %d payloads", seed, s.Hits, limits.Hits, kept)
			}
		}
		if len(l.problems) > 0 {
			t.Fatalf("seed %d: %v", seed, l.problems)
		}
		possible := referenceStrings(spec, hits)
		for _, m := range l.matches() {
			if !slices.Contains(possible, m) {
				t.Fatalf("seed %d, %+v: %s is no match of\n%v", seed, spec, m, possible)
			}
		}
		lost += len(possible) - len(l.live)
		l.end(e)
		if len(l.problems) > 0 {
			t.Fatalf("seed %d: %v", seed, l.problems)
		}
		if e.Clear(); kept != 0 || e.Stats().Keys+e.Stats().Partials != 0 {
			t.Fatalf("seed %d: %d payloads are kept after all were forgotten: %+v", seed, kept, e.Stats())
		}
	}
	if lost == 0 {
		t.Error("no limit was ever reached")
	}
}
