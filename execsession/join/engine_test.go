package join

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/event"
)

// at is so many milliseconds after simBegin.
func at(ms int) Moment {
	return Moment{simBegin.Add(time.Duration(ms) * time.Millisecond), time.Millisecond}
}

func inMain() Place { return Place{Namespace: "shop", Pod: "cart-0", UID: "u-1", Container: "main"} }

func ask(id, user string, ms int) Request {
	return Request{ID: id, Who: Who{User: user}, Place: inMain(), Command: []string{"sh"}, Since: at(ms)}
}

func sh(id string, ms int) Root {
	return Root{ID: id, Place: inMain(), Args: []string{"sh"}, Start: at(ms)}
}

// verdicts are the latest of each root after some time.
type verdicts map[string]Verdict

func (v verdicts) until(e *Engine, ms int) {
	e.Advance(at(ms).At, at(ms).At, false)
	for _, changed := range e.Resolve() {
		v[changed.Root] = changed
	}
}

func TestWhatKeepsARootFromBeingExact(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		root    func(*Root)
		request func(*Request)
		tell    func(*Engine)
		want    event.Attribution
		why     string
	}{
		"nothing":                          {want: event.AttributionExact},
		"first seen late":                  {root: func(r *Root) { r.Late = true }, want: event.AttributionCandidates, why: whyLate},
		"an unknown container":             {root: func(r *Root) { r.Place.Container = "" }, want: event.AttributionCandidates, why: whyContainer},
		"another container":                {root: func(r *Root) { r.Place.Container = "mesh" }, want: event.AttributionNone, why: whyNobody},
		"another pod of that name":         {root: func(r *Root) { r.Place.UID = "u-0" }, want: event.AttributionNone, why: whyNobody},
		"a terminal that nobody asked for": {root: func(r *Root) { r.TTY = true }, want: event.AttributionNone, why: whyNobody},
		"a probe":                          {root: func(r *Root) { r.Probe = true }, want: event.AttributionCandidates, why: whyProbe},
		"a pod that may be one of several": {request: func(q *Request) { q.Place.UID, q.Place.UIDs = "", []string{"u-0", "u-1"} }, want: event.AttributionExact},
		"an unknown command":               {request: func(q *Request) { q.Command = nil }, want: event.AttributionCandidates, why: whyUnconfirmed},
		"telemetry is missing":             {tell: func(e *Engine) { e.Blur(inMain(), at(0).At, at(1).At) }, want: event.AttributionCandidates, why: whyBlurred},
		"a refusal":                        {tell: func(e *Engine) { e.Refused("q") }, want: event.AttributionNone, why: whyNobody},
		"the request ended at once":        {tell: func(e *Engine) { e.Completed("q", at(300)) }, want: event.AttributionCandidates, why: whyEnded},
		"both ended at once": {tell: func(e *Engine) {
			e.Completed("q", at(300))
			e.Exited("r", at(280), true)
		}, want: event.AttributionExact},
	} {
		e := New(Options{Begin: simBegin.Add(-time.Hour)})
		q, r := ask("q", "alice", 0), sh("r", 200)
		if tt.request != nil {
			tt.request(&q)
		}
		if tt.root != nil {
			tt.root(&r)
		}
		e.Request(q)
		e.Opened("q", at(100))
		e.Root(r)
		if tt.tell != nil {
			tt.tell(e)
		}
		got := verdicts{}
		got.until(e, 1000)
		if a := got["r"].Attribution; a == event.AttributionExact {
			t.Errorf("%s: exact after a second", name)
		}
		got.until(e, 10_000)
		if v := got["r"]; v.Attribution != tt.want || v.Why != tt.why {
			t.Errorf("%s: %s, %q, want %s, %q", name, v.Attribution, v.Why, tt.want, tt.why)
		}
	}
}

func TestRequestWithoutItsProcessMayHaveStartedALateOne(t *testing.T) {
	t.Parallel()
	e := New(Options{Begin: simBegin.Add(-time.Hour)})
	e.Request(ask("q1", "alice", 0))
	e.Opened("q1", at(100)) // its process was never told of
	e.Request(ask("q2", "bob", 60_000))
	e.Opened("q2", at(60_100))
	e.Root(sh("r", 60_200))
	got := verdicts{}
	got.until(e, 90_000)
	if v := got["r"]; v.Attribution != event.AttributionCandidates || !slices.Equal(v.Users, []string{"alice", "bob"}) {
		t.Errorf("%+v", v)
	}
}

// TestLateProcessesOfABurstAreNotTakenForUnaudited: a busy node starts many processes one after the other, so that
// those of requests which all came at once, for the same command, begin long after each other.
func TestLateProcessesOfABurstAreNotTakenForUnaudited(t *testing.T) {
	t.Parallel()
	e := New(Options{Begin: simBegin.Add(-time.Hour)})
	const burst = 30
	for i := range burst {
		id := fmt.Sprintf("q%02d", i)
		e.Request(ask(id, []string{"alice", "bob", "carol"}[i%3], i))
		e.Opened(id, at(1000))
		e.Root(sh(fmt.Sprintf("r%02d", i), 2000+i*300)) // The last one begins 10.7 seconds later.
	}
	// At the edge of the usual time: only the one that was opened last can have started these two usually.
	e.Request(ask("q-last", "alice", 50))
	e.Opened("q-last", at(1500))
	e.Request(ask("q-other", "bob", 50))
	e.Opened("q-other", at(1000))
	e.Root(sh("edge-1", 6300))
	e.Root(sh("edge-2", 6310))
	got := verdicts{}
	got.until(e, 60_000)
	for id, v := range got {
		if v.Unaudited || v.Attribution != event.AttributionCandidates || !slices.Contains(v.Users, "alice") || !slices.Contains(v.Users, "carol") {
			t.Errorf("%s: %+v", id, v)
		}
	}

	e.Root(sh("one too many", 20_000))
	for i := range burst { // All of their requests are known to have one of their own.
		e.Root(sh(fmt.Sprintf("early%02d", i), 1500+i))
	}
	got.until(e, 90_000)
	if v := got["one too many"]; !v.Unaudited {
		t.Errorf("%+v", v)
	}
}

func TestRootsFromBeforeTheEngineAreAHole(t *testing.T) {
	t.Parallel()
	e := New(Options{Begin: simBegin})
	e.Root(sh("r", -1000))
	got := verdicts{}
	got.until(e, 60_000)
	if v := got["r"]; !v.Hole || v.Unaudited {
		t.Errorf("%+v", v)
	}
}

func TestWhatIsOverLeaves(t *testing.T) {
	t.Parallel()
	e := New(Options{Begin: simBegin.Add(-time.Hour)})
	e.Request(ask("q", "alice", 0))
	e.Opened("q", at(100))
	e.Root(sh("r", 200))
	got := verdicts{}
	got.until(e, 10_000)
	e.Exited("r", at(20_000), true)
	e.Completed("q", at(20_100))
	got.until(e, 30_000)
	e.Advance(at(30_000).At.Add(DefaultRetain), at(30_000).At.Add(DefaultRetain), false)
	if changed := e.Resolve(); len(changed) > 0 || e.Len() != 0 || len(e.zones) != 0 {
		t.Errorf("%d verdicts, %d facts and %d pods are left", len(changed), e.Len(), len(e.zones))
	}
	if v := got["r"]; v.Who.User != "alice" {
		t.Errorf("%+v", v)
	}
}

func TestAPodsRoomIsBounded(t *testing.T) {
	t.Parallel()
	e := New(Options{MaxPerPod: 4, Begin: simBegin.Add(-time.Hour)})
	for i := range 10 {
		id := string(rune('a' + i))
		if ok := e.Request(ask(id, "alice", i)); ok != (i < 4) {
			t.Errorf("request %d was taken: %v", i, ok)
		}
		e.Opened(id, at(100))
	}
	// Bob's request found no room: his process must not be alice's.
	e.Root(sh("r", 200))
	got := verdicts{}
	got.until(e, 60_000)
	if v := got["r"]; v.Attribution == event.AttributionExact || e.Dropped() != 6 {
		t.Errorf("%+v, %d dropped", v, e.Dropped())
	}
}

func TestOrderOfFactsDoesNotMatter(t *testing.T) {
	t.Parallel()
	facts := []func(*Engine){
		func(e *Engine) { e.Request(ask("q1", "alice", 0)); e.Opened("q1", at(100)) },
		func(e *Engine) { e.Request(ask("q2", "bob", 10)); e.Opened("q2", at(110)) },
		func(e *Engine) { e.Root(sh("r1", 200)); e.Exited("r1", at(9_000), true) },
		func(e *Engine) { e.Root(sh("r2", 210)) },
		func(e *Engine) { e.Request(ask("q1", "alice", 0)); e.Completed("q1", at(9_100)) },
	}
	var want verdicts
	for range 20 {
		e, got := New(Options{Begin: simBegin.Add(-time.Hour)}), verdicts{}
		for _, tell := range facts {
			tell(e)
		}
		got.until(e, 60_000)
		if want == nil {
			want = got
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		facts = append(facts[1:], facts[0])
	}
	if v := want["r1"]; v.Who.User != "alice" || want["r2"].Who.User != "bob" {
		t.Errorf("%+v", want)
	}
}

func TestWhatIsDecidedMakesRoom(t *testing.T) {
	t.Parallel()
	e := New(Options{MaxPerPod: 4, Begin: simBegin.Add(-time.Hour)})
	got := verdicts{}
	for i := range 40 {
		name, ms := string(rune('A'+i)), 10_000*i
		if !e.Request(ask("q"+name, "alice", ms)) || !e.Root(sh("r"+name, ms+200)) {
			t.Fatalf("no room for %s", name)
		}
		e.Opened("q"+name, at(ms+100))
		e.Exited("r"+name, at(ms+300), true)
		e.Completed("q"+name, at(ms+310))
		got.until(e, ms+9_900)
		if v := got["r"+name]; v.Attribution != event.AttributionExact {
			t.Fatalf("%+v", v)
		}
	}
	for name, v := range got {
		if v.Attribution != event.AttributionExact {
			t.Errorf("%s is not exact any more: %+v", name, v)
		}
	}
}

func TestRefusedRequestsTakeNoRoom(t *testing.T) {
	t.Parallel()
	e := New(Options{MaxPerPod: 4, Begin: simBegin.Add(-time.Hour)})
	got := verdicts{}
	for i := range 100 {
		id := string(rune('A' + i))
		if !e.Request(ask(id, "mallory", i)) {
			t.Fatalf("no room for request %d", i)
		}
		e.Refused(id)
	}
	got.until(e, 1000)
	if e.Len() != 0 || e.Dropped() != 0 {
		t.Errorf("%d are kept, %d were dropped", e.Len(), e.Dropped())
	}
}
