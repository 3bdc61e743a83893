package correlator

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/correlator/field"
)

func TestPanickingRuleDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	schema := field.New()
	h := newHarness(t, schema, shipped(t, schema), nil)
	// A stage that is not there is the bug of this rule.
	broken := &term{rule: h.options.Rules.Get(commonRule)}
	terms := h.matcher.byCategory["process"]
	h.matcher.byCategory["process"] = append([]*term{broken}, append(terms, broken)...)
	h.feed(t, shellIn(cart(), 0, "bash"))
	if got := h.recorder.names(); len(got) != 1 || got[0] != shellRule {
		t.Errorf("concluded %v", got)
	}
	if n := testutil.ToFloat64(h.metrics.failures.WithLabelValues(commonRule, "panic")); n != 2 {
		t.Errorf("%v panics are counted, want 2", n)
	}
}

func TestSlowRuleIsSuspendedForAWhile(t *testing.T) {
	t.Parallel()
	schema := field.New()
	h := newHarness(t, schema, shipped(t, schema), nil)
	g := h.matcher.guard
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
	h.matcher.guard.delivery(1, time.Second)
	for range timedEvents {
		h.matcher.matchOne(opened(cart(), 0, "/etc/passwd"), nil)
	}
	if h.matcher.guard.timing() {
		t.Error("timing must end by itself")
	}
}

func TestTermsForSeveralCategories(t *testing.T) {
	t.Parallel()
	schema := field.New()
	h := newHarness(t, schema, shipped(t, schema), nil)
	single := h.matcher.termsFor([]string{"process"})
	two := h.matcher.termsFor([]string{"process", "file", "unheard-of"})
	seen := map[*term]bool{}
	for _, x := range two {
		if seen[x] {
			t.Errorf("a term of %s is there twice", x.rule.Name)
		}
		seen[x] = true
	}
	if len(two) <= len(single) {
		t.Errorf("%d terms for two categories, %d for one", len(two), len(single))
	}
	if n := len(h.matcher.termsFor(nil)); n == 0 || n >= len(single) {
		t.Errorf("%d terms for an event without a category", n)
	}
	// An event of an unheard-of category is still one for `any where`.
	if got, want := len(h.matcher.termsFor([]string{"network"})), len(h.matcher.uncategorised); got != want {
		t.Errorf("%d terms, want %d", got, want)
	}
}
