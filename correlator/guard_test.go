package correlator

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
)

// An exception that is not there is the bug of one rule: it fails for the event,
// and no other does.
func TestPanickingRuleDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	schema := field.New()
	set := ruleSet(t, schema, ruleText("a-broken", "process where process.name == \"bash\"", "")+ruleText("whole", "process where process.name == \"bash\"", ""))
	broken := *set.Get("a-broken")
	broken.Exceptions = []rule.Exception{{Name: "no condition"}}
	h := newHarness(t, schema, set, nil)
	for _, x := range h.matcher.Load().terms {
		if x.rule.Name == broken.Name {
			x.rule = &broken
		}
	}
	h.feed(t, shellIn(cart(), 0, "bash"))
	if got := h.recorder.names(); len(got) != 1 || got[0] != "whole" {
		t.Errorf("concluded %v", got)
	}
	if n := testutil.ToFloat64(h.metrics.failures.WithLabelValues(broken.Name, "panic")); n != 1 {
		t.Errorf("%v panics are counted, want 1", n)
	}
}

// What the rules share may panic as well. Then each is evaluated alone, and the
// one whose stage it is fails alone.
func TestPanicInWhatRulesShare(t *testing.T) {
	t.Parallel()
	schema := field.New()
	h := newHarness(t, schema, shipped(t, schema), nil)
	m := h.matcher.Load()
	m.scratch.New = func() any { return &scratch{record: schema.NewRecord()} } // It has no memo.
	for _, x := range m.terms {
		if x.rule.Name == commonRule {
			x.stage = nil
		}
	}
	h.feed(t, shellIn(cart(), 0, "bash"))
	if got := h.recorder.names(); len(got) != 1 || got[0] != shellRule {
		t.Errorf("concluded %v", got)
	}
	if n := testutil.ToFloat64(h.metrics.failures.WithLabelValues(commonRule, "panic")); n != 2 {
		t.Errorf("%v panics are counted, want one for each of its two terms", n)
	}
	if n := testutil.ToFloat64(h.metrics.failures.WithLabelValues(allRules, "panic")); n != 1 {
		t.Errorf("%v panics of what they share are counted, want 1", n)
	}
}

func TestSlowRuleIsSuspendedForAWhile(t *testing.T) {
	t.Parallel()
	schema := field.New()
	h := newHarness(t, schema, shipped(t, schema), nil)
	g := h.guard
	if g.timing() {
		t.Fatal("rules are timed without a reason")
	}
	g.delivery(100, slowDelivery)
	if g.timing() {
		t.Fatal("a large delivery may take longer")
	}
	g.delivery(1, time.Second)
	if !g.timing() {
		t.Fatal("after a slow delivery rules must be timed")
	}
	for range slowStrikes {
		if g.isSuspended(shellRule) {
			t.Fatal("suspended too early")
		}
		g.spent(shellRule, slowRule)
	}
	h.feed(t, shellIn(cart(), 0, "bash"))
	if got := h.recorder.names(); len(got) != 0 {
		t.Errorf("a suspended rule concluded %v", got)
	}
	if n := testutil.ToFloat64(h.metrics.suspended); n != 1 {
		t.Errorf("%v rules are suspended, want 1", n)
	}
	h.now = h.now.Add(suspension)
	h.feed(t, shellIn(cart(), time.Second, "bash"))
	if got := h.recorder.names(); len(got) != 1 {
		t.Errorf("after the suspension: %v", got)
	}
	if n := testutil.ToFloat64(h.metrics.suspended); n != 0 {
		t.Errorf("%v rules are suspended, want none", n)
	}
}

func TestTimedEventsEnd(t *testing.T) {
	t.Parallel()
	schema := field.New()
	h := newHarness(t, schema, shipped(t, schema), nil)
	h.guard.delivery(1, time.Second)
	for range timedEvents {
		h.Match(opened(cart(), 0, "/etc/passwd"))
	}
	if h.guard.timing() {
		t.Error("timing must end by itself")
	}
}

// Evaluated together or each alone, rules want the same.
func TestTimedRulesWantTheSame(t *testing.T) {
	t.Parallel()
	schema := field.New()
	h := newHarness(t, schema, replayRules(t, schema), nil)
	events := randomEvents(rand.New(rand.NewPCG(1, 1)), 200)
	several := *events[0]
	several.Category = []string{"process", "file", "unheard-of"}
	events = append(events, &several)
	m := h.matcher.Load()
	wanted := 0
	for _, e := range events {
		h.guard.timed.Store(0)
		together := m.match([]*event.Event{e})
		h.guard.timed.Store(1)
		alone := m.match([]*event.Event{e})
		if diff := cmp.Diff(alone, together); diff != "" {
			t.Fatalf("alone (-), together (+)\n%s", diff)
		}
		wanted += len(together)
	}
	if wanted < 200 {
		t.Errorf("only %d candidates: the test tests little", wanted)
	}
}

// Nearly all events are wanted by no rule.
func TestUnwantedEventsCostNoMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector sync.Pool forgets at random")
	}
	schema := field.New()
	h := newHarness(t, schema, shipped(t, schema), nil)
	m := h.matcher.Load()
	for name, e := range unwanted() {
		var candidates []bus.Candidate
		batch := []*event.Event{e}
		if n := testing.AllocsPerRun(100, func() { candidates = m.match(batch) }); n != 0 || len(candidates) > 0 {
			t.Errorf("%s: %v allocations and %d candidates", name, n, len(candidates))
		}
	}
}
