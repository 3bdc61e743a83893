package correlator

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
)

// tellings are what was told, in a word or two each.
func tellings(h *harness) []string {
	all := make([]string, 0, len(h.recorder.told))
	for _, d := range h.recorder.told {
		text := fmt.Sprint(d.State, " ", d.Events[0].Time.Sub(noon), "-", d.Time.Sub(noon), " ", d.Action)
		if by := h.recorder.last[d.SupersededBy]; by != nil {
			text += " by " + by.Time.Sub(noon).String()
		}
		all = append(all, text)
	}
	return all
}

func TestEveryChangeIsTold(t *testing.T) {
	t.Parallel()
	schema := field.New()
	set := ruleSet(t, schema, ruleText("pair", anyPair, quarantinePod))
	h := newHarness(t, schema, set, nil)
	h.now = noon.Add(6 * time.Second)
	h.feed(t, execIn(cart(), 0, "ls"), called(cart(), 5*time.Second, "get", "pods"))
	// What it has led to stays, whatever the rule asks for from now on.
	if err := h.SetRules(RuleOptions{Rules: set, Mode: rule.Enforce}); err != nil {
		t.Fatal(err)
	}
	h.feed(t, called(cart(), 2*time.Second, "get", "secrets")) // It takes the program.
	h.feed(t, execIn(cart(), 3*time.Second, "id"))             // And here is one for the first again.
	h.feed(t, execIn(cart(), 4*time.Second, "id"))             // And a newer one.
	h.feed(t, execIn(cart(), 4*time.Second, "id"))
	h.pass(t, time.Hour)
	want := []string{
		"provisional 0s-5s would-quarantine",
		"provisional 0s-2s quarantine",
		"superseded 0s-5s would-quarantine by 2s",
		"provisional 3s-5s would-quarantine",
		"provisional 4s-5s would-quarantine",
		"final 0s-2s quarantine",
		"final 4s-5s would-quarantine",
	}
	got := tellings(h)
	if strings.HasPrefix(got[1], "superseded") { // Which of the two comes first means nothing.
		got[1], got[2] = got[2], got[1]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, d := range h.recorder.told {
		if first := h.recorder.all; !d.At.Equal(first[0].At) {
			t.Errorf("%s is told as concluded at %s", d.State, d.At)
		}
	}
	if n := testutil.ToFloat64(h.metrics.matches); n != 0 || len(h.join.rules["pair"].matches) != 0 {
		t.Errorf("%v matches are remembered when all is over", n)
	}
}

func TestSingleEventsAreFinalAtOnce(t *testing.T) {
	t.Parallel()
	schema := field.New()
	h := newHarness(t, schema, ruleSet(t, schema, ruleText("single", "process where true", "")), func(o *Options) {
		known := detectionID("single", "", requestOf(execIn(cart(), time.Second, "id")))
		o.Known = func(id string) bool { return id == known }
	})
	h.feed(t, execIn(cart(), 0, "ls"), execIn(cart(), 0, "ls"), execIn(cart(), time.Second, "id"))
	h.pass(t, time.Hour)
	if diff := cmp.Diff([]string{"final 0s-0s none"}, tellings(h)); diff != "" {
		t.Error(diff)
	}
}

// Deferred sequences are told when they are decided, and even then an event that
// comes later than it may can be what must not happen.
func TestDecidedSequenceIsSupersededByALateEvent(t *testing.T) {
	t.Parallel()
	schema := field.New()
	const between = "sequence by orchestrator.resource.name with maxspan=10s\n  [process where process.name == \"curl\"]\n  ![process where process.name == \"exit\"]\n  [process where process.name == \"ls\"]"
	h := newHarness(t, schema, ruleSet(t, schema, ruleText("between", between, "")), func(o *Options) { o.Lateness = 30 * time.Second })
	h.now = noon
	h.feed(t, execIn(cart(), 0, "curl"), execIn(elsewhere(), 0, "curl"), execIn(cart(), 4*time.Second, "ls"), execIn(elsewhere(), 4*time.Second, "ls"))
	h.pass(t, 34*time.Second)
	if len(h.recorder.told) != 0 {
		t.Errorf("told before it was decided: %v", tellings(h))
	}
	h.pass(t, time.Second)
	h.feed(t, execIn(cart(), 3*time.Second, "exit"))
	h.pass(t, time.Hour)
	want := []string{"provisional 0s-4s none", "provisional 0s-4s none", "superseded 0s-4s none", "final 0s-4s none"}
	if diff := cmp.Diff(want, tellings(h)); diff != "" {
		t.Error(diff)
	}
	if final := h.recorder.final(); len(final) != 1 || final[0].Pod.UID != elsewhere().UID {
		t.Errorf("final are %v", final)
	}
}

// When what a rule keeps is lost, nothing can change its matches any more.
func TestMatchesOfALostEngineAreFinal(t *testing.T) {
	t.Parallel()
	schema := field.New()
	set := ruleSet(t, schema, ruleText("pair", anyPair, ""))
	for name, lose := range map[string]func(*harness){
		"removed":  func(h *harness) { setRules(t, h, ruleSet(t, schema, "")) },
		"changed":  func(h *harness) { setRules(t, h, ruleSet(t, schema, ruleText("pair", asked("ls"), ""))) },
		"panicked": func(h *harness) { h.hand(t.Context(), h.join.restart(h.join.rules["pair"], "test", h.now)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, schema, set, nil)
			h.now = noon.Add(time.Second)
			h.feed(t, execIn(cart(), 0, "ls"), called(cart(), time.Second, "get", "pods"))
			lose(h)
			h.pass(t, time.Second)
			// Delivered again, it is the same detection, and over.
			h.feed(t, execIn(cart(), 0, "ls"), called(cart(), time.Second, "get", "pods"))
			h.pass(t, time.Hour)
			if diff := cmp.Diff([]string{"provisional 0s-1s none", "final 0s-1s none"}, tellings(h)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCoverageIsAskedForWhatMatters(t *testing.T) {
	t.Parallel()
	schema := field.New()
	const quiet = "sequence by orchestrator.resource.name with maxspan=10s\n  [process where process.name == \"curl\"]\n  ![process where process.name == \"exit\"]"
	for name, row := range map[string]struct {
		rule string
		want []string
	}{
		"single":         {ruleText("r", "process where process.name == \"curl\"", ""), []string{"final 0s to 0s"}},
		"sequence":       {ruleText("r", anyPair, ""), []string{"provisional -10s to 3s", "final -10s to 3s"}},
		"missing at end": {ruleText("r", quiet, ""), []string{"provisional -10s to 10s", "final -10s to 10s"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked []string
			hole := event.Coverage{Known: true, Holes: []event.Hole{{Source: "agent/node1", From: noon, Cause: "test"}}}
			h := newHarness(t, schema, ruleSet(t, schema, row.rule), func(o *Options) {
				o.Coverage = func(d *event.Detection, from, to time.Time) event.Coverage {
					asked = append(asked, fmt.Sprint(d.State, " ", from.Sub(noon), " to ", to.Sub(noon)))
					return hole
				}
			})
			h.now = noon.Add(3 * time.Second)
			h.feed(t, execIn(cart(), 0, "curl"), called(cart(), 3*time.Second, "get", "pods"))
			h.pass(t, time.Hour)
			if diff := cmp.Diff(row.want, asked); diff != "" {
				t.Error(diff)
			}
			for _, d := range h.recorder.told {
				if diff := cmp.Diff(hole, d.Coverage); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// What an earlier process has told as new is not new, and what becomes of it is told.
func TestKnownDetectionsAreNotNew(t *testing.T) {
	t.Parallel()
	schema := field.New()
	h := newHarness(t, schema, ruleSet(t, schema, ruleText("pair", anyPair, "")), func(o *Options) {
		o.Known = func(string) bool { return true }
	})
	h.now = noon.Add(6 * time.Second)
	h.feed(t, execIn(cart(), 0, "ls"), called(cart(), 5*time.Second, "get", "pods"))
	if len(h.recorder.told) != 0 {
		t.Errorf("told %v", tellings(h))
	}
	h.feed(t, execIn(cart(), 3*time.Second, "ls"))
	h.pass(t, time.Hour)
	if diff := cmp.Diff([]string{"provisional 3s-5s none", "final 3s-5s none"}, tellings(h)); diff != "" {
		t.Error(diff)
	}
}

// How a detection came to what it is was told before the restart: nobody hears it again, but for
// what it is in the end.
func TestReplayTellsOfKnownDetectionsOnce(t *testing.T) {
	t.Parallel()
	schema := field.New()
	replay := &replaying{over: make(chan struct{})}
	h := newHarness(t, schema, ruleSet(t, schema, ruleText("pair", anyPair, "")), func(o *Options) {
		o.Known, o.Replay = func(string) bool { return true }, replay
	})
	h.now = noon.Add(6 * time.Second)
	h.feed(t, execIn(cart(), 0, "ls"), called(cart(), 5*time.Second, "get", "pods"),
		execIn(cart(), 2*time.Second, "ls"), execIn(cart(), 3*time.Second, "ls"))
	h.pass(t, time.Second)
	if len(h.recorder.told) != 0 {
		t.Errorf("told during the replay: %v", tellings(h))
	}
	close(replay.over)
	h.pass(t, time.Hour)
	if diff := cmp.Diff([]string{"final 3s-5s none"}, tellings(h)); diff != "" {
		t.Error(diff)
	}
}

// A watch that ends after minutes is nothing that got lost: not for its owner, and not as late.
func TestRequestThatLastsIsNoLoss(t *testing.T) {
	t.Parallel()
	schema := field.New()
	var dropped []string
	h := newHarness(t, schema, ruleSet(t, schema, ruleText("pair", anyPair, "")), func(o *Options) {
		o.Dropped = func(_, _, cause string, n int) { dropped = append(dropped, fmt.Sprint(cause, " ", n)) }
	})
	h.now = noon.Add(6 * time.Second)
	began := called(cart(), 5*time.Second, "watch", "pods")
	h.feed(t, execIn(cart(), 4*time.Second, "ls"), began)
	h.pass(t, time.Hour)
	ended := *began
	ended.ID, ended.StageTime = "the end of "+began.ID, h.now.Add(-time.Second)
	lost := called(elsewhere(), 5*time.Second, "get", "pods") // The same, but it comes an hour late.
	h.feed(t, &ended, lost)
	h.pass(t, time.Minute)
	if diff := cmp.Diff([]string{"provisional 4s-5s none", "final 4s-5s none"}, tellings(h)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{dropBegan + " 1", dropExpired + " 1"}, dropped); diff != "" {
		t.Error(diff)
	}
	for cause, want := range map[string]float64{dropBegan: 1, dropExpired: 1} {
		if n := testutil.ToFloat64(h.metrics.dropped.WithLabelValues(cause)); n != want {
			t.Errorf("%v are counted as %s, want %v", n, cause, want)
		}
	}
}

// A flood of other detections does not keep what becomes of one from being told.
func TestForgottenDetectionsStillChange(t *testing.T) {
	t.Parallel()
	schema := field.New()
	h := newHarness(t, schema, ruleSet(t, schema, ruleText("pair", anyPair, "")), func(o *Options) { o.Remembered = 1 })
	h.now = noon.Add(6 * time.Second)
	h.feed(t, execIn(cart(), 0, "ls"), called(cart(), 5*time.Second, "get", "pods"))
	h.feed(t, execIn(elsewhere(), 0, "ls"), called(elsewhere(), 4*time.Second, "get", "pods"))
	h.feed(t, called(cart(), 2*time.Second, "get", "secrets"))
	h.pass(t, time.Hour)
	want := []string{
		"final 0s-2s none", "final 0s-4s none", "provisional 0s-2s none", "provisional 0s-4s none", "provisional 0s-5s none",
		"superseded 0s-5s none by 2s",
	}
	if diff := cmp.Diff(want, sorted(tellings(h))); diff != "" {
		t.Error(diff)
	}
}

// While events are replayed it is the time at which they arrived, and nothing is
// concluded from what is there only in part.
func TestReplayedEventsBringTheirTime(t *testing.T) {
	t.Parallel()
	schema := field.New()
	const quiet = "sequence by orchestrator.resource.name with maxspan=10s\n  [process where process.name == \"curl\"]\n  ![process where process.name == \"exit\"]"
	arrived := func(e *event.Event) *event.Event {
		e.Received = e.Time.Add(time.Second)
		return e
	}
	for name, row := range map[string]struct {
		horizon, last time.Duration
		want          []string
	}{
		"all is there":    {-time.Hour, 700 * time.Second, []string{"pair final", "quiet final", "quiet final"}},
		"most is there":   {490 * time.Second, 700 * time.Second, []string{"pair final", "quiet final"}},
		"some is there":   {532 * time.Second, 700 * time.Second, []string{"pair final"}},
		"nothing":         {546 * time.Second, 700 * time.Second, nil},
		"little has come": {546 * time.Second, 551 * time.Second, []string{"pair final", "quiet final"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			replay := &replaying{over: make(chan struct{}), horizon: noon.Add(row.horizon)}
			h := newHarness(t, schema, ruleSet(t, schema, ruleText("pair", anyPair, "")+ruleText("quiet", quiet, "")), func(o *Options) {
				o.Lateness, o.Replay = 10*time.Second, replay
			})
			h.now = noon.Add(time.Hour) // Long after all of them.
			h.feed(t, arrived(execIn(elsewhere(), 400*time.Second, "curl")))
			h.pass(t, time.Hour)
			h.feed(t, arrived(execIn(cart(), 540*time.Second, "curl")), arrived(execIn(cart(), 545*time.Second, "ls")),
				arrived(called(cart(), 550*time.Second, "get", "pods")), arrived(execIn(recreated(), row.last-time.Second, "ls")))
			if n := testutil.ToFloat64(h.metrics.dropped.WithLabelValues(dropExpired)); n != 0 {
				t.Errorf("%v events of the replay came too late", n)
			}
			h.pass(t, time.Second)
			close(replay.over)
			h.pass(t, time.Second)
			final := h.recorder.final()
			got := make([]string, 0, len(final))
			for _, d := range final {
				got = append(got, d.Rule.Name+" "+string(d.State))
			}
			if diff := cmp.Diff(row.want, sorted(got), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRetention(t *testing.T) {
	t.Parallel()
	schema := field.New()
	sequence := func(name, stages string) string { return ruleText(name, "sequence by process.pid "+stages, "") }
	for text, want := range map[string]time.Duration{
		ruleText("single", "process where true", ""):                                   0,
		sequence("spanned", "with maxspan=1h [process where true] [file where true]"):  2 * time.Hour,
		sequence("unspanned", "[process where true] [file where true]"):                40 * time.Minute,
		sequence("missing", "with maxspan=1h [process where true] ![file where true]"): 3 * time.Hour,
	} {
		if got := Retention(ruleSet(t, schema, text), 20*time.Minute, 5*time.Minute); got != want+10*time.Minute+retentionReserve {
			t.Errorf("%s for\n%s", got, text)
		}
	}
}

// Requests keep their identity on the way through the engine.
func TestTiesAreRequests(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, request := range []string{"", "a", strings.Repeat("0", 16), strings.Repeat("0", 16) + "\n", strings.Repeat("0", 16) + "\n\n",
		strings.Repeat("0", 17), strings.Repeat("ab", 16), strings.Repeat("AB", 16), strings.Repeat("\n", 15), strings.Repeat("\n", 17)} {
		tie := tieOf(&event.Event{Request: request})
		if got := requestOfTie(tie); got != request {
			t.Errorf("%q became %q", request, got)
		}
		if other, ok := seen[tie]; ok {
			t.Errorf("%q and %q are one", request, other)
		}
		seen[tie] = request
	}
}
