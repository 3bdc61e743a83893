package sequence

import (
	"fmt"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// The scenarios are written as words: "0a@3" is stage 0 of event a at second 3,
// "ua@3" an Until hit, "wm@9" moves the watermark. All have key k unless one is
// given: "0a@3#other".
func parseHit(tb testing.TB, word string) Hit {
	tb.Helper()
	word, key, _ := strings.Cut(word, "#")
	name, at, ok := strings.Cut(word, "@")
	seconds, err := time.ParseDuration(at + "s")
	if !ok || err != nil || len(name) < 2 {
		tb.Fatalf("bad word %q", word)
	}
	if key == "" {
		key = "k"
	}
	stage := Until
	if name[0] != 'u' {
		stage = int(name[0] - '0')
	}
	return Hit{Stage: stage, Key: key, Time: epoch.Add(seconds), ID: name[1:]}
}

// play feeds a scenario and tells what each word changed.
func play(tb testing.TB, e *Engine, scenario string) []string {
	tb.Helper()
	var news []string
	for word := range strings.FieldsSeq(scenario) {
		var matches []Match
		if at, ok := strings.CutPrefix(word, "wm@"); ok {
			seconds, err := time.ParseDuration(at + "s")
			if err != nil {
				tb.Fatal(err)
			}
			matches = e.Advance(epoch.Add(seconds))
		} else {
			matches = e.Step(parseHit(tb, word))
		}
		for _, m := range matches {
			if m.Change == Final {
				continue // They have a test of their own.
			}
			text := word + " " + m.Change.String()
			for _, h := range m.Hits {
				text += " " + h.Request
			}
			if m.By != nil {
				text += " by " + m.By.Request
			}
			news = append(news, text)
		}
	}
	return news
}

func stages(shape string) []Stage {
	all := make([]Stage, 0, len(shape))
	for _, c := range shape {
		all = append(all, Stage{Negated: c == '!'})
	}
	return all
}

func TestScenarios(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		shape    string // one letter per stage, ! for a negated one, u for until
		scenario string
		want     []string
	}{
		"two in order":            {"AB", "0a@0 1b@5", []string{"1b@5 found a b"}},
		"two out of order":        {"AB", "1b@5 0a@0", []string{"0a@0 found a b"}},
		"span is inclusive":       {"AB", "0a@0 1b@10", []string{"1b@10 found a b"}},
		"span is over":            {"AB", "0a@0 1b@10.001", nil},
		"wrong order of time":     {"AB", "0a@5 1b@0", nil},
		"never follows itself":    {"AB", "0a@0 1a@0", nil},
		"equal times, by id":      {"AB", "0a@0 1b@0", []string{"1b@0 found a b"}},
		"equal times, by id, not": {"AB", "0b@0 1a@0", nil},
		"keys are apart":          {"AB", "0a@0#x 1b@1#y", nil},
		"duplicates":              {"AB", "0a@0 0a@0 1b@5 1b@5 0a@0", []string{"1b@5 found a b"}},
		"newest wins":             {"AB", "0a@0 0b@1 1c@2", []string{"1c@2 found b c"}},
		"the older is gone too":   {"AB", "0a@0 0b@1 1c@2 1d@3", []string{"1c@2 found b c"}},
		"too old is lost":         {"ABC", "0a@0 1b@1 0c@11.5 2d@12 1e@13 2f@14", []string{"2f@14 found c e f"}},
		"late pairing": {"AB", "0a@0 1c@5 1b@2 0d@3",
			[]string{"1c@5 found a c", "1b@2 found a b", "1b@2 superseded a c by b", "0d@3 reinstated d c"}},
		"late revision":         {"AB", "0a@0 1c@5 0b@2", []string{"1c@5 found a c", "0b@2 revised b c"}},
		"late loss":             {"ABC", "0a@0 1b@8 2c@9 1d@1 2e@2", []string{"2c@9 found a b c", "1d@1 revised a d c", "2e@2 found a d e", "2e@2 superseded a d c by e"}},
		"runs overlap":          {"AAA", "2a@1 1a@1 0a@1 2b@2 1b@2 0b@2 2c@3 1c@3 0c@3 2d@4 1d@4 0d@4", []string{"2c@3 found a b c", "2d@4 found b c d"}},
		"until ends":            {"ABu", "0a@0 ux@1 1b@2 wm@99", nil},
		"until at the hit":      {"ABu", "0a@0 ub@2 1b@2 wm@99", []string{"wm@99 found a b"}},
		"until at the partial":  {"ABu", "0a@0 ua@0 1b@2 wm@99", nil},
		"until before":          {"ABu", "ux@0 0y@1 1z@2 wm@99", []string{"wm@99 found y z"}},
		"until waits":           {"ABu", "0a@0 1b@2 wm@2 wm@2.001", []string{"wm@2.001 found a b"}},
		"nothing between":       {"A!B", "0a@0 2c@5 wm@6", []string{"wm@6 found a c"}},
		"something between":     {"A!B", "0a@0 2c@5 1b@3 wm@6", nil},
		"nothing before":        {"!AB", "1b@20 2c@25 wm@26", []string{"wm@26 found b c"}},
		"something before":      {"!AB", "0a@15 1b@20 2c@25 wm@26", nil},
		"something long before": {"!AB", "0a@14.999 1b@20 2c@25 wm@26", []string{"wm@26 found b c"}},
		"nothing after":         {"AB!", "0a@0 1b@5 wm@10 wm@10.001", []string{"wm@10.001 found a b"}},
		"something after":       {"AB!", "0a@0 1b@5 2c@10 wm@11", nil},
		"something long after":  {"AB!", "0a@0 1b@5 2c@10.001 wm@11", []string{"wm@11 found a b"}},
		"one and nothing":       {"A!", "0a@0 0b@3 1c@12 wm@30", []string{"wm@30 found a"}},
		"decided and forgotten": {"A!", "0a@0 wm@10.5 1c@9", []string{"wm@10.5 found a"}},
		"late but in the span":  {"AB", "0a@5 wm@14 1b@7", []string{"1b@7 found a b"}},
		"old, not too old":      {"AB", "wm@15 0a@5 1b@15", []string{"1b@15 found a b"}},
		"expired":               {"AB", "0a@5 wm@15.001 1b@7", nil},
		"expired hit":           {"AB", "wm@20 0a@9.999 1b@19", nil},
		"watermark goes back":   {"AB", "wm@30 wm@1 0a@5 1b@6", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shape, until := strings.CutSuffix(row.shape, "u")
			e := mustNew(t, Spec{Stages: stages(shape), Until: until, MaxSpan: 10 * time.Second}, Limits{})
			if diff := gocmp.Diff(row.want, play(t, e, row.scenario)); diff != "" {
				t.Errorf("want (-), got (+):\n%s", diff)
			}
		})
	}
}

// Lateness keeps hits beyond the watermark, so that a decision can still be mended.
func TestDecisionsAreMendedWithinLateness(t *testing.T) {
	t.Parallel()
	e := mustNew(t, Spec{Stages: stages("A!"), MaxSpan: 10 * time.Second}, Limits{Lateness: 5 * time.Second})
	got := play(t, e, "0a@0 wm@10.5 1b@11 1c@9 wm@16 1d@10")
	if diff := gocmp.Diff([]string{"wm@10.5 found a", "1c@9 superseded a"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestStagesOfOneRequestAreOneHit(t *testing.T) {
	t.Parallel()
	e := mustNew(t, Spec{Stages: stages("AB"), MaxSpan: time.Minute}, Limits{})
	started := Hit{Stage: 1, Key: "k", Time: epoch.Add(time.Second), ID: "started", Request: "r", Payload: "the first"}
	complete := started
	complete.ID, complete.Payload = "complete", "the second"
	e.Step(Hit{Stage: 0, Key: "k", Time: epoch, ID: "a", Size: 7})
	matches := append(e.Step(started), e.Step(complete)...)
	want := []Match{{
		Identity: Identity{Key: "k", Time: started.Time, Request: "r"}, Change: Found,
		Hits: []Hit{{Stage: 0, Key: "k", Time: epoch, Request: "a", Size: 7}, {Stage: 1, Key: "k", Time: started.Time, Request: "r", Payload: "the first"}},
	}}
	if diff := gocmp.Diff(want, matches); diff != "" {
		t.Error(diff)
	}
	if s := e.Stats(); s.Duplicates != 1 || s.Bytes != 7 || s.Hits != 2 || s.Keys != 1 {
		t.Errorf("%+v", s)
	}
}

func TestInvalidHitsAreCounted(t *testing.T) {
	t.Parallel()
	e := mustNew(t, Spec{Stages: stages("AB"), MaxSpan: time.Minute}, Limits{})
	good := Hit{Key: "k", Time: epoch, ID: "a"}
	for name, change := range map[string]func(*Hit){
		"stage too high": func(h *Hit) { h.Stage = 2 }, "stage too low": func(h *Hit) { h.Stage = -2 },
		"no until": func(h *Hit) { h.Stage = Until }, "no id": func(h *Hit) { h.ID = "" },
		"no time": func(h *Hit) { h.Time = time.Time{} }, "far future": func(h *Hit) { h.Time = epoch.AddDate(1000, 0, 0) },
		"size": func(h *Hit) { h.Size = -1 },
	} {
		h, before := good, e.Stats().Invalid
		change(&h)
		e.Step(h)
		if got := e.Stats().Invalid; got != before+1 {
			t.Errorf("%s is taken", name)
		}
	}
	if e.Advance(epoch.AddDate(1000, 0, 0)); e.watermark > epoch.UnixNano() {
		t.Error("a senseless watermark is taken")
	}
}

func TestSpecAndLimitsAreChecked(t *testing.T) {
	t.Parallel()
	good := Spec{Stages: stages("AB"), MaxSpan: time.Minute}
	for want, change := range map[string]func(*Spec, *Limits){
		"fewer than two Stages": func(s *Spec, _ *Limits) { s.Stages = stages("A") },
		"is positive":           func(s *Spec, _ *Limits) { s.Stages = stages("!!") },
		"at most 1000":          func(s *Spec, _ *Limits) { s.Stages = make([]Stage, 1001) },
		"MaxSpan is 0s":         func(s *Spec, _ *Limits) { s.MaxSpan = 0 },
		"MaxSpan is 9000h":      func(s *Spec, _ *Limits) { s.MaxSpan = 9000 * time.Hour },
		"HitsPerKey is 1":       func(_ *Spec, l *Limits) { l.HitsPerKey = 1 },
		"Hits is 1":             func(_ *Spec, l *Limits) { l.Hits = 1 },
		"Bytes is -1":           func(_ *Spec, l *Limits) { l.Bytes = -1 },
		"Lateness is -1ns":      func(_ *Spec, l *Limits) { l.Lateness = -1 },
	} {
		spec, limits := good, Limits{}
		change(&spec, &limits)
		if _, err := New(spec, limits); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestKeyLimitForgetsTheOldest(t *testing.T) {
	t.Parallel()
	e := mustNew(t, Spec{Stages: stages("AB"), MaxSpan: time.Hour}, Limits{HitsPerKey: 3})
	// a falls to the limit; a second delivery of it must not come back to life.
	got := play(t, e, "0a@1 0b@2 0c@3 0d@4 0a@1 1x@1.5 1y@2.5 1z@9")
	want := []string{"1y@2.5 found b y", "1z@9 found d z"}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if s := e.Stats(); s.Hits != 3 || s.OverKey != 5 || s.Keys != 1 {
		t.Errorf("%+v", s)
	}
}

func TestTotalLimitsForgetTheOldestOfAll(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]Limits{"hits": {Hits: 10}, "bytes": {Bytes: 1000}} {
		e := mustNew(t, Spec{Stages: stages("AB"), MaxSpan: time.Hour}, limits)
		for i := range 100 {
			e.Step(Hit{Key: fmt.Sprint(i), Time: epoch.Add(time.Duration(i) * time.Second), ID: "a", Size: 100})
		}
		s := e.Stats()
		if s.Hits != 10 || s.Keys != 10 || s.Partials != 10 || s.Bytes != 1000 || s.OverTotal != 90 || len(e.queue) != 10 {
			t.Errorf("%s: %+v", name, s)
		}
		for i := range 100 {
			found := len(e.Step(Hit{Stage: 1, Key: fmt.Sprint(i), Time: epoch.Add(200 * time.Second), ID: "b", Size: 1})) > 0
			if i < 90 && found {
				t.Errorf("%s: key %d was forgotten and matches", name, i)
			}
		}
	}
}

// The index over live state: a key that empties and comes back must be found,
// expire and be counted like any other.
func TestKeysComeAndGo(t *testing.T) {
	t.Parallel()
	e := mustNew(t, Spec{Stages: stages("AB"), MaxSpan: 10 * time.Second}, Limits{})
	for round := range 50 {
		start := epoch.Add(time.Duration(round) * time.Minute)
		for i := range 20 {
			e.Step(Hit{Key: fmt.Sprint(i), Time: start, ID: fmt.Sprint(round)})
		}
		for i := range 20 {
			if n := len(e.Step(Hit{Stage: 1, Key: fmt.Sprint(i), Time: start.Add(time.Second), ID: fmt.Sprintf("b%d", round)})); n != 1 {
				t.Fatalf("round %d, key %d: %d matches", round, i, n)
			}
		}
		e.Advance(start.Add(30 * time.Second))
		if s := e.Stats(); s.Keys+s.Hits+s.Partials+len(e.queue) != 0 {
			t.Fatalf("round %d: %+v, %d queued", round, s, len(e.queue))
		}
	}
}

func ExampleEngine() {
	e, err := New(Spec{Stages: []Stage{{}, {}}, MaxSpan: time.Minute}, Limits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	noon := time.Date(2026, 8, 22, 12, 0, 0, 0, time.UTC)
	// The request arrives first, though it was made after the token was read.
	e.Step(Hit{Stage: 1, Key: "pod-1", Time: noon.Add(5 * time.Second), ID: "request"})
	for _, m := range e.Step(Hit{Stage: 0, Key: "pod-1", Time: noon, ID: "token read"}) {
		fmt.Println(m.Change, m.Key, m.Hits[0].Request, "then", m.Hits[1].Request)
	}
	// Output: found pod-1 token read then request
}
