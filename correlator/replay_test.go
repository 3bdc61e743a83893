package correlator

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
)

// replayRules are sequences of every kind beside the shipped rules.
func replayRules(tb testing.TB, schema *field.Schema) *rule.Set {
	tb.Helper()
	const by = "sequence by orchestrator.resource.name with maxspan=10s\n"
	more := ruleSet(tb, schema,
		ruleText("pair", anyPair, quarantinePod)+
			ruleText("runs", by+"  [process where process.name == \"ls\"] with runs=3", "")+
			ruleText("ended", by+"  [process where process.name == \"ls\"]\n  [process where process.name == \"id\"]\nuntil [process where process.name == \"exit\"]", "")+
			ruleText("quiet", by+"  [process where process.name == \"id\"]\n  ![process where process.name == \"exit\"]", "")+
			ruleText("unspanned", "sequence by orchestrator.resource.name\n  [process where process.name == \"id\"]\n  [process where process.name == \"exit\"]", ""))
	set, err := rule.Merge(shipped(tb, schema), more)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// randomEvents are events of a few pods that the rules above like.
func randomEvents(r *rand.Rand, n int) []*event.Event {
	pods := []event.Pod{cart(), elsewhere(), recreated()}
	events := make([]*event.Event, 0, n)
	for len(events) < n {
		pod := pods[r.IntN(len(pods))]
		at := time.Duration(r.IntN(60)) * 500 * time.Millisecond
		switch r.IntN(7) {
		case 0:
			events = append(events, called(pod, at, "list", "secrets"))
		case 1:
			events = append(events, opened(pod, at, token))
		case 2:
			events = append(events, shellIn(pod, at, "bash"))
		case 3:
			events = append(events,
				execRequest(pod, at, "get", "ResponseStarted", "command=sh"), execRequest(pod, at, "get", "ResponseComplete", "command=sh"))
		case 4:
			events = append(events, execIn(pod, at, "curl"), refused(called(pod, at+500*time.Millisecond, "list", "nodes")))
		default:
			events = append(events, execIn(pod, at, []string{"ls", "id", "exit", "curl", "python3"}[r.IntN(5)]))
		}
	}
	return events
}

func newReplay(tb testing.TB, o ReplayOptions) *Replay {
	tb.Helper()
	r, err := NewReplay(o)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// replayed is the result of a replay as text.
func replayed(tb testing.TB, r *Replay, events []*event.Event) string {
	tb.Helper()
	r.Reset()
	for _, e := range events {
		if err := r.Add(e); err != nil {
			tb.Fatal(err)
		}
	}
	text, err := json.MarshalIndent(r.Finish(nil), "", " ")
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

func TestReplayDoesNotDependOnOrderOrRepetition(t *testing.T) {
	t.Parallel()
	schema := field.New()
	replay := newReplay(t, ReplayOptions{Rules: replayRules(t, schema), Schema: schema})
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		events := randomEvents(r, 60)
		want := replayed(t, replay, events)
		for range 4 {
			shuffled := slices.Concat(events, copies(events[:r.IntN(len(events))]))
			r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			if diff := gocmp.Diff(want, replayed(t, replay, shuffled)); diff != "" {
				t.Fatalf("seed %d:\n%s", seed, diff)
			}
		}
	}
}

// copies are second deliveries, by another API server and later.
func copies(events []*event.Event) []*event.Event {
	again := make([]*event.Event, len(events))
	for i, e := range events {
		second := *e
		second.Source, second.Received = "zz/"+e.Source, e.Time.Add(time.Hour)
		again[i] = &second
	}
	return again
}

// The live Correlator gets the sorted events and concludes the same.
func TestReplayEqualsTheCorrelatorOnSortedEvents(t *testing.T) {
	t.Parallel()
	schema := field.New()
	set := replayRules(t, schema)
	total := map[string]int{}
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 2))
		events := randomEvents(r, 60)
		modes := map[string]rule.Mode{"pair": rule.Enforce}
		h := newHarness(t, schema, set, func(o *Options) { o.Overrides = modes })
		slices.SortFunc(events, func(a, b *event.Event) int {
			return cmp.Or(a.Time.Compare(b.Time), strings.Compare(tieOf(a), tieOf(b)), compareEvents(a, b))
		})
		h.feed(t, events...)
		h.pass(t, time.Hour)
		live := h.recorder.final()
		for _, d := range live {
			d.At = d.Time
			total[d.Rule.Name]++
		}
		want, err := json.MarshalIndent(live, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		replay := newReplay(t, ReplayOptions{Rules: set, Schema: schema, Overrides: modes})
		if diff := gocmp.Diff(string(want), replayed(t, replay, events)); diff != "" {
			t.Fatalf("seed %d: live (-), replayed (+)\n%s", seed, diff)
		}
	}
	for _, name := range []string{tokenRule, forbiddenRule, commonRule, unusualRule, execRule, shellRule, "pair", "runs", "ended", "quiet", "unspanned"} {
		if total[name] == 0 {
			t.Errorf("nothing makes %s fire: the test tests less than it says", name)
		}
	}
}

func TestReplayTellsTheFinalPairingOnly(t *testing.T) {
	t.Parallel()
	schema := field.New()
	replay := newReplay(t, ReplayOptions{Rules: ruleSet(t, schema, ruleText("pair", anyPair, "")), Schema: schema})
	// The later request would have had the program to itself, had it come first.
	program, first, second := execIn(cart(), 0, "ls"), called(cart(), 2*time.Second, "get", "secrets"), called(cart(), 5*time.Second, "get", "pods")
	for _, e := range []*event.Event{program, second, first} {
		if err := replay.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	got := replay.Finish(nil)
	if len(got) != 1 || got[0].Events[1].ID != first.ID || !got[0].At.Equal(first.Time) {
		t.Errorf("concluded %+v", got)
	}
	if diff := gocmp.Diff(got, replay.Finish(nil)); diff != "" {
		t.Errorf("finished again: %s", diff)
	}
}

func TestReplayIsBounded(t *testing.T) {
	t.Parallel()
	schema := field.New()
	replay := newReplay(t, ReplayOptions{Rules: ruleSet(t, schema, ruleText("pair", anyPair, "")), Schema: schema, MaxBytes: 100 << 10})
	var err error
	added := 0
	for ; err == nil && added < 1000; added++ {
		err = replay.Add(execIn(cart(), time.Duration(added)*time.Second, "ls"))
	}
	if !errors.Is(err, ErrReplayFull) {
		t.Fatalf("after %d events the error is %v", added, err)
	}
	if err := replay.Add(opened(cart(), 0, "/etc/passwd")); err != nil {
		t.Errorf("an event that no rule wants: %v", err)
	}
	if err := replay.Add(execIn(cart(), 0, "ls")); err != nil {
		t.Errorf("an event that is known: %v", err)
	}
	replay.Reset()
	if err := replay.Add(execIn(cart(), 0, "ls")); err != nil {
		t.Errorf("after a reset: %v", err)
	}
}

// Far more hits of one key than a live engine keeps.
func TestReplayForgetsNothing(t *testing.T) {
	t.Parallel()
	const n = 3000
	schema := field.New()
	replay := newReplay(t, ReplayOptions{Rules: ruleSet(t, schema, ruleText("runs",
		"sequence by orchestrator.resource.name with maxspan=1h [process where true] with runs=20", "")), Schema: schema})
	for i := range n {
		if err := replay.Add(execIn(cart(), time.Duration(i)*time.Millisecond, "ls")); err != nil {
			t.Fatal(err)
		}
	}
	var calls []string
	got := replay.Finish(func(done, total int) { calls = append(calls, fmt.Sprint(done, "/", total)) })
	if len(got) != n-20+1 {
		t.Errorf("%d detections", len(got))
	}
	if diff := gocmp.Diff([]string{"0/60000", "4096/60000"}, calls[:2]); diff != "" || calls[len(calls)-1] != "60000/60000" {
		t.Errorf("progress was %v", calls)
	}
}

func TestReplayOptionsAreChecked(t *testing.T) {
	t.Parallel()
	schema := field.New()
	set := shipped(t, schema)
	for want, o := range map[string]ReplayOptions{
		"Rules is missing":  {Schema: schema},
		"Schema is missing": {Rules: set},
		"Schema is another": {Rules: set, Schema: field.New()},
		"unknown Mode":      {Rules: set, Schema: schema, Mode: "panic"},
		"Overrides[nobody]": {Rules: set, Schema: schema, Overrides: map[string]rule.Mode{"nobody": rule.Enforce}},
		"negative MaxSpan":  {Rules: set, Schema: schema, MaxSpan: -1},
		"negative MaxBytes": {Rules: set, Schema: schema, MaxBytes: -1},
	} {
		if _, err := NewReplay(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error about %s, got %v", want, err)
		}
	}
}
