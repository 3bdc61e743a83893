package sequence

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// losses counts what was dropped, by owner and cause.
type losses map[string]map[string]int

func (l losses) add(owner, cause string, n int) {
	if l[owner] == nil {
		l[owner] = map[string]int{}
	}
	l[owner][cause] += n
}

// An attacker makes noise under as many keys as there can be hits. The sequences of
// others, open all the while, complete; whoever loses is the attacker.
func TestAFloodOfKeysCostsTheFlooder(t *testing.T) {
	t.Parallel()
	limits := map[string]Limits{"hits": {Hits: 20_000}, "bytes": {Bytes: 20_000 * 100}}
	flood := 1_000_000
	if testing.Short() || raceEnabled {
		flood = 100_000
	}
	const victims, each = 50, 20
	for name, limits := range limits {
		lost := losses{}
		limits.Dropped = lost.add
		e := mustNew(t, Spec{Stages: stages("AB"), MaxSpan: time.Hour}, limits)
		step := func(owner, key string, stage int, at time.Duration) int {
			return len(e.Step(Hit{Stage: stage, Key: key, Owner: owner, Time: epoch.Add(at), ID: fmt.Sprint(stage), Size: 100}))
		}
		for i := range victims * each {
			step(fmt.Sprintf("victim-%d", i%victims), fmt.Sprint("victim's ", i), 0, time.Duration(i)*time.Millisecond)
		}
		for i := range flood {
			step("attacker", fmt.Sprint("noise ", i), 0, 2*time.Second+time.Duration(i)*time.Millisecond)
		}
		found := map[string]int{}
		for i := range victims * each {
			owner := fmt.Sprintf("victim-%d", i%victims)
			found[owner] += step(owner, fmt.Sprint("victim's ", i), 1, 30*time.Minute)
		}
		s := e.Stats()
		var table strings.Builder
		w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "owner\thits made\tlost\tsequences completed\n")
		fmt.Fprintf(w, "attacker\t%d\t%d\t-\n", flood, lost["attacker"][CauseOverTotal])
		for owner, n := range found {
			if n != each || len(lost[owner]) > 0 {
				fmt.Fprintf(w, "%s\t%d\t%v\t%d of %d\n", owner, 2*each, lost[owner], n, each)
				t.Errorf("%s: %s lost something", name, owner)
			}
		}
		fmt.Fprintf(w, "%d victims\t%d\t0\tall\n", victims, 2*victims*each)
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		t.Logf("limit on %s:\n%s", name, table.String())
		if want := flood + 2*victims*each - s.Hits; lost["attacker"][CauseOverTotal] != want || s.OverTotal != uint64(want) || s.Hits < 19_900 {
			t.Errorf("%s: the attacker lost %v, want %d; %+v", name, lost["attacker"], want, s)
		}
	}
}

// An attacker whose events have a victim's key, in between the victim's, does not push
// those out.
func TestAFloodUnderAVictimsKeyCostsTheFlooder(t *testing.T) {
	t.Parallel()
	lost := losses{}
	e := mustNew(t, Spec{Stages: stages("ABC"), MaxSpan: time.Hour}, Limits{HitsPerKey: 64, Dropped: lost.add})
	l := newLedger(t)
	at := func(i int) time.Time { return epoch.Add(time.Duration(i) * time.Second) }
	l.take(e.Step(Hit{Key: "k", Stage: 0, Time: at(0), ID: "a", Owner: "victim"}))
	for i := range 400 {
		l.take(e.Step(Hit{Key: "k", Stage: 2, Time: at(1 + i), ID: "noise", Owner: "attacker"}))
	}
	l.take(e.Step(Hit{Key: "k", Stage: 1, Time: at(500), ID: "b", Owner: "victim"}))
	for i := range 400 {
		l.take(e.Step(Hit{Key: "k", Stage: 0, Time: at(600 + i), ID: "noise", Owner: "attacker"}))
	}
	l.take(e.Step(Hit{Key: "k", Stage: 2, Time: at(550), ID: "c", Owner: "victim"}))
	if diff := gocmp.Diff([]string{"k: 0@0/a 1@500/b 2@550/c"}, l.matches()); diff != "" || len(l.problems) > 0 {
		t.Errorf("want (-), got (+):\n%s%v", diff, l.problems)
	}
	if len(lost) != 1 || lost["attacker"][CauseOverKey] != int(e.Stats().OverKey) || e.Stats().OverKey == 0 {
		t.Errorf("lost %v, %+v", lost, e.Stats())
	}
}

func TestShedTakesFromOneOwner(t *testing.T) {
	t.Parallel()
	e := mustNew(t, Spec{Stages: stages("AB"), MaxSpan: time.Hour}, Limits{})
	if _, ok := e.Largest(); ok || e.Shed("") {
		t.Error("something is shed of nothing")
	}
	for i := range 30 {
		owner := "small"
		if i%3 > 0 {
			owner = "large"
		}
		e.Step(Hit{Key: fmt.Sprint(i % 10), Time: epoch.Add(time.Duration(i) * time.Second), ID: "a", Owner: owner})
	}
	if owner, _ := e.Largest(); owner != "large" {
		t.Errorf("the largest is %q", owner)
	}
	for shed := 1; e.Shed("large"); shed++ {
		if s := e.Stats(); s.Hits != 30-shed || s.OverTotal != uint64(shed) {
			t.Fatalf("after %d: %+v", shed, s)
		}
	}
	if s := e.Stats(); s.Hits != 10 || e.Shed("large") || e.Shed("nobody") {
		t.Errorf("%+v", s)
	}
	if owner, _ := e.Largest(); owner != "small" {
		t.Errorf("the largest is %q", owner)
	}
	e.Advance(End())
	if s := e.Stats(); s.Hits+s.Keys+s.Partials != 0 || e.accounts != nil || len(e.sources.numbers) != 0 {
		t.Errorf("something is left: %+v", s)
	}
}

// Whatever is done, the accounts are those of the hits that are kept.
func TestAccountsAgreeWithWhatIsKept(t *testing.T) {
	t.Parallel()
	for seed := range rounds() / 20 {
		r := rand.New(rand.NewPCG(seed, 9))
		spec := randomSpec(r)
		dropped := 0
		e := mustNew(t, spec, Limits{Hits: 8 + r.IntN(40), HitsPerKey: 4 + r.IntN(30), Dropped: func(_, _ string, n int) { dropped += n }})
		for range 200 {
			h := Hit{Stage: r.IntN(len(spec.Stages)), Key: fmt.Sprint(r.IntN(12)), Owner: fmt.Sprint(r.IntN(4) * r.IntN(3)),
				Time: epoch.Add(time.Duration(r.IntN(60)) * time.Second), ID: fmt.Sprint(r.IntN(9)), Source: fmt.Sprint(r.IntN(3))}
			e.Step(h)
			switch r.IntN(30) {
			case 0:
				e.Shed(h.Owner)
			case 1:
				e.Advance(h.Time)
			}
			compareAccounts(t, e, seed)
		}
		if s := e.Stats(); uint64(dropped) != s.OverKey+s.OverTotal+s.Expired+s.Invalid {
			t.Fatalf("seed %d: told of %d drops: %+v", seed, dropped, s)
		}
	}
}

// compareTies: the beginnings of the ties are those of the hits, in their order.
func compareTies(t *testing.T, k *key, seed uint64) {
	t.Helper()
	want := make([]uint64, len(k.nodes))
	for i, n := range k.nodes {
		want[i] = n.beginning()
	}
	if !slices.Equal(k.ties, want) {
		t.Fatalf("seed %d: ties %x, want %x", seed, k.ties, want)
	}
}

func compareAccounts(t *testing.T, e *Engine, seed uint64) {
	t.Helper()
	hits, owners, partials := 0, map[string]int{}, 0
	for _, k := range e.keys {
		nodes := []*node{&k.one}
		if k.history != nil {
			nodes = k.nodes
			compareTies(t, k, seed)
		} else if e.opens(&k.one) {
			partials++
		}
		for _, n := range nodes {
			owners[n.owner]++
			hits++
		}
		if k.history != nil {
			for _, n := range k.partials {
				if n != nil {
					partials++
				}
			}
		}
	}
	if s := e.Stats(); s.Hits != hits || s.Partials != partials || len(e.queue) != len(e.keys) {
		t.Fatalf("seed %d: %d hits, %d partials, %d keys: %+v", seed, hits, partials, len(e.keys), s)
	}
	if e.accounts == nil {
		return
	}
	got := map[string]int{}
	for owner, a := range e.accounts.byOwner {
		got[owner] = a.hits
		for _, k := range e.keys {
			if k.has(owner) && !slices.Contains(a.keys, k) {
				t.Fatalf("seed %d: %q does not know its key %s", seed, owner, k.name)
			}
		}
	}
	if diff := gocmp.Diff(owners, got); diff != "" {
		t.Fatalf("seed %d: kept (-), accounts (+):\n%s", seed, diff)
	}
}
