package correlator

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
)

func TestOwnersCannotBeForged(t *testing.T) {
	t.Parallel()
	uid := cart().UID
	guess := event.Pod{Namespace: "shop", Name: "cart-0", Confidence: event.Ambiguous, Candidates: []string{uid}}
	alice := execRequest(cart(), 0, "get", "ResponseStarted", "command=sh")
	for name, row := range map[string]struct {
		e    *event.Event
		want string
	}{
		"telemetry":                        {execIn(cart(), 0, "ls"), "pod/uid:" + uid},
		"telemetry without a UID":          {execIn(event.Pod{Namespace: "shop", Name: "cart-0"}, 0, "ls"), "pod/name:shop/cart-0"},
		"request of a pod":                 {called(cart(), 0, "get", "pods"), "caller/uid:" + uid},
		"request of a pod that is a guess": {called(guess, 0, "get", "pods"), "user/system:serviceaccount:shop:default"},
		"request about a pod":              {alice, "user/alice@example.com"},
		"request in another's name": {edit(execRequest(cart(), 0, "get", "ResponseStarted", "command=sh"), func(e *event.Event) {
			e.Audit.ImpersonatedUser = &event.AuditUser{Username: "bob"}
		}), "user/alice@example.com"},
		"user who is called like a pod": {edit(called(event.Pod{}, 0, "get", "pods"), func(e *event.Event) { e.Audit.User.Username = "uid:" + uid }), "user/uid:" + uid},
		"neither pod nor request":       {&event.Event{Source: "agent/node1"}, "source/agent/node1"},
	} {
		if got := string(row.e.AppendOwner(nil)); got != row.want {
			t.Errorf("%s: %q, want %q", name, got, row.want)
		}
	}
}

func TestHeaviestOwnerIsFound(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 6))
	o := newOwners()
	type hit struct {
		of     string
		weight int64
	}
	var hits []hit
	for range 5000 {
		if r.IntN(5) < 3 || len(hits) == 0 {
			h := hit{fmt.Sprint(r.IntN(30)), 1 + r.Int64N(100)}
			hits = append(hits, h)
			o.charge(h.of, 1, 1, h.weight)
		} else {
			i := r.IntN(len(hits))
			o.charge(hits[i].of, 1, -1, -hits[i].weight)
			hits[i] = hits[len(hits)-1]
			hits = hits[:len(hits)-1]
		}
		weights, most := map[string]int64{}, int64(0)
		for _, h := range hits {
			weights[h.of] += h.weight
			most = max(most, weights[h.of])
		}
		if len(weights) != len(o.byName) || len(weights) != len(o.heap) {
			t.Fatalf("%d owners by name and %d in the heap, there are %d", len(o.byName), len(o.heap), len(weights))
		}
		if got := o.most(); got != nil && (got.weight != most || weights[got.name] != most) {
			t.Fatalf("%s with %d is most, want %d", got.name, got.weight, most)
		}
	}
}

// Accounts that are opened late are the same as those that were kept all along.
func TestAccountsOpenedLate(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 7))
	s := newStore(100)
	s.account()
	var all []*kept
	for i := range 2000 {
		if r.IntN(5) < 3 || len(all) == 0 {
			pod := cart()
			pod.UID = fmt.Sprint(r.IntN(5))
			events := []*event.Event{execIn(pod, time.Duration(i)*time.Second, "ls"), opened(pod, time.Duration(i)*time.Second, token)}
			all = append(all, s.keep(events[i%2]))
		} else {
			at := r.IntN(len(all))
			s.release(all[at])
			all[at] = all[len(all)-1]
			all = all[:len(all)-1]
		}
		if i%50 > 0 {
			continue
		}
		weights := func() map[string]int64 {
			weights := map[string]int64{}
			for name, of := range s.owners.byName {
				weights[name] = of.weight
			}
			return weights
		}
		before := weights()
		s.account()
		if diff := cmp.Diff(before, weights()); diff != "" {
			t.Fatal(diff)
		}
	}
}

// One pod makes noise, in whatever rule: it is that pod that loses by it.
func TestFloodCostsWhoeverMakesIt(t *testing.T) {
	t.Parallel()
	schema := field.New()
	const noisy = "sequence by process.entity_id with maxspan=10s\n  [process where process.name == \"yes\"]\n  [process where process.name == \"no\"]"
	text := ruleText("pair", anyPair, "") + ruleText("noisy", noisy, "") + ruleText("noisy-too", noisy, "")
	for name, limit := range map[string]func(*Options){
		"hits":  func(o *Options) { o.MaxHits = 100 },
		"bytes": func(o *Options) { o.MaxBytes = 40 << 10 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lost := map[string]int{}
			h := newHarness(t, schema, ruleSet(t, schema, text), func(o *Options) {
				limit(o)
				o.Dropped = func(owner, _, cause string, n int) { lost[cause+" of "+owner] += n }
			})
			quiet := make([]event.Pod, 0, 10)
			for i := range cap(quiet) {
				pod := elsewhere()
				pod.UID = fmt.Sprint("quiet-", i)
				quiet = append(quiet, pod)
				h.feed(t, execIn(pod, 0, "ls"))
			}
			for i := range 1000 {
				h.feed(t, edit(execIn(cart(), time.Duration(i)*time.Millisecond, "yes"), func(e *event.Event) { e.Process.EntityID = fmt.Sprint(i) }))
			}
			for _, pod := range quiet {
				h.feed(t, called(pod, 5*time.Second, "get", "pods"))
			}
			for _, pod := range quiet {
				found := false
				for _, d := range h.recorder.all {
					found = found || d.Pod.UID == pod.UID
				}
				if !found {
					t.Errorf("what %s did is lost", pod.UID)
				}
			}
			h.pass(t, time.Second)
			kept, dropped := h.join.hits, int(testutil.ToFloat64(h.metrics.dropped.WithLabelValues(dropOverTotal)))
			if kept > 150 || kept < 30 {
				t.Errorf("%d hits are kept", kept)
			}
			if diff := cmp.Diff(map[string]int{dropOverTotal + " of uid:" + cart().UID: dropped}, lost); diff != "" || dropped < 1800 {
				t.Errorf("%d are counted; whose they were:\n%s", dropped, diff)
			}
		})
	}
}
