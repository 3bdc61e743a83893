package correlator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/correlator/sequence"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
)

// anyPair is a sequence of a program start and an API request of one pod.
const anyPair = "sequence with maxspan=10s\n" +
	"  [process where true] by orchestrator.resource.name\n" +
	"  [any where event.dataset == \"kubernetes.audit_logs\"] by `kubernetes.audit.user.extra.authentication.kubernetes.io/pod-name`"

const quarantinePod = "  response: {quarantine: {subject: pod, duration: 1h}}"

func TestIngestToDetectionThroughTheBus(t *testing.T) {
	t.Parallel()
	schema := field.New()
	h := newHarness(t, schema, shipped(t, schema), nil)
	h.recorder.each = make(chan *event.Detection)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()

	read, used := opened(cart(), 0, token), called(cart(), 30*time.Second, "list", "secrets")
	for _, batch := range [][]*event.Event{{used}, {read}} { // The later one first.
		if err := h.Ingest(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	d := <-h.recorder.each
	cancel()
	if err := <-done; err != nil {
		t.Fatalf("run ended with %v", err)
	}
	want := &event.Detection{
		ID: d.ID, Rule: describe(h.options.Rules.Get(tokenRule)), Time: used.Time, At: h.now,
		Events: []*event.Event{read, used}, Pod: cart(), User: "system:serviceaccount:shop:default", Action: event.ActionWouldQuarantine,
		State: event.Provisional,
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Error(diff)
	}
	if len(d.ID) != 32 || d.Rule.Severity != "high" || len(d.Rule.Threats) == 0 {
		t.Errorf("detection is incomplete: %+v", d)
	}
}

// A graceful stop concludes what the bus has taken over, within a context in
// which detections can be acted on, and what has become due by then.
func TestRunConcludesWhatWaitsBeforeItEnds(t *testing.T) {
	t.Parallel()
	schema := field.New()
	const quiet = "sequence by orchestrator.resource.name with maxspan=10s\n  [process where process.name == \"ls\"]\n  ![process where process.name == \"exit\"]"
	h := newHarness(t, schema, ruleSet(t, schema, ruleText("pair", anyPair, "")+ruleText("quiet", quiet, "")), func(o *Options) {
		o.Lateness = time.Second
	})
	h.now = noon.Add(2 * time.Second)
	alive := &aliveRecorder{recorder: h.recorder}
	h.options.Detections = alive
	alive.after(50, func() { h.now = h.now.Add(time.Minute) })
	ctx, cancel := context.WithCancel(t.Context())
	for i := range 50 {
		pod := elsewhere()
		pod.UID = fmt.Sprint(i)
		if err := h.Ingest(ctx, []*event.Event{execIn(pod, 0, "ls"), called(pod, time.Second, "get", "pods")}); err != nil {
			t.Fatal(err)
		}
	}
	// When all is taken, time goes by: only the last look at the clock decides the quiet ones.
	cancel()
	if err := h.Run(ctx); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, name := range h.recorder.names() {
		got[name]++
	}
	if diff := cmp.Diff(map[string]int{"pair": 50, "quiet": 50}, got); diff != "" {
		t.Error(diff)
	}
	if alive.dead > 0 {
		t.Errorf("%d detections came with a context that has ended", alive.dead)
	}
}

// aliveRecorder counts what it gets within a context that has ended.
type aliveRecorder struct {
	*recorder
	dead int
	// then is called once, when n have come.
	n    int
	then func()
}

func (r *aliveRecorder) after(n int, then func()) { r.n, r.then = n, then }

func (r *aliveRecorder) Handle(ctx context.Context, d *event.Detection) {
	if ctx.Err() != nil {
		r.dead++
	}
	r.recorder.Handle(ctx, d)
	if r.n--; r.n == 0 {
		r.then()
	}
}

func TestIngestFailsIfTheBusTakesNothing(t *testing.T) {
	t.Parallel()
	schema := field.New()
	full, err := bus.NewMemory(bus.MemoryOptions{Capacity: 1, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	h := newHarness(t, schema, shipped(t, schema), func(o *Options) { o.Bus = full })
	if err := full.Publish(t.Context(), bus.Candidate{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Ingest(ctx, []*event.Event{opened(cart(), 0, token)}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	// What no rule wants needs no bus.
	if err := h.Ingest(ctx, []*event.Event{opened(cart(), 0, "/etc/passwd")}); err != nil {
		t.Errorf("an event that no rule wants: %v", err)
	}
	if n := testutil.ToFloat64(h.metrics.candidates.WithLabelValues(tokenRule)); n != 0 {
		t.Errorf("%v candidates are counted though the bus refused", n)
	}
}

func TestRunEndsWithTheBus(t *testing.T) {
	t.Parallel()
	schema := field.New()
	broken := errors.New("broken")
	h := newHarness(t, schema, shipped(t, schema), func(o *Options) { o.Bus = failingBus{broken} })
	if err := h.Run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
}

type failingBus struct{ err error }

func (b failingBus) Publish(context.Context, ...bus.Candidate) error { return b.err }
func (b failingBus) Consume(context.Context, bus.Handler) error      { return b.err }

func TestModes(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		global, own, override rule.Mode
		response              string
		want                  event.Action
	}{
		{"", "", "", quarantinePod, event.ActionWouldQuarantine},
		{rule.Enforce, "", "", quarantinePod, event.ActionQuarantine},
		{rule.Enforce, rule.Observe, "", quarantinePod, event.ActionWouldQuarantine},
		{rule.Observe, rule.Enforce, "", quarantinePod, event.ActionQuarantine},
		{rule.Observe, rule.Enforce, rule.Observe, quarantinePod, event.ActionWouldQuarantine},
		{rule.Observe, "", rule.Enforce, quarantinePod, event.ActionQuarantine},
		{rule.Enforce, "", "", "", event.ActionNone},
	} {
		t.Run(fmt.Sprintf("%+v", row), func(t *testing.T) {
			t.Parallel()
			extra := row.response
			if row.own != "" {
				extra += "\n  mode: " + string(row.own)
			}
			schema := field.New()
			h := newHarness(t, schema, ruleSet(t, schema, ruleText("pair", anyPair, extra)), func(o *Options) {
				o.Mode = row.global
				if row.override != "" {
					o.Overrides = map[string]rule.Mode{"pair": row.override}
				}
			})
			h.feed(t, execIn(cart(), 0, "ls"), called(cart(), time.Second, "get", "pods"))
			if got := h.recorder.all[0]; got.Action != row.want || got.Why != "" {
				t.Errorf("action is %s (%s), want %s", got.Action, got.Why, row.want)
			}
		})
	}
}

func TestDoubtNeverQuarantines(t *testing.T) {
	t.Parallel()
	pod := cart()
	ambiguousCaller := event.Pod{Namespace: pod.Namespace, Name: pod.Name, Confidence: event.Ambiguous,
		Candidates: []string{"33333333-3333-3333-3333-333333333333", pod.UID}}
	byName := event.Pod{Namespace: pod.Namespace, Name: pod.Name}
	const quarantineAny = "  response: {quarantine: {subject: pod, duration: 1h, ambiguous: allow}}"
	another := recreated()
	crowd := ambiguousCaller
	for i := range maxIdentities {
		crowd.Candidates = append(slices.Clone(crowd.Candidates), fmt.Sprint("44444444-", i))
	}
	const quarantineUser = "  response: {quarantine: {subject: user, duration: 1h}}"
	const byNamespace = "sequence by kubernetes.audit.objectRef.namespace with maxspan=10s [any where true] [any where true]"
	carol := edit(called(event.Pod{}, time.Second, "get", "pods"), func(e *event.Event) { e.Audit.User.Username = "carol" })
	for name, row := range map[string]struct {
		query, response string
		events          []*event.Event
		action          event.Action
		why             string
	}{
		"certain": {anyPair, quarantinePod,
			[]*event.Event{execIn(pod, 0, "ls"), called(pod, time.Second, "get", "pods")}, event.ActionQuarantine, ""},
		"caller may be another pod": {anyPair, quarantinePod,
			[]*event.Event{execIn(pod, 0, "ls"), called(ambiguousCaller, time.Second, "get", "pods")}, event.ActionNone, "may be any of 33333333"},
		"any of several pods is wanted": {anyPair, quarantineAny,
			[]*event.Event{execIn(pod, 0, "ls"), called(ambiguousCaller, time.Second, "get", "pods")}, event.ActionQuarantine, ""},
		"any of too many pods": {anyPair, quarantineAny,
			[]*event.Event{execIn(pod, 0, "ls"), called(crowd, time.Second, "get", "pods")}, event.ActionNone, "any of 18, which are too many"},
		"any of several, but two for certain": {"sequence by container.id with maxspan=10s [process where true] [process where true]", quarantineAny,
			[]*event.Event{execIn(pod, 0, "ls"), execIn(another, time.Second, "ls")}, event.ActionNone, "different pods"},
		"telemetry that may be another pod's": {"sequence by container.id with maxspan=10s [process where true] [process where true]", quarantinePod,
			[]*event.Event{execIn(pod, 0, "ls"), execIn(ambiguousCaller, time.Second, "ls")}, event.ActionNone, "may be any of 33333333"},
		"nobody knows a UID": {anyPair, quarantinePod,
			[]*event.Event{execIn(byName, 0, "ls"), called(byName, time.Second, "get", "pods")}, event.ActionNone, "UID is not known"},
		"a user is wanted and certain": {anyPair, quarantineUser,
			[]*event.Event{execIn(byName, 0, "ls"), called(byName, time.Second, "get", "pods")}, event.ActionQuarantine, ""},
		"two users": {byNamespace, quarantineUser,
			[]*event.Event{called(pod, 0, "get", "pods"), carol}, event.ActionNone, `different users, "system:serviceaccount:shop:default" and "carol"`},
		"no user": {"process where true", quarantineUser,
			[]*event.Event{execIn(pod, 0, "ls")}, event.ActionNone, "names a user"},
		"no pod": {`any where event.dataset == "kubernetes.audit_logs"`, quarantinePod,
			[]*event.Event{carol}, event.ActionNone, "names a pod"},
		"two pods": {"sequence by container.id with maxspan=10s [process where true] [process where true]", quarantinePod,
			[]*event.Event{execIn(pod, 0, "ls"), execIn(elsewhere(), time.Second, "ls")}, event.ActionNone, "different pods, shop/cart-0 and staging/cart-0"},
		"the target of an exec": {`any where kubernetes.audit.objectRef.subresource == "exec"`, quarantinePod,
			[]*event.Event{execRequest(inKubeSystem(), 0, "get", "ResponseStarted", "command=sh")}, event.ActionQuarantine, ""},
		// The request goes into another pod: it is still the session's pod that is meant.
		"exec from the pod into another": {anyPair, quarantinePod,
			[]*event.Event{execIn(pod, 0, "kubectl"), edit(called(pod, time.Second, "get", "pods"), func(e *event.Event) { e.Audit.Target = elsewhere() })},
			event.ActionQuarantine, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			schema := field.New()
			h := newHarness(t, schema, ruleSet(t, schema, ruleText("doubt", row.query, row.response)), func(o *Options) { o.Mode = rule.Enforce })
			h.feed(t, row.events...)
			if len(h.recorder.all) != 1 {
				t.Fatalf("%d detections", len(h.recorder.all))
			}
			d := h.recorder.all[0]
			if d.Action != row.action || !strings.Contains(d.Why, row.why) || (row.why == "") != (d.Why == "") {
				t.Errorf("action %s, why %q", d.Action, d.Why)
			}
			if strings.Contains(row.why, "any of") && d.Pod.Confidence != event.Ambiguous {
				t.Errorf("the detection shows the pod as %s", d.Pod.Confidence)
			}
		})
	}
}

func TestAmbiguousPodJoinsItsCandidatesOnly(t *testing.T) {
	t.Parallel()
	schema := field.New()
	caller := event.Pod{Namespace: "shop", Name: "cart-0", Confidence: event.Ambiguous, Candidates: []string{cart().UID, recreated().UID}}
	h := newHarness(t, schema, ruleSet(t, schema, ruleText("pair", anyPair, "")), nil)
	h.feed(t, execIn(elsewhere(), 0, "ls"), execIn(cart(), 0, "ls"), execIn(recreated(), 0, "ls"), called(caller, time.Second, "get", "pods"))
	got := map[string]bool{}
	for _, d := range h.recorder.all {
		got[d.Pod.UID] = true
	}
	if diff := cmp.Diff(map[string]bool{cart().UID: true, recreated().UID: true}, got); diff != "" {
		t.Error(diff)
	}
}

func TestDeferredSequencesAreDecidedByTheClock(t *testing.T) {
	t.Parallel()
	schema := field.New()
	const quiet = "sequence by orchestrator.resource.name with maxspan=10s\n  [process where process.name == \"curl\"]\n  ![process where process.name == \"exit\"]"
	for name, row := range map[string]struct {
		late []*event.Event
		want int
	}{
		"nothing follows":               {nil, 1},
		"what is not to follow is late": {[]*event.Event{execIn(cart(), 9*time.Second, "exit")}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, schema, ruleSet(t, schema, ruleText("quiet", quiet, "")), func(o *Options) { o.Lateness = 30 * time.Second })
			h.now = noon
			h.feed(t, execIn(cart(), 0, "curl"))
			h.pass(t, 40*time.Second)
			if n := len(h.recorder.all); n != 0 {
				t.Fatalf("decided before the watermark: %d", n)
			}
			h.feed(t, row.late...)
			h.pass(t, time.Minute)
			if n := len(h.recorder.all); n != row.want {
				t.Errorf("%d detections, want %d", n, row.want)
			}
		})
	}
}

func TestIdleStreamExpires(t *testing.T) {
	t.Parallel()
	schema := field.New()
	h := newHarness(t, schema, ruleSet(t, schema, ruleText("pair", anyPair, "")), func(o *Options) { o.Lateness = 30 * time.Second })
	h.now = noon
	h.feed(t, execIn(cart(), 0, "ls"))
	h.pass(t, 39*time.Second)
	if n := testutil.ToFloat64(h.metrics.partials); n != 1 {
		t.Errorf("%v open partials, want 1", n)
	}
	h.pass(t, 2*time.Second)
	if n := testutil.ToFloat64(h.metrics.partials) + testutil.ToFloat64(h.metrics.hits); n != 0 {
		t.Errorf("%v open partials and hits, want none", n)
	}
	h.feed(t, called(cart(), time.Second, "get", "pods"))
	if n := len(h.recorder.all); n != 0 {
		t.Errorf("%d detections after expiry", n)
	}
	h.pass(t, time.Second)
	if n := testutil.ToFloat64(h.metrics.late.WithLabelValues("audit")); n != 1 {
		t.Errorf("%v late, want 1", n)
	}
}

// A node that claims to live in the future must not expire everybody's sequences.
func TestFutureEventsDoNotMoveTheWatermark(t *testing.T) {
	t.Parallel()
	schema := field.New()
	h := newHarness(t, schema, ruleSet(t, schema, ruleText("pair", anyPair, "")), nil)
	h.feed(t, execIn(cart(), 0, "ls"), execIn(elsewhere(), 1000*time.Hour, "ls"))
	h.pass(t, time.Second)
	h.feed(t, called(cart(), time.Second, "get", "pods"))
	if n := len(h.recorder.all); n != 1 {
		t.Errorf("%d detections, want 1", n)
	}
}

func TestLateEventSupersedesWithoutASecondDetection(t *testing.T) {
	t.Parallel()
	schema := field.New()
	h := newHarness(t, schema, ruleSet(t, schema, ruleText("pair", anyPair, "")), nil)
	h.feed(t, execIn(cart(), 0, "ls"), called(cart(), 5*time.Second, "get", "pods"))
	h.feed(t, called(cart(), 2*time.Second, "get", "secrets")) // It takes the partial.
	h.feed(t, execIn(cart(), 3*time.Second, "id"))             // And here is one for the first again.
	if n := len(h.recorder.all); n != 2 {
		t.Errorf("%d detections, want 2", n)
	}
	for change, want := range map[sequence.Change]float64{sequence.Superseded: 1, sequence.Reinstated: 1} {
		if n := testutil.ToFloat64(h.metrics.changes.WithLabelValues("pair", change.String())); n != want {
			t.Errorf("%v %s, want %v", n, change, want)
		}
	}
}

func TestPanicInTheJoinCostsOneRuleItsState(t *testing.T) {
	t.Parallel()
	schema := field.New()
	h := newHarness(t, schema, ruleSet(t, schema, ruleText("one", anyPair, "")+ruleText("two", anyPair, "")), nil)
	h.feed(t, execIn(cart(), 0, "ls"))
	h.join.rules["one"].engine = &sequence.Engine{} // It has no map to put keys in.
	h.feed(t, called(cart(), time.Second, "get", "pods"))
	if diff := cmp.Diff([]string{"two"}, h.recorder.names()); diff != "" {
		t.Error(diff)
	}
	h.feed(t, execIn(cart(), 2*time.Second, "ls"), called(cart(), 3*time.Second, "get", "pods"))
	if diff := cmp.Diff([]string{"one", "two", "two"}, sorted(h.recorder.names())); diff != "" {
		t.Error(diff)
	}
	if n := testutil.ToFloat64(h.metrics.failures.WithLabelValues("one", "panic")); n != 1 {
		t.Errorf("%v panics are counted, want 1", n)
	}
}

func TestUnknownRuleIsCounted(t *testing.T) {
	t.Parallel()
	schema := field.New()
	h := newHarness(t, schema, shipped(t, schema), nil)
	if err := h.consume(t.Context(), bus.Candidate{Rule: "of-yesterday", Event: execIn(cart(), 0, "ls")}); err != nil {
		t.Fatal(err)
	}
	if n := testutil.ToFloat64(h.metrics.dropped.WithLabelValues(dropUnknownRule)); n != 1 {
		t.Errorf("%v are counted", n)
	}
}

func TestDetectionIDs(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, parts := range [][3]string{{"a", "b", "c"}, {"ab", "", "c"}, {"a", "", "bc"}, {"", "ab", "c"}, {"a", "b", "d"}} {
		id := detectionID(parts[0], parts[1], parts[2])
		if other, ok := seen[id]; ok {
			t.Errorf("%q and %s share an ID", parts, other)
		}
		seen[id] = fmt.Sprint(parts)
	}
	if id := detectionID("a", "b", "c"); len(id) != 32 || id != detectionID("a", "b", "c") {
		t.Errorf("%q is not stable or no 32 hex digits", id)
	}
}

func TestMemoryForgetsTheOldest(t *testing.T) {
	t.Parallel()
	m := newMemory(2)
	for _, step := range []struct {
		id    string
		known bool
	}{{"a", false}, {"b", false}, {"a", true}, {"c", false}, {"b", true}, {"a", false}, {"c", true}} {
		if _, known := m.of(step.id); known != step.known {
			t.Errorf("%s is known: %t, want %t", step.id, known, step.known)
		}
		m.set(step.id, event.Final)
	}
	if len(m.told) != 2 {
		t.Errorf("%d are remembered", len(m.told))
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	schema := field.New()
	set := shipped(t, schema)
	good := newHarness(t, schema, set, nil).options
	for want, change := range map[string]func(*Options){
		"Rules is missing": func(o *Options) { o.Rules = nil }, "Schema is missing": func(o *Options) { o.Schema = nil },
		"Bus is missing": func(o *Options) { o.Bus = nil }, "Detections is missing": func(o *Options) { o.Detections = nil },
		"Clock is missing": func(o *Options) { o.Clock = nil }, "Logger is missing": func(o *Options) { o.Logger = nil },
		"Registerer is missing": func(o *Options) { o.Registerer = nil },
		"negative Lateness":     func(o *Options) { o.Lateness = -1 }, "negative Tick": func(o *Options) { o.Tick = -1 },
		"negative MaxSpan": func(o *Options) { o.MaxSpan = -1 }, "negative Remembered": func(o *Options) { o.Remembered = -1 },
		"unknown Mode":           func(o *Options) { o.Mode = "panic" },
		"Overrides[nobody]":      func(o *Options) { o.Overrides = map[string]rule.Mode{"nobody": rule.Observe} },
		"Schema is another":      func(o *Options) { o.Schema = field.New() },
		"MaxHits is 1":           func(o *Options) { o.MaxHits = 1 },
		"MaxBytes is -1":         func(o *Options) { o.MaxBytes = -1 },
		"HitsPerKey":             func(o *Options) { o.Limits.HitsPerKey = 1 },
		"Overrides[" + tokenRule: func(o *Options) { o.Overrides = map[string]rule.Mode{tokenRule: "x"} },
	} {
		o := good
		o.Registerer = prometheus.NewRegistry()
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error about %s, got %v", want, err)
		}
	}
}
