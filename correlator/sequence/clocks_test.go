package sequence

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// withClock gives a scenario's hit the clock that its name says: x and y are exact, b may
// be off by a second, c by three.
func withClock(h Hit) Hit {
	h.Source = h.ID[:1]
	h.Tolerance = map[string]time.Duration{"b": time.Second, "c": 3 * time.Second}[h.Source]
	return h
}

// Here the name of an event begins with that of its source.
func TestClocksInDoubt(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		shape, scenario string
		want            []string
	}{
		"in order by the clocks":        {"AB", "0x@0 1b@5", []string{"x b"}},
		"may be in order":               {"AB", "0x@1 1b@0", []string{"x b"}},
		"cannot be in order":            {"AB", "0x@1.001 1b@0", nil},
		"both are off":                  {"AB", "0b@4 1c@0", []string{"b c"}},
		"one clock is exact":            {"AB", "0c1@1 1c2@0", nil},
		"exact clocks":                  {"AB", "0x@1 1y@0", nil},
		"an event never follows itself": {"AB", "0c@0 1c@0", nil},
		"may be in the span":            {"AB", "0x@0 1b@11", []string{"x b"}},
		"is not in the span":            {"AB", "0x@0 1b@11.001", nil},
		"one clock's span is exact":     {"AB", "0c1@0 1c2@10.001", nil},
		"every pair is in order":        {"ABC", "0x1@1 1c@0 2x2@0.5", nil},
		"the newest that may be":        {"AB", "0x1@0 0x2@4 0x3@7 1c@2", []string{"x2 c"}},
		"noise that came after":         {"ABC", "0x1@1 1c@0 2x2@2 0x3@2.5", []string{"x1 c x2"}},
		"used up for sure":              {"AB", "0x@0 1b1@2 1b2@3", []string{"x b1"}},
		"perhaps used up":               {"AB", "0x@0 1b1@0.5 1b2@3", []string{"x b1", "x b2"}},
		"until for sure":                {"ABu", "0x@0 ub1@2 1b2@3", nil},
		"until perhaps before":          {"ABu", "0x@0 ub1@1 1b2@3", []string{"x b2"}},
		"until perhaps after":           {"ABu", "0x1@0 ub@2 1x2@3", []string{"x1 x2"}},
		"between for sure":              {"A!B", "0x1@0 1b@2 2x2@4", nil},
		"between perhaps":               {"A!B", "0x1@0 1b@2 2x2@3", []string{"x1 x2"}},
		"before for sure":               {"!AB", "0b@12 1x1@14 2x2@20", nil},
		"before, perhaps too long":      {"!AB", "0b@10.5 1x1@14 2x2@20", []string{"x1 x2"}},
		"after for sure":                {"AB!", "0x1@0 1x2@5 2b@9", nil},
		"after, perhaps too late":       {"AB!", "0x1@0 1x2@5 2b@9.5", []string{"x1 x2"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shape, until := strings.CutSuffix(row.shape, "u")
			e := mustNew(t, Spec{Stages: stages(shape), Until: until, MaxSpan: 10 * time.Second}, Limits{})
			l := newLedger(t)
			for word := range strings.FieldsSeq(row.scenario) {
				l.take(e.Step(withClock(parseHit(t, word))))
			}
			l.end(e)
			matches := l.matches()
			got := make([]string, 0, len(matches))
			for _, m := range matches {
				_, hits, _ := strings.Cut(m, ": ")
				var names []string
				for hit := range strings.FieldsSeq(hits) {
					_, request, _ := strings.Cut(hit, "/")
					names = append(names, request)
				}
				got = append(got, strings.Join(names, " "))
			}
			if diff := gocmp.Diff(row.want, got, cmpopts.EquateEmpty()); diff != "" || len(l.problems) > 0 {
				t.Errorf("want (-), got (+):\n%s%v", diff, l.problems)
			}
		})
	}
}

// An attack is a chain in the order in which its events happened. Whatever their clocks
// said, within their tolerance: alone under its key it is found.
func TestAnAttackAloneIsFoundWhateverTheClocksSay(t *testing.T) {
	t.Parallel()
	for seed := range rounds() {
		r := rand.New(rand.NewPCG(seed, 6))
		spec := Spec{Stages: make([]Stage, 2+r.IntN(4)), MaxSpan: time.Duration(1+r.IntN(20)) * time.Second}
		clocks := randomClocks(r)
		ahead := make([]time.Duration, len(clocks))
		for i, c := range clocks {
			ahead[i] = time.Duration(r.Int64N(int64(2*c.Tolerance)+1)) - c.Tolerance
		}
		var hits []Hit
		at := epoch
		for stage := range spec.Stages {
			i := r.IntN(len(clocks))
			h := clocks[i]
			h.Stage, h.Key, h.ID = stage, "k", fmt.Sprintf("%c%d", 'a'+r.IntN(26), stage)
			h.Time = at.Add(ahead[i])
			hits = append(hits, h)
			left := spec.MaxSpan - at.Sub(epoch)
			at = at.Add(1 + time.Duration(r.Int64N(int64(left)))/time.Duration(1+r.IntN(8)))
		}
		completes := Identity{Key: "k", Time: hits[len(hits)-1].Time, Request: hits[len(hits)-1].ID}
		hits = withDuplicates(r, hits)
		r.Shuffle(len(hits), func(i, j int) { hits[i], hits[j] = hits[j], hits[i] })
		e, l := mustNew(t, spec, Limits{}), newLedger(t)
		for _, h := range hits {
			l.take(e.Step(h))
		}
		if l.end(e); len(l.live) != 1 || l.live[completes] == "" || len(l.problems) > 0 {
			t.Fatalf("seed %d, %+v: found %v of %+v, %v", seed, spec, l.live, hits, l.problems)
		}
	}
}

// chainIsPossible reports whether there are true times for the hits of a match: each may
// be before every later one, and all in the span. Payloads are the sources.
func chainIsPossible(spec Spec, hits []Hit) bool {
	first, last := hits[0], hits[len(hits)-1]
	return pairsArePossible(hits) && last.Time.Sub(first.Time)-doubtOf(first, last) <= spec.MaxSpan
}

func pairsArePossible(hits []Hit) bool {
	for i, a := range hits {
		for _, b := range hits[i+1:] {
			inOrder := !a.Time.After(b.Time.Add(doubtOf(a, b)))
			if doubtOf(a, b) == 0 {
				inOrder = a.Time.Before(b.Time) || a.Time.Equal(b.Time) && a.Request < b.Request
			}
			if !inOrder || a.Time.Equal(b.Time) && a.Request == b.Request {
				return false
			}
		}
	}
	return true
}

func doubtOf(a, b Hit) time.Duration {
	if a.Payload == b.Payload {
		return 0
	}
	return a.Tolerance + b.Tolerance
}

// Whenever something is told, under any limits, it is a chain of hits that were there.
func TestWhatIsToldIsAPossibleChain(t *testing.T) {
	t.Parallel()
	for seed := range rounds() / 2 {
		r := rand.New(rand.NewPCG(seed, 7))
		spec := randomSpec(r)
		hits := withDuplicates(r, randomHits(r, spec))
		r.Shuffle(len(hits), func(i, j int) { hits[i], hits[j] = hits[j], hits[i] })
		e, l := mustNew(t, spec, Limits{HitsPerKey: 4 + r.IntN(20), Hits: 8 + r.IntN(40)}), newLedger(t)
		look := func(matches []Match) {
			l.take(matches)
			for _, m := range matches {
				if !chainIsPossible(spec, m.Hits) {
					t.Fatalf("seed %d, %+v: %s of %+v", seed, spec, m.Change, m.Hits)
				}
			}
		}
		for i, h := range hits {
			h.Payload = h.Source
			look(e.Step(h))
			if r.IntN(8) == 0 {
				look(e.Advance(slices.MinFunc(hits[i:], func(a, b Hit) int { return a.Time.Compare(b.Time) }).Time))
			}
		}
		look(e.Advance(End()))
		if len(l.problems) > 0 {
			t.Fatalf("seed %d: %v", seed, l.problems)
		}
	}
}

// A process dies and a new one is given everything again. It ends like one that had
// lived on, and does not take back silently what had been told.
func TestARestartContradictsNothing(t *testing.T) {
	t.Parallel()
	told := 0
	for seed := range rounds() {
		r := rand.New(rand.NewPCG(seed, 8))
		spec := randomSpec(r)
		hits := randomHits(r, spec)
		stream := withDuplicates(r, slices.Clone(hits))
		r.Shuffle(len(stream), func(i, j int) { stream[i], stream[j] = stream[j], stream[i] })
		first, before := mustNew(t, spec, Limits{}), newLedger(t)
		died := r.IntN(len(stream) + 1)
		for _, h := range stream[:died] {
			before.take(first.Step(h))
		}
		e, l := mustNew(t, spec, Limits{}), newLedger(t)
		for _, h := range stream {
			l.take(e.Step(h))
		}
		l.end(e)
		check(t, l, e, spec, hits, seed)
		told += len(before.ever)
		for id := range before.ever {
			if !l.ever[id] {
				t.Fatalf("seed %d: %v was told before the restart and not again", seed, id)
			}
			if _, alive := l.live[id]; alive != l.final[id] {
				t.Fatalf("seed %d: %v lives %t, final %t", seed, id, alive, l.final[id])
			}
		}
	}
	if told < 1000 {
		t.Errorf("only %d were told before", told)
	}
}

// Noise hides nothing: where exact clocks would have found something under a key,
// something is found there with clocks that are off, whatever others there are.
func TestWhatExactClocksFindIsFound(t *testing.T) {
	t.Parallel()
	found := 0
	for seed := range rounds() {
		r := rand.New(rand.NewPCG(seed, 10))
		spec := randomSpec(r)
		exact := randomHits(r, spec)
		ahead := map[string]time.Duration{}
		told := slices.Clone(exact)
		for i, h := range exact {
			if _, known := ahead[h.Source]; !known {
				ahead[h.Source] = time.Duration(r.Int64N(int64(2*h.Tolerance)+1)) - h.Tolerance
			}
			exact[i].Tolerance = 0
			told[i].Time = h.Time.Add(ahead[h.Source])
		}
		e, l := mustNew(t, spec, Limits{}), newLedger(t)
		for _, h := range told {
			l.take(e.Step(h))
		}
		l.end(e)
		for _, m := range reference(spec, exact) {
			some := false
			for id := range l.live {
				some = some || id.Key == m.key
			}
			if !some {
				t.Fatalf("seed %d, %+v: %v is found with exact clocks only, ahead by %v", seed, spec, m, ahead)
			}
			found++
		}
	}
	if found < 1000 {
		t.Errorf("only %d were found", found)
	}
}

// A clock that is measured anew between two deliveries of one event, or two stages of one request,
// gives it another time. It is one hit all the same, at the time that came first.
func TestAnEventThatIsCorrectedAnewIsTheSame(t *testing.T) {
	t.Parallel()
	for name, second := range map[string]time.Duration{"earlier": 500 * time.Millisecond, "later": 506 * time.Millisecond} {
		for _, last := range []int{1, 0} { // which of the two hits comes again
			t.Run(fmt.Sprintf("%s, hit %d", name, last), func(t *testing.T) {
				t.Parallel()
				e := mustNew(t, Spec{Stages: stages("AB"), MaxSpan: 10 * time.Second}, Limits{})
				l := newLedger(t)
				hits := []Hit{
					{Stage: 0, Key: "k", ID: "open", Time: epoch.Add(503 * time.Millisecond), Source: "api", Tolerance: time.Millisecond},
					{Stage: 1, Key: "k", ID: "call", Time: epoch.Add(time.Second), Source: "agent", Tolerance: time.Millisecond},
				}
				for _, h := range hits {
					l.take(e.Step(h))
				}
				again := hits[last]
				again.Time = again.Time.Add(second - 503*time.Millisecond)
				l.take(e.Step(again))
				l.take(e.Advance(epoch.Add(time.Minute)))
				if len(l.problems) > 0 || l.changes[Found] != 1 || l.changes[Final] != 1 || l.changes[Superseded]+l.changes[Revised] > 0 {
					t.Errorf("changes %v, problems %v", l.changes, l.problems)
				}
				if s := e.Stats(); s.Duplicates != 1 {
					t.Errorf("%d duplicates, want 1", s.Duplicates)
				}
			})
		}
	}
}
