package ending

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/app/admission"
	"github.com/portcullis-dev/portcullis/collector"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/execsession"
)

// node is the sessions of one pod, and the agent that ends them.
type node struct {
	mutex    sync.Mutex
	docs     []execsession.Document
	begun    map[string]bool
	started  map[string]time.Time
	mixed    map[string][]string // equal ones that cannot be told apart
	outcome  collector.Outcome
	err      error
	ended    []collector.Session
	killed   []string
	announce []string
}

func (n *node) Firsts(id string, ending func(string) bool) (out []execsession.First) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	for _, id := range append([]string{id}, n.mixed[id]...) {
		if !n.begun[id] || !ending(id) {
			return nil
		}
		out = append(out, execsession.First{
			Pod: event.Pod{UID: "u", Namespace: "shop", Name: "web-0", Node: "n1"}, ContainerID: "c", Leader: event.EntryLeader{EntityID: "e-" + id, Start: n.started[id]},
		})
	}
	return out
}

func (n *node) Get(id string) (execsession.Document, bool) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	i := slices.IndexFunc(n.docs, func(d execsession.Document) bool { return d.ID == id })
	if i < 0 {
		return execsession.Document{}, false
	}
	return n.docs[i], true
}

func (n *node) List(f execsession.Filter) []execsession.Document {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	var out []execsession.Document
	for _, d := range n.docs {
		if f.User == "" || d.User != nil && d.User.Name == f.User {
			out = append(out, d)
		}
	}
	return out
}

func (n *node) Killed(id, by string, _ time.Time) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.killed = append(n.killed, id+" by "+by)
}

func (n *node) SessionKilled(_ event.Pod, session, why string) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.announce = append(n.announce, session+": "+why)
}

func (n *node) EndSession(_ context.Context, what collector.Session) (collector.Ended, error) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if n.err != nil {
		return collector.Ended{}, n.err
	}
	n.ended = append(n.ended, what)
	return collector.Ended{Outcome: n.outcome}, nil
}

// add has a session of the pod, which has begun or not.
func (n *node) add(d execsession.Document, begun bool) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	d.Pod = execsession.Pod{UID: "u", Namespace: "shop", Name: "web-0", Node: "n1"}
	n.docs = append(n.docs, d)
	n.begun[d.ID], n.started[d.ID] = begun, d.Started
}

func (n *node) begin(id string) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.begun[id], n.started[id] = true, time.Now()
}

// names are the entry leaders whose sessions were ended, sorted.
func (n *node) names() []string {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	out := make([]string, 0, len(n.ended))
	for _, s := range n.ended {
		out = append(out, s.EntityID)
	}
	slices.Sort(out)
	return out
}

// run plays a story while a Killer runs, by a clock that only waits.
func run(t *testing.T, story func(t *testing.T, n *node, k *Killer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &node{begun: map[string]bool{}, started: map[string]time.Time{}, outcome: collector.OutcomeDone}
		k, err := New(Options{Sessions: n, Agents: n, Announcer: n, Now: time.Now, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = k.Run(ctx) })
		story(t, n, k)
		cancel()
		running.Wait()
	})
}

func expect(t *testing.T, n *node, want ...string) {
	t.Helper()
	time.Sleep(time.Second)
	if got := n.names(); !slices.Equal(got, want) {
		t.Errorf("ended %q, want %q", got, want)
	}
}

// about is a detection of just now about the pod, whose events happened in these sessions.
func about(sessions ...string) *event.Detection {
	d := &event.Detection{
		ID: "d", Rule: event.DetectionRule{Name: "r", Title: "Title"}, At: time.Now(), User: "mallory",
		Pod: event.Pod{UID: "u", Namespace: "shop", Name: "web-0", Confidence: event.Exact},
	}
	for _, id := range sessions {
		d.Events = append(d.Events, &event.Event{Session: &event.Session{ID: id}})
	}
	d.Events = append(d.Events, &event.Event{})
	return d
}

func TestTheSessionsOfADetectionEnd(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, n *node, k *Killer) {
		n.add(execsession.Document{ID: "s-1", State: execsession.StateOpen, Started: time.Now().Add(-time.Hour)}, true)
		n.add(execsession.Document{ID: "s-2", State: execsession.StateOpen, Started: time.Now().Add(-time.Hour)}, true)
		k.End(about("s-1", "s-1"), Reach{})
		expect(t, n, "e-s-1")
		n.mutex.Lock()
		defer n.mutex.Unlock()
		got := n.ended[0]
		want := collector.Session{Node: "n1", EntityID: "e-s-1", ContainerID: "c", PodUID: "u", Reason: "Portcullis has ended this session: Title (rule r), detection d"}
		if got != want {
			t.Errorf("asked for %+v, want %+v", got, want)
		}
		if !slices.Equal(n.killed, []string{"s-1 by rule r"}) || len(n.announce) != 1 || testutil.CollectAndCount(k.seconds) != 1 {
			t.Errorf("killed %q, told %q", n.killed, n.announce)
		}
	})
}

// Somebody was let in just before the detection; the process comes after it.
func TestWhatWasAdmittedBeforeEndsWhenItBegins(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, n *node, k *Killer) {
		now := time.Now()
		n.add(execsession.Document{ID: "s-1", State: execsession.StateRequested, Requested: now.Add(-time.Second)}, false)
		k.End(about(), Reach{})
		expect(t, n)
		n.begin("s-1")
		expect(t, n, "e-s-1")
	})
}

// Somebody else's session has begun before the detection, and it is not known yet that it has.
func TestWhatBeganBeforeGoesOn(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, n *node, k *Killer) {
		now := time.Now()
		n.add(execsession.Document{ID: "s-1", State: execsession.StateOpen, Started: now.Add(-time.Hour)}, true)
		n.add(execsession.Document{ID: "s-2", State: execsession.StateRequested, Requested: now.Add(-time.Second), Started: now.Add(-time.Millisecond)}, false)
		k.End(about("s-1"), Reach{})
		expect(t, n, "e-s-1")
		n.mutex.Lock()
		n.begun["s-2"] = true
		n.mutex.Unlock()
		expect(t, n, "e-s-1")
		if len(k.pending) != 0 {
			t.Errorf("%d are waited for", len(k.pending))
		}
	})
}

// The verdict was made before the detection, and is told after it.
func TestAReviewThatIsToldLateCounts(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, n *node, k *Killer) {
		admitted := time.Now()
		time.Sleep(10 * time.Millisecond)
		k.End(about(), Reach{})
		time.Sleep(10 * time.Millisecond)
		n.add(execsession.Document{ID: "s-1", State: execsession.StateRequested, Requested: admitted, Started: time.Now()}, true)
		n.add(execsession.Document{ID: "s-2", State: execsession.StateRequested, Requested: time.Now()}, true)
		expect(t, n, "e-s-1")
	})
}

// Nobody is let into the pod any more, so what begins there came before or another way. The kubelet's own goes on.
func TestWhatBeginsInAPodThatIsShutEnds(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, n *node, k *Killer) {
		k.End(about(), Reach{Shut: true})
		time.Sleep(time.Second)
		n.add(execsession.Document{ID: "r-1", State: execsession.StateOpen, Started: time.Now()}, true)
		n.add(execsession.Document{ID: "r-2", State: execsession.StateOpen, Started: time.Now(), Candidates: []string{event.CandidateProbe}}, true)
		expect(t, n, "e-r-1")
	})
	run(t, func(t *testing.T, n *node, k *Killer) {
		k.End(about(), Reach{}) // It is not shut: others may come in.
		n.add(execsession.Document{ID: "r-1", State: execsession.StateOpen, Started: time.Now().Add(time.Second)}, true)
		expect(t, n)
	})
}

func TestAUsersAdmissionsElsewhereEnd(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, n *node, k *Killer) {
		d := about()
		d.Pod = event.Pod{}
		n.add(execsession.Document{ID: "s-1", State: execsession.StateRequested, User: &execsession.User{Name: "mallory"}, Started: time.Now().Add(time.Second)}, true)
		n.add(execsession.Document{ID: "s-2", State: execsession.StateRequested, User: &execsession.User{Name: "alice"}}, true)
		k.End(d, Reach{User: true})
		expect(t, n, "e-s-1")
	})
}

func TestBreakGlassGoesOn(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, n *node, k *Killer) {
		glass := &execsession.Verdict{Allowed: true, Why: admission.BreakGlass + "oncall"}
		n.add(execsession.Document{ID: "s-1", State: execsession.StateOpen, Verdict: glass}, true)
		k.End(about("s-1"), Reach{Shut: true})
		n.add(execsession.Document{ID: "r-1", State: execsession.StateOpen, Started: time.Now().Add(time.Second)}, true) // It may be theirs.
		expect(t, n)
	})
}

// An agent that is away is asked again; what never begins is given up.
func TestPatience(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, n *node, k *Killer) {
		n.add(execsession.Document{ID: "s-1"}, true)
		n.err = errors.New("not connected")
		k.EndSession(Order{Session: "s-1", Since: time.Now()})
		expect(t, n)
		n.mutex.Lock()
		n.err = nil
		n.mutex.Unlock()
		expect(t, n, "e-s-1")

		k.EndSession(Order{Session: "s-2", Since: time.Now()})
		time.Sleep(patience + time.Second)
		n.begin("s-2")
		expect(t, n, "e-s-1")
		if got := testutil.ToFloat64(k.outcomes.WithLabelValues(outcomeNeverBegan)); got != 1 || len(k.pending) != 0 {
			t.Errorf("%v never began, %d are waited for", got, len(k.pending))
		}
	})
}

// Of equal sessions nobody knows which is which. They end once all of them are to end.
func TestEqualSessionsEndTogether(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, n *node, k *Killer) {
		n.mixed = map[string][]string{"s-1": {"s-2"}, "s-2": {"s-1"}}
		n.begin("s-1")
		n.begin("s-2")
		k.EndSession(Order{Session: "s-1", Since: time.Now()})
		expect(t, n)
		k.EndSession(Order{Session: "s-2", Since: time.Now()})
		time.Sleep(time.Second)
		if got := slices.Compact(n.names()); !slices.Equal(got, []string{"e-s-1", "e-s-2"}) || len(k.pending) != 0 {
			t.Errorf("ended %q, and %d are waited for", got, len(k.pending))
		}
	})
}

// Whoever sets off a rule again and again does not make everybody's sessions dearer.
func TestDetectionsAreLookedAfterWithinBounds(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, _ *node, k *Killer) {
		for range 10 * maxRecent {
			k.End(about(), Reach{Shut: true})
		}
		k.mutex.Lock()
		defer k.mutex.Unlock()
		if len(k.recent) != maxRecent {
			t.Errorf("%d detections are looked after, want %d", len(k.recent), maxRecent)
		}
	})
}
