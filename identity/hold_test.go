package identity

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/event"
)

// delivered collects what a Hold passes on.
type delivered struct {
	mu     sync.Mutex
	events []*event.Event
	at     []time.Time
	// foreign is how many were told to be lies.
	foreign int
}

func (d *delivered) take(e *event.Event, foreign bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if foreign {
		d.foreign++
		return
	}
	d.events = append(d.events, e)
	d.at = append(d.at, time.Now())
}

func (d *delivered) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.events)
}

// nth is the event that was passed on after n others.
func (d *delivered) nth(n int) *event.Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.events[n]
}

// holding runs a Hold inside a synctest bubble until the test function returns.
func holding(t *testing.T, opts HoldOptions, test func(r *Resolver, h *Hold)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r, _ := newResolver(t, time.Now)
		opts.Resolver = r
		opts.Registerer = prometheus.NewPedanticRegistry()
		h, err := NewHold(opts)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = h.Run(ctx) })
		synctest.Wait()
		test(r, h)
		cancel()
		wg.Wait()
		if room := h.room; room.count != 0 || len(room.pods) != 0 || len(room.reporters) != 0 || len(room.busiest) != 0 || len(h.news) != 0 {
			t.Errorf("the hold still has %d events of %d pods by %d reporters", room.count, len(room.pods), len(room.reporters))
		}
	})
}

func telemetry(uid string) *event.Event {
	return &event.Event{Time: time.Now(), Pod: event.Pod{UID: uid, Confidence: event.Exact}}
}

func (h *Hold) counted(outcome string) float64 {
	return testutil.ToFloat64(h.outcome.WithLabelValues(outcome))
}

func TestHoldReleasesWhenThePodBecomesKnown(t *testing.T) {
	holding(t, HoldOptions{}, func(r *Resolver, h *Hold) {
		var d delivered
		h.Submit(telemetry("u1"), d.take)
		h.Submit(telemetry("hash"), d.take)
		time.Sleep(time.Second)
		if d.count() != 0 {
			t.Fatal("events of unknown pods did not wait")
		}
		r.put(newRecord(pod("u1", "web-0", time.Now())))
		r.put(newRecord(pod("m1", "etcd-node-1", time.Now(), mirrorOf("hash"))))
		synctest.Wait()
		if d.count() != 2 || d.events[0].Pod.Name != "web-0" || d.events[1].Pod.UID != "m1" {
			t.Errorf("passed on: %+v", d.events)
		}
		if h.counted(outcomeResolved) != 2 {
			t.Errorf("%v resolved", h.counted(outcomeResolved))
		}
	})
}

// TestHoldDropsForeign: an agent reports on a pod of another node before the pod is known.
func TestHoldDropsForeign(t *testing.T) {
	holding(t, HoldOptions{}, func(r *Resolver, h *Hold) {
		from := func(node, uid string) *event.Event {
			e := telemetry(uid)
			e.Pod.Node = node
			return e
		}
		var d delivered
		for _, uid := range []string{"u1", "hash"} {
			h.Submit(from("node-1", uid), d.take)
			h.Submit(from("node-2", uid), d.take)
		}
		r.put(newRecord(pod("u1", "web-0", time.Now(), onNode(""))))
		synctest.Wait()
		if d.count() != 0 {
			t.Fatal("an event was passed on before it was known where its pod runs")
		}
		r.put(newRecord(pod("m1", "etcd-node-1", time.Now(), mirrorOf("hash"))))
		r.put(newRecord(pod("u1", "web-0", time.Now())))
		synctest.Wait()
		h.Submit(from("node-2", "u1"), d.take)
		if d.count() != 2 || d.events[0].Pod.Node != "node-1" || d.events[1].Pod.Node != "node-1" {
			t.Errorf("passed on: %+v", d.events)
		}
		if d.foreign != 3 {
			t.Errorf("%d events were told to be lies, want 3", d.foreign)
		}
		if h.counted(outcomeForeign) != 2 || h.counted(outcomeResolved) != 2 || testutil.ToFloat64(r.metrics.foreign) != 3 {
			t.Errorf("%v held ones dropped, %v resolved, %v foreign", h.counted(outcomeForeign), h.counted(outcomeResolved), testutil.ToFloat64(r.metrics.foreign))
		}
	})
}

// TestHoldWaitsForTheContainer: no rule judges a container's name before its status has told it.
func TestHoldWaitsForTheContainer(t *testing.T) {
	holding(t, HoldOptions{}, func(r *Resolver, h *Hold) {
		of := func(uid, id string) *event.Event {
			e := telemetry(uid)
			e.Container = &event.Container{ID: id}
			return e
		}
		created := time.Now()
		r.put(newRecord(pod("u1", "web-0", created, running("c1"))))
		r.put(newRecord(pod("m1", "etcd-node-1", created, mirrorOf("hash"))))
		var d delivered
		h.Submit(of("u1", "c1"), d.take) // known
		h.Submit(of("u1", "c2"), d.take)
		h.Submit(of("u1", "c3"), d.take)
		h.Submit(of("hash", "s1"), d.take)
		h.Submit(of("u2", "c4"), d.take)
		if d.count() != 1 {
			t.Fatalf("%d events passed at once, want that of the known container", d.count())
		}
		time.Sleep(time.Second)
		r.put(newRecord(pod("u1", "web-0", created, running("c2", "c1"))))
		r.put(newRecord(pod("m1", "etcd-node-1", created, mirrorOf("hash"), running("s1"))))
		r.put(newRecord(pod("u2", "web-1", created)))
		synctest.Wait()
		if d.count() != 3 || d.nth(1).Container.Name != "main" || d.nth(2).Container.Name != "main" {
			t.Fatalf("%d events have passed", d.count())
		}
		r.put(newRecord(pod("u2", "web-1", created, running("c4"))))
		synctest.Wait()
		if d.count() != 4 || d.nth(3).Pod.Name != "web-1" || d.nth(3).Container.Name != "main" {
			t.Errorf("first its pod became known, then its container: %+v", d.nth(3))
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if d.count() != 5 || d.nth(4).Pod.Name != "web-0" || d.nth(4).Container.Name != "" || h.counted(outcomeContainer) != 1 {
			t.Errorf("of the container that stays unknown: %+v", d.nth(4))
		}
		// It was waited for once, and that is enough: it may be nested in another.
		h.Submit(of("u1", "c3"), d.take)
		if d.count() != 6 {
			t.Error("telemetry of a container that was given up waits again")
		}
	})
}

func TestHoldDoesNotWaitInVain(t *testing.T) {
	holding(t, HoldOptions{}, func(r *Resolver, h *Hold) {
		r.put(newRecord(pod("gone", "web-0", time.Now(), running("c1"))))
		r.remove("gone")
		r.put(newRecord(pod("old", "web-1", time.Now(), running("c1"))))
		var d delivered
		e := telemetry("gone")
		e.Container = &event.Container{ID: "x"}
		h.Submit(e, d.take)
		e = telemetry("old")
		e.Container, e.Time = &event.Container{ID: "x"}, time.Now().Add(-time.Hour)
		h.Submit(e, d.take)
		if d.count() != 2 || testutil.ToFloat64(r.metrics.nameless) != 2 {
			t.Errorf("%d passed at once, %v are counted as of unknown containers", d.count(), testutil.ToFloat64(r.metrics.nameless))
		}
	})
}

func TestHoldGivesUp(t *testing.T) {
	holding(t, HoldOptions{Max: 2 * time.Second}, func(_ *Resolver, h *Hold) {
		var d delivered
		begin := time.Now()
		h.Submit(telemetry("u1"), d.take)
		time.Sleep(time.Second)
		h.Submit(telemetry("u2"), d.take)
		time.Sleep(5 * time.Second)
		if d.count() != 2 || d.at[0].Sub(begin) != 2*time.Second || d.at[1].Sub(begin) != 3*time.Second {
			t.Errorf("passed on at %v, want each after 2 s", d.at)
		}
		if d.events[0].Pod.UID != "u1" || d.events[0].Pod.Name != "" || h.counted(outcomeTimeout) != 2 {
			t.Errorf("the event is %+v, %v timeouts", d.events[0].Pod, h.counted(outcomeTimeout))
		}
	})
}

func TestHoldDelaysNobodyElse(t *testing.T) {
	holding(t, HoldOptions{}, func(r *Resolver, h *Hold) {
		r.put(newRecord(pod("known", "web-0", time.Now())))
		var waiting, others delivered
		h.Submit(telemetry("unknown"), waiting.take)
		h.Submit(telemetry("known"), others.take)
		if others.count() != 1 || waiting.count() != 0 {
			t.Error("an event of a known pod did not pass at once")
		}
		for name, e := range map[string]*event.Event{
			"known pod": telemetry("known"),
			"a request": {Time: time.Now(), Audit: &event.Audit{Target: event.Pod{Namespace: "shop", Name: "nobody"}}},
			"no pod":    {Time: time.Now()},
		} {
			if waits, foreign := h.Complete(e); waits || foreign {
				t.Errorf("%s: waits %v, foreign %v", name, waits, foreign)
			}
		}
		if waits, _ := h.Complete(telemetry("unknown")); !waits {
			t.Error("an event of an unknown pod does not wait")
		}
	})
}

func TestHoldIsBounded(t *testing.T) {
	holding(t, HoldOptions{MaxEvents: 10, MaxPerPod: 4}, func(r *Resolver, h *Hold) {
		var flood, others delivered
		for range 100 {
			h.Submit(telemetry("flood"), flood.take)
		}
		if flood.count() != 96 {
			t.Errorf("%d of 100 events of one pod passed for want of room, want 96", flood.count())
		}
		for i := range 100 {
			h.Submit(telemetry(fmt.Sprint("u", i)), others.take)
		}
		if n := flood.count() + others.count(); n != 190 || h.counted(outcomeNoRoom) != 190 {
			t.Errorf("%d of 200 events passed, %v counted, want 10 to wait", n, h.counted(outcomeNoRoom))
		}
		// What has left makes room, and leaves nothing behind.
		for i := range 1000 {
			r.put(newRecord(pod(fmt.Sprint("u", i), "web-0", time.Now())))
			h.Submit(telemetry(fmt.Sprint("v", i)), others.take)
			r.put(newRecord(pod(fmt.Sprint("v", i), "web-1", time.Now())))
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if n := len(h.room.due[forTelemetry].events); n > 2*10+1 {
			t.Errorf("the queue keeps %d entries", n)
		}
	})
}

// TestFloodOfOneNodeIsItsOwnLoss: which UIDs an agent speaks of is its choice.
func TestFloodOfOneNodeIsItsOwnLoss(t *testing.T) {
	lost := map[string]int{}
	opts := HoldOptions{MaxEvents: 100, MaxPerNode: 60, MaxPerPod: 10, Incomplete: func(e *event.Event, outcome string) {
		lost[e.Pod.Node+" "+outcome]++
	}}
	holding(t, opts, func(r *Resolver, h *Hold) {
		from := func(node, uid string) *event.Event {
			e := telemetry(uid)
			e.Pod.Node = node
			return e
		}
		var captured, other, honest delivered
		for i := range 1000 { // Two captured nodes, which know the UIDs of the pods to come.
			h.Submit(from("node-6", fmt.Sprint("u", i%12)), captured.take)
			h.Submit(from("node-7", fmt.Sprint("x", i)), other.take)
		}
		for i := range 30 {
			h.Submit(from("node-1", fmt.Sprint("u", i%12)), honest.take)
		}
		if honest.count() != 0 {
			t.Errorf("%d events of an honest node were passed on at once", honest.count())
		}
		if a, b := captured.count(), other.count(); a+b != 2000-70 || a < 1000-60 || b < 1000-60 {
			t.Errorf("%d and %d of 1000 events each were passed on", a, b)
		}
		if first := captured.events[len(captured.events)-1]; first.Pod.Name != "" {
			t.Errorf("passed on with %+v", first.Pod)
		}
		if want := map[string]int{"node-6 no-room": captured.count(), "node-7 no-room": other.count()}; !maps.Equal(lost, want) {
			t.Errorf("told of %v, want %v", lost, want)
		}
		for i := range 12 {
			r.put(newRecord(pod(fmt.Sprint("u", i), fmt.Sprint("web-", i), time.Now())))
		}
		synctest.Wait()
		if honest.count() != 30 || honest.nth(29).Pod.Name == "" {
			t.Errorf("%d of an honest node's 30 events came complete", honest.count())
		}
		h.mu.Lock()
		if h.room.reporters["node-6"] != nil {
			t.Error("events of another node's pods still wait")
		}
		h.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := lost["node-7 no-room"] + lost["node-7 timeout"]; n != 1000 || lost["node-1 timeout"] != 0 {
			t.Errorf("told of %v", lost)
		}
	})
}

// TestContainersThatStayUnknownAreNoHole, but telemetry that found no room to wait for them may be one.
func TestContainersThatStayUnknownAreNoHole(t *testing.T) {
	var told []string
	opts := HoldOptions{MaxPerPod: 1, Incomplete: func(e *event.Event, outcome string) {
		told = append(told, e.Container.ID+" "+outcome)
	}}
	holding(t, opts, func(r *Resolver, h *Hold) {
		r.put(newRecord(pod("u1", "web-0", time.Now(), running("c1"))))
		var d delivered
		for _, id := range []string{"c1", "sandbox", "second"} {
			e := telemetry("u1")
			e.Container = &event.Container{ID: id}
			h.Submit(e, d.take)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if d.count() != 3 || !slices.Equal(told, []string{"second no-room"}) {
			t.Errorf("%d events were passed on, told of %v", d.count(), told)
		}
	})
}

// request is one of shop/<name>, with a token that is bound to the pod with that UID.
func request(uid, podName string) *event.Event {
	return &event.Event{
		Source: "audit/cp-1", Time: time.Now(),
		Audit: &event.Audit{Caller: event.Pod{UID: uid, Namespace: "shop", Name: podName, Confidence: event.Exact}},
	}
}

// TestRequestFasterThanTheWatch: a new pod's first request is not held against its predecessor.
func TestRequestFasterThanTheWatch(t *testing.T) {
	holding(t, HoldOptions{Incomplete: func(*event.Event, string) { t.Error("a request is no hole") }}, func(r *Resolver, h *Hold) {
		r.put(newRecord(pod("u1", "web-0", time.Now())))
		time.Sleep(time.Hour)
		r.history.hear(time.Now())
		r.remove("u1")
		time.Sleep(4 * time.Second)

		var d delivered
		e := request("u2", "web-0")
		before := *e.Audit
		if waits, foreign := h.Complete(e); !waits || foreign {
			t.Fatalf("waits %v, foreign %v", waits, foreign)
		}
		if diff := cmp.Diff(before, *e.Audit); diff != "" {
			t.Errorf("a request that waits was changed:\n%s", diff)
		}
		h.Submit(e, d.take)
		time.Sleep(DefaultHoldCaller / 2)
		if d.count() != 0 {
			t.Fatal("it did not wait")
		}
		// Who its caller is can be told before it is known where that runs.
		r.put(newRecord(pod("u2", "web-0", time.Now().Add(-2*time.Second), onNode(""))))
		synctest.Wait()
		if d.count() != 1 || d.nth(0).Audit.Caller.UID != "u2" || d.nth(0).Audit.Caller.Confidence != event.Exact {
			t.Fatalf("passed on: %+v", d.events)
		}
		if h.counted(outcomeResolved) != 1 {
			t.Errorf("%v resolved", h.counted(outcomeResolved))
		}
	})
}

func TestCallerThatStaysUnknownIsWaitedForOnceAndShortly(t *testing.T) {
	holding(t, HoldOptions{}, func(r *Resolver, h *Hold) {
		r.put(newRecord(pod("u1", "web-0", time.Now().Add(-time.Hour))))
		var telemetries, d delivered
		h.Submit(telemetry("unknown"), telemetries.take)
		time.Sleep(time.Second)
		begin := time.Now()
		h.Submit(request("forged", "web-0"), d.take)
		time.Sleep(10 * time.Second)
		if d.count() != 1 || d.at[0].Sub(begin) != DefaultHoldCaller || h.counted(outcomeCaller) != 1 {
			t.Fatalf("passed on at %v, %v counted", d.at, h.counted(outcomeCaller))
		}
		if got := d.nth(0).Audit.Caller; got.Confidence != event.Ambiguous || !slices.Equal(got.Candidates, []string{"forged", "u1"}) {
			t.Errorf("the caller is %+v", got)
		}
		if telemetries.count() != 1 || telemetries.at[0].Sub(begin) != DefaultHold-time.Second {
			t.Errorf("telemetry was passed on at %v", telemetries.at)
		}
		if waits, _ := h.Complete(request("forged", "web-0")); waits {
			t.Error("it is waited for again")
		}
		for i := range 2 * maxStrangers {
			r.giveUpCaller(fmt.Sprint(i))
		}
		if n := len(r.strangers); n > maxStrangers {
			t.Errorf("%d strangers are remembered", n)
		}
	})
}

func TestRequestsThatDoNotWait(t *testing.T) {
	holding(t, HoldOptions{}, func(r *Resolver, h *Hold) {
		r.put(newRecord(pod("u1", "web-0", time.Now())))
		old, large, long := request("never", "web-0"), request("new", "web-0"), request(strings.Repeat("u", maxID+1), "web-0")
		old.Time = old.Time.Add(-watchLag - 2*time.Second)
		large.Delivered = strings.Repeat(" ", maxWaitingRequest+1)
		for name, e := range map[string]*event.Event{
			"of a known pod": request("u1", "web-0"), "of a pod that the watch would have told of": old,
			"without a UID": request("", "web-0"), "larger than what is kept": large, "with a UID that is none": long,
			"of people": {Time: time.Now(), Audit: &event.Audit{}},
		} {
			if waits, foreign := h.Complete(e); waits || foreign {
				t.Errorf("a request %s waits", name)
			}
		}
		var d delivered
		for range maxHeldCallers + 10 {
			h.Submit(request("new", "web-1"), d.take)
		}
		if d.count() != 10 {
			t.Errorf("%d are passed on at once, want 10", d.count())
		}
	})
}

func TestHoldLeavesWhatWaitsToTheNextProcessWhenItStops(t *testing.T) {
	var d delivered
	var stopped *Hold
	holding(t, HoldOptions{}, func(_ *Resolver, h *Hold) {
		stopped = h
		h.Submit(telemetry("u1"), d.take)
		h.Submit(telemetry("u2"), d.take)
	})
	if d.count() != 0 || stopped.counted(outcomeStopped) != 2 {
		t.Errorf("%d were passed on, %v counted as left, want 0 and 2", d.count(), stopped.counted(outcomeStopped))
	}
}

func TestHoldUnderConcurrency(t *testing.T) {
	r, _ := newResolver(t, time.Now)
	h, err := NewHold(HoldOptions{Resolver: r, Registerer: prometheus.NewPedanticRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running, work sync.WaitGroup
	running.Go(func() { _ = h.Run(ctx) })
	const pods, each = 50, 20
	done := make(chan *event.Event, pods*each)
	for i := range pods {
		uid := fmt.Sprint("u", i)
		work.Go(func() {
			for range each {
				h.Submit(telemetry(uid), func(e *event.Event, _ bool) { done <- e })
			}
		})
		work.Go(func() { r.put(newRecord(pod(uid, uid, time.Now()))) })
	}
	work.Wait()
	for range pods * each {
		if e := <-done; e.Pod.Name == "" {
			t.Fatalf("an event of %s was passed on incomplete", e.Pod.UID)
		}
	}
	cancel()
	running.Wait()
}
