package identity

import (
	"bytes"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/portcullis-dev/portcullis/event"
)

// newResolver is one that the test feeds itself and that knows everything from long before now, its
// clock.
func newResolver(t testing.TB, now func() time.Time) (*Resolver, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	r, err := New(Options{
		Client: &kubernetes.Clientset{}, Logger: slog.New(slog.DiscardHandler), Registerer: reg, Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.history.begin, r.history.synced = now().Add(-24*time.Hour), true
	r.history.hear(now())
	r.syncOnce.Do(func() { close(r.synced) })
	return r, reg
}

func fixed(t time.Time) func() time.Time { return func() time.Time { return t } }

func TestOptionsNameWhatIsMissing(t *testing.T) {
	_, err := New(Options{Retention: -1})
	for _, want := range []string{"Client", "Logger", "Registerer", "Retention"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New says %v, which does not name %s", err, want)
		}
	}
}

func TestCompleteTelemetry(t *testing.T) {
	r, _ := newResolver(t, fixed(at(60)))
	r.put(newRecord(pod("u1", "web-0", at(0), running("c1"), func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": "web"}
	})))
	r.put(newRecord(pod("m1", "etcd-node-1", at(0), mirrorOf("hash"), running("c9"))))

	e := &event.Event{Time: at(30), Pod: event.Pod{UID: "u1", Confidence: event.Exact}, Container: &event.Container{ID: "c1"}}
	if r.Complete(e) != Completed {
		t.Fatal("a known pod's event is not complete")
	}
	want := event.Pod{
		UID: "u1", Namespace: "shop", Name: "web-0", Node: "node-1",
		Labels: map[string]string{"app": "web"}, Confidence: event.Exact,
	}
	if diff := cmp.Diff(want, e.Pod); diff != "" {
		t.Errorf("the pod (-want +got):\n%s", diff)
	}
	if e.Container.Name != "main" || e.Container.Image != "busybox:1" || e.Container.Privileged == nil || *e.Container.Privileged {
		t.Errorf("the container is %+v", e.Container)
	}

	static := &event.Event{Time: at(30), Pod: event.Pod{UID: "hash", Node: "node-1"}, Container: &event.Container{ID: "c9"}}
	if r.Complete(static) != Completed || static.Pod.UID != "m1" || static.Pod.Confidence != event.Exact || static.Container.Name != "main" {
		t.Errorf("a static pod's event is of %+v, %+v", static.Pod, static.Container)
	}

	unknown := &event.Event{Time: at(30), Pod: event.Pod{UID: "u2", Confidence: event.Exact}, Container: &event.Container{ID: "c2"}}
	if r.Complete(unknown) != PodUnknown || unknown.Pod.UID != "u2" || unknown.Pod.Confidence != event.Exact {
		t.Errorf("an unknown pod's event is %+v", unknown.Pod)
	}
}

// TestCompleteForeign: an agent must not have a pod of another node suspected.
func TestCompleteForeign(t *testing.T) {
	r, _ := newResolver(t, fixed(at(60)))
	var log bytes.Buffer
	r.opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	r.put(newRecord(pod("u1", "web-0", at(0), running("c1"))))
	r.put(newRecord(pod("s1", "proxy-node-1", at(0), mirrorOf("shared"))))
	r.put(newRecord(pod("s2", "proxy-node-2", at(0), mirrorOf("shared"), onNode("node-2"))))
	r.put(newRecord(pod("new", "web-1", at(0), onNode(""))))
	gone := newRecord(pod("gone", "web-2", at(0)))
	r.put(gone)
	r.remove("gone")
	for _, tt := range []struct {
		uid, node string
		want      Outcome
		pod       string
	}{
		{"u1", "node-1", Completed, "u1"},
		{"u1", "node-2", Foreign, "u1"},
		{"u1", "", Completed, "u1"},
		{"gone", "node-2", Foreign, "gone"},
		{"shared", "node-1", Completed, "s1"},
		{"shared", "node-2", Completed, "s2"},
		{"shared", "node-3", Foreign, "shared"},
		{"s2", "node-1", Foreign, "s2"},
		{"new", "node-1", PodUnknown, "new"}, // where it runs is not known yet
	} {
		e := &event.Event{Time: at(30), Pod: event.Pod{UID: tt.uid, Node: tt.node, Confidence: event.Exact}}
		if got := r.Complete(e); got != tt.want || e.Pod.UID != tt.pod {
			t.Errorf("%s by %q: %v with %+v, want %v", tt.uid, tt.node, got, e.Pod, tt.want)
		}
	}
	for range 100 {
		r.Complete(&event.Event{Time: at(30), Pod: event.Pod{UID: "u1", Node: "node-2"}})
	}
	if n := testutil.ToFloat64(r.metrics.foreign); n != 104 {
		t.Errorf("%v foreign events are counted", n)
	}
	if n := strings.Count(log.String(), "attacker"); n != 3 {
		t.Errorf("logged %d times, want once for each of three nodes:\n%s", n, log.String())
	}
}

func TestForeignNodesAreBounded(t *testing.T) {
	var f foreign
	for i := range 3 * maxForeignNodes {
		f.due(strconv.Itoa(i), at(0))
		if len(f.warned) > maxForeignNodes {
			t.Fatalf("%d nodes are remembered", len(f.warned))
		}
	}
	if !f.due("node", at(0)) || f.due("node", at(59)) || !f.due("node", at(60)) {
		t.Error("a node is not logged once a minute")
	}
}

func TestCompleteStaticPodOnSeveralNodes(t *testing.T) {
	r, _ := newResolver(t, fixed(at(60)))
	r.put(newRecord(pod("s1", "proxy-node-1", at(0), mirrorOf("shared"))))
	r.put(newRecord(pod("s2", "proxy-node-2", at(0), mirrorOf("shared"), onNode("node-2"))))
	e := &event.Event{Time: at(30), Pod: event.Pod{UID: "shared"}}
	r.Complete(e)
	if e.Pod.Confidence != event.Ambiguous || len(e.Pod.Candidates) != 2 {
		t.Errorf("without its node the pod is %+v", e.Pod)
	}
	if runs, known := r.RunsOn("shared", "node-2"); !runs || !known {
		t.Error("the pod on node-2 is not found by the shared hash")
	}
	if runs, known := r.RunsOn("shared", "node-3"); runs || !known {
		t.Error("an agent may speak for a pod of another node")
	}
}

func TestCompleteCaller(t *testing.T) {
	for _, tt := range []struct {
		name  string
		claim event.Pod
		t     time.Time
		want  event.Pod
	}{
		{
			"a UID that lived then", event.Pod{UID: "u1", Namespace: "shop", Name: "web-0"}, at(50),
			event.Pod{UID: "u1", Namespace: "shop", Name: "web-0", Node: "node-1", Confidence: event.Exact},
		},
		{
			"a UID alone", event.Pod{UID: "u1"}, at(50),
			event.Pod{UID: "u1", Namespace: "shop", Name: "web-0", Node: "node-1", Confidence: event.Exact},
		},
		{
			"a token used moments after its pod's end", event.Pod{UID: "u1", Namespace: "shop", Name: "web-0"}, at(130),
			event.Pod{UID: "u1", Namespace: "shop", Name: "web-0", Node: "node-1", Confidence: event.Exact},
		},
		{
			"a UID that was gone for long", event.Pod{UID: "u1", Namespace: "shop", Name: "web-0"}, at(400),
			event.Pod{UID: "u1", Namespace: "shop", Name: "web-0", Confidence: event.Ambiguous, Candidates: []string{"u1", "u2"}},
		},
		{
			"a UID from the future", event.Pod{UID: "u2", Namespace: "shop", Name: "web-0"}, at(50),
			event.Pod{UID: "u2", Namespace: "shop", Name: "web-0", Confidence: event.Ambiguous, Candidates: []string{"u2", "u1"}},
		},
		{
			"a UID under another pod's name", event.Pod{UID: "u1", Namespace: "shop", Name: "other"}, at(50),
			event.Pod{UID: "u1", Namespace: "shop", Name: "other", Confidence: event.Ambiguous, Candidates: []string{"u1", "u3"}},
		},
		{
			"a UID under another namespace", event.Pod{UID: "u1", Namespace: "bank", Name: "web-0"}, at(50),
			event.Pod{UID: "u1", Namespace: "bank", Name: "web-0", Confidence: event.Ambiguous, Candidates: []string{"u1"}},
		},
		{
			"gone before our time", event.Pod{UID: "gone", Namespace: "shop", Name: "long-ago"}, at(-2 * 86400),
			event.Pod{UID: "gone", Namespace: "shop", Name: "long-ago", Confidence: event.Exact},
		},
		{
			"the watch may not have told of it yet", event.Pod{UID: "new", Namespace: "shop", Name: "brand-new"}, at(105),
			event.Pod{UID: "new", Namespace: "shop", Name: "brand-new", Confidence: event.Exact},
		},
		{
			"the watch would have told of it", event.Pod{UID: "never", Namespace: "shop", Name: "never"}, at(50),
			event.Pod{UID: "never", Namespace: "shop", Name: "never", Confidence: event.Ambiguous, Candidates: []string{"never"}},
		},
		{
			"an unknown UID under a known pod's name", event.Pod{UID: "gone", Namespace: "shop", Name: "web-0"}, at(50),
			event.Pod{UID: "gone", Namespace: "shop", Name: "web-0", Confidence: event.Ambiguous, Candidates: []string{"gone", "u1"}},
		},
		{
			"no UID, one pod of that name", event.Pod{Namespace: "shop", Name: "web-0"}, at(50),
			event.Pod{UID: "u1", Namespace: "shop", Name: "web-0", Node: "node-1", Confidence: event.ByName},
		},
		{
			"no UID, no pod of that name", event.Pod{Namespace: "shop", Name: "nobody"}, at(50),
			event.Pod{Namespace: "shop", Name: "nobody", Confidence: event.Unknown},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := at(100)
			r, _ := newResolver(t, func() time.Time { return now })
			r.put(newRecord(pod("u1", "web-0", at(0))))
			r.put(newRecord(pod("u3", "other", at(0))))
			r.remove("u1")
			now = at(111)
			r.put(newRecord(pod("u2", "web-0", at(110))))

			e := &event.Event{Time: tt.t, Audit: &event.Audit{Caller: tt.claim}}
			if r.Complete(e) != Completed {
				t.Error("an audit event has to wait")
			}
			if diff := cmp.Diff(tt.want, e.Audit.Caller, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("the caller (-want +got):\n%s", diff)
			}
			if !e.Audit.Target.IsZero() {
				t.Errorf("a target came from nothing: %+v", e.Audit.Target)
			}
		})
	}
}

func TestCompleteTargetGoesByEventTime(t *testing.T) {
	now := at(100)
	r, reg := newResolver(t, func() time.Time { return now })
	r.put(newRecord(pod("u1", "web-0", at(0))))
	r.remove("u1")
	now = at(111)
	r.put(newRecord(pod("u2", "web-0", at(110))))

	for _, tt := range []struct {
		t    time.Time
		want string
	}{{at(50), "u1"}, {at(200), "u2"}} {
		e := &event.Event{Time: tt.t, Audit: &event.Audit{Target: event.Pod{Namespace: "shop", Name: "web-0"}}}
		r.Complete(e)
		if e.Audit.Target.UID != tt.want {
			t.Errorf("the target at %v is %q, want %q", tt.t, e.Audit.Target.UID, tt.want)
		}
	}
	if n := testutil.CollectAndCount(reg, "portcullis_identity_resolved_total"); n != 12 {
		t.Errorf("%d series of resolved identities, want 3 sides by 4 confidences", n)
	}
}

func TestAliveAndDetails(t *testing.T) {
	r, _ := newResolver(t, fixed(at(100)))
	r.put(newRecord(pod("u1", "web-0", at(0))))
	if alive, known := r.Alive("u1"); !alive || !known {
		t.Error("a living pod is not alive")
	}
	r.remove("u1")
	if alive, known := r.Alive("u1"); alive || !known {
		t.Error("a deleted pod is alive or forgotten")
	}
	if _, known := r.Alive("u2"); known {
		t.Error("a pod that never was is known")
	}
	if _, ok := r.Current("shop", "web-0"); ok {
		t.Error("a deleted pod is current")
	}
	if d, ok := r.Details("u1"); !ok || !d.Deleted.Equal(at(100)) || !d.Created.Equal(at(0)) {
		t.Errorf("details of the deleted pod are %+v", d)
	}
}

func BenchmarkComplete(b *testing.B) {
	r, _ := newResolver(b, fixed(at(100)))
	r.put(newRecord(pod("u1", "web-0", at(0), running("c1"))))
	b.Run("telemetry", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			e := event.Event{Time: at(30), Pod: event.Pod{UID: "u1"}}
			r.Complete(&e)
		}
	})
	r.put(newRecord(pod("u2", "web-1", at(0))))
	h, err := NewHold(HoldOptions{Resolver: r, Registerer: prometheus.NewPedanticRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	for name, caller := range map[string]event.Pod{"no caller": {}, "caller": {UID: "u2", Namespace: "shop", Name: "web-1"}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			a := &event.Audit{}
			for b.Loop() {
				a.Caller = caller
				e := event.Event{Time: at(95), Audit: a}
				h.Complete(&e)
			}
		})
		b.Run(name+", without a hold", func(b *testing.B) {
			a := &event.Audit{}
			for b.Loop() {
				a.Caller = caller
				e := event.Event{Time: at(95), Audit: a}
				r.Complete(&e)
			}
		})
	}
	b.Run("target", func(b *testing.B) {
		b.ReportAllocs()
		a := &event.Audit{}
		for b.Loop() {
			a.Target = event.Pod{Namespace: "shop", Name: "web-0"}
			e := event.Event{Time: at(30), Audit: a}
			r.Complete(&e)
		}
	})
}
