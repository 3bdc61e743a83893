package correlator

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
)

// asked is a sequence of a program and any request of the same pod.
func asked(program string) string {
	return strings.Replace(anyPair, "where true", `where process.name == "`+program+`"`, 1)
}

func setRules(tb testing.TB, h *harness, set *rule.Set) {
	tb.Helper()
	if err := h.SetRules(RuleOptions{Rules: set}); err != nil {
		tb.Fatal(err)
	}
}

func TestExchangedRules(t *testing.T) {
	t.Parallel()
	before := ruleText("pair", asked("ls"), "") + ruleText("other", asked("ls"), "")
	const exception = "  exceptions:\n  - {name: known, reason: test, where: process.name == \"never\"}"
	for name, row := range map[string]struct {
		after string
		want  []string
		lost  float64
	}{
		"the same":                             {before, []string{"other", "pair"}, 0},
		"another response and exception":       {ruleText("pair", asked("ls"), quarantinePod+"\n"+exception) + ruleText("other", asked("ls"), ""), []string{"other", "pair"}, 0},
		"another query":                        {ruleText("pair", asked("id"), "") + ruleText("other", asked("ls"), ""), []string{"other"}, 1},
		"another span":                         {ruleText("pair", strings.Replace(asked("ls"), "10s", "11s", 1), "") + ruleText("other", asked("ls"), ""), []string{"other"}, 1},
		"removed":                              {ruleText("other", asked("ls"), ""), []string{"other"}, 1},
		"under another name":                   {ruleText("couple", asked("ls"), "") + ruleText("other", asked("ls"), ""), []string{"other"}, 1},
		"one more":                             {before + ruleText("more", asked("ls"), ""), []string{"other", "pair"}, 0},
		"a sequence becomes a single event":    {ruleText("pair", "process where false", "") + ruleText("other", asked("ls"), ""), []string{"other"}, 1},
		"none at all":                          {"", nil, 2},
		"a query that means and says the same": {before + "\n", []string{"other", "pair"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			schema := field.New()
			h := newHarness(t, schema, ruleSet(t, schema, before), nil)
			h.feed(t, execIn(cart(), 0, "ls"))
			setRules(t, h, ruleSet(t, schema, row.after))
			h.feed(t, called(cart(), time.Second, "get", "pods"))
			if diff := gocmp.Diff(row.want, sorted(h.recorder.names())); diff != "" && len(row.want)+len(h.recorder.names()) > 0 {
				t.Error(diff)
			}
			if n := testutil.ToFloat64(h.metrics.dropped.WithLabelValues(dropOldRule)); n != row.lost {
				t.Errorf("%v hits are counted as lost, want %v", n, row.lost)
			}
			h.pass(t, time.Second)
			if hits := float64(h.join.hits); testutil.ToFloat64(h.metrics.hits) != hits || hits < 0 || len(h.join.rules) != h.join.options.Rules.Len() {
				t.Errorf("%v hits in %d rules are left", hits, len(h.join.rules))
			}
		})
	}
}

// What the old rule wanted is still on the bus when the new one comes.
func TestCandidatesOfAnOldRuleAreNoneOfTheNewOne(t *testing.T) {
	t.Parallel()
	schema := field.New()
	const both = "sequence by orchestrator.resource.name with maxspan=10s\n  [process where process.name == \"A\"]\n  [process where process.name == \"B\"]"
	text := func(a, b string) string {
		return ruleText("both", strings.NewReplacer("A", a, "B", b).Replace(both), "") + ruleText("single", `process where process.name == "`+a+`"`, "")
	}
	h := newHarness(t, schema, ruleSet(t, schema, text("ls", "id")), nil)
	old := h.matcher.Load()
	setRules(t, h, ruleSet(t, schema, text("id", "ls")))
	// By the old rule this is ls, then id; by the new one it is nothing.
	for _, c := range old.match([]*event.Event{execIn(cart(), 0, "ls"), execIn(cart(), time.Second, "id")}) {
		if err := h.consume(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if got := h.recorder.names(); len(got) != 0 {
		t.Errorf("concluded %v", got)
	}
	if n := testutil.ToFloat64(h.metrics.dropped.WithLabelValues(dropOldRule)); n != 3 {
		t.Errorf("%v are counted, want 3", n)
	}
	h.feed(t, execIn(cart(), 0, "id"), execIn(cart(), time.Second, "ls"))
	if diff := gocmp.Diff([]string{"single", "both"}, h.recorder.names()); diff != "" {
		t.Error(diff)
	}
}

func TestExchangedModes(t *testing.T) {
	t.Parallel()
	schema := field.New()
	set := ruleSet(t, schema, ruleText("pair", anyPair, quarantinePod))
	h := newHarness(t, schema, set, nil)
	h.feed(t, execIn(cart(), 0, "ls"))
	if err := h.SetRules(RuleOptions{Rules: set, Overrides: map[string]rule.Mode{"pair": rule.Enforce}}); err != nil {
		t.Fatal(err)
	}
	h.feed(t, called(cart(), time.Second, "get", "pods"))
	if got := h.recorder.all[0].Action; got != event.ActionQuarantine {
		t.Errorf("the action is %s", got)
	}
}

func TestRulesThatCannotBeExchangedChangeNothing(t *testing.T) {
	t.Parallel()
	schema := field.New()
	set := ruleSet(t, schema, ruleText("pair", anyPair, ""))
	other := field.New()
	tooLong := strings.Replace(anyPair, " with maxspan=10s", "", 1)
	for want, o := range map[string]RuleOptions{
		"Rules is missing":     {},
		"Schema is another":    {Rules: ruleSet(t, other, ruleText("pair", anyPair, ""))},
		"unknown Mode":         {Rules: set, Mode: "panic"},
		"unknown mode \"off\"": {Rules: set, Overrides: map[string]rule.Mode{"pair": "off"}},
		"Overrides[nobody]":    {Rules: set, Overrides: map[string]rule.Mode{"nobody": rule.Enforce}},
		"rule long":            {Rules: ruleSet(t, schema, ruleText("pair", asked("id"), "")+ruleText("long", tooLong, ""))},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, schema, set, func(o *Options) { o.MaxSpan = 10_000 * time.Hour })
			h.feed(t, execIn(cart(), 0, "ls"))
			if err := h.SetRules(o); err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("want an error about %s, got %v", want, err)
			}
			h.feed(t, called(cart(), time.Second, "get", "pods"))
			if diff := gocmp.Diff([]string{"pair"}, h.recorder.names()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestExchangeLiftsASuspension(t *testing.T) {
	t.Parallel()
	schema := field.New()
	h := newHarness(t, schema, ruleSet(t, schema, ruleText("slow", "process where true", "")), nil)
	for range slowStrikes {
		h.guard.spent("slow", slowRule)
	}
	setRules(t, h, ruleSet(t, schema, ruleText("slow", "process where process.name == \"ls\"", "")))
	h.feed(t, execIn(cart(), 0, "ls"))
	if got := h.recorder.names(); len(got) != 1 {
		t.Errorf("concluded %v", got)
	}
	if n := testutil.ToFloat64(h.metrics.suspended); n != 0 {
		t.Errorf("%v rules are suspended", n)
	}
}

// Rules are exchanged all the time while events are ingested and joined: a rule
// that stays loses nothing, and one that changes never concludes a mixture.
func TestExchangeWhileEventsAreIngested(t *testing.T) {
	t.Parallel()
	const writers, each = 4, 300
	schema := field.New()
	const mixed = "sequence by orchestrator.resource.name with maxspan=1h\n  [process where process.name == \"A\"]\n  [process where process.name == \"B\"]"
	sets := make([]*rule.Set, 2)
	for i, names := range [][2]string{{"ls", "id"}, {"id", "ls"}} {
		query := strings.NewReplacer("A", names[0], "B", names[1]).Replace(mixed)
		sets[i] = ruleSet(t, schema, ruleText("stays", strings.Replace(anyPair, "10s", "1h", 1), "")+ruleText("changes", query, "")+
			ruleText([]string{"even", "odd"}[i], "process where false", ""))
	}
	h := newHarness(t, schema, sets[0], func(o *Options) { o.Limits.HitsPerKey = 4 * writers * each })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()

	var ingesting sync.WaitGroup
	for w := range writers {
		ingesting.Go(func() {
			for i := range each {
				pod := elsewhere()
				pod.UID = string(rune('a'+w)) + pod.UID
				at := time.Duration(i) * time.Second
				// A program, its request, and then ls before id: the new rule's order is never there within a second.
				events := []*event.Event{execIn(pod, at, "ls"), execIn(pod, at+100*time.Millisecond, "id"), called(pod, at+200*time.Millisecond, "get", "pods")}
				for _, e := range events {
					if err := h.Ingest(ctx, []*event.Event{e}); err != nil {
						t.Errorf("ingest: %v", err)
						return
					}
				}
			}
		})
	}
	stop := make(chan struct{})
	var exchanging sync.WaitGroup
	exchanging.Go(func() {
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
				if err := h.SetRules(RuleOptions{Rules: sets[i%2]}); err != nil {
					t.Errorf("exchange: %v", err)
				}
			}
		}
	})
	ingesting.Wait()
	close(stop)
	exchanging.Wait()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, d := range h.recorder.all {
		count[d.Rule.Name]++
		first, last := d.Events[0], d.Events[len(d.Events)-1]
		if d.Rule.Name == "changes" && first.Process.Name == last.Process.Name {
			t.Errorf("%s follows itself: one of the two was wanted by the rule's other version", first.Process.Name)
		}
	}
	if count["stays"] != writers*each {
		t.Errorf("the rule that stays concluded %d times, want %d", count["stays"], writers*each)
	}
}
