package app

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/app/ending"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/notify"
	"github.com/portcullis-dev/portcullis/quarantine"
	"github.com/portcullis-dev/portcullis/record"
	"github.com/portcullis-dev/portcullis/rule"
)

// ward records what it is asked for, in order with what is sent.
type ward struct {
	outcome quarantine.Outcome
	err     error
	sendErr error
	spec    quarantine.Spec
	did     []string
	sent    []event.Detection
	led     [][]notify.Quarantine
	// unstored is what the notifier still has to store.
	unstored int
}

func (w *ward) Quarantine(_ context.Context, _ *event.Detection, spec quarantine.Spec) (quarantine.Outcome, error) {
	w.did, w.spec = append(w.did, "quarantine"), spec
	return w.outcome, w.err
}

func (w *ward) WouldQuarantine(_ *event.Detection, spec quarantine.Spec) {
	w.did, w.spec = append(w.did, "would quarantine"), spec
}

func (w *ward) Send(_ context.Context, d *event.Detection, led ...notify.Quarantine) error {
	w.did = append(w.did, "send")
	w.sent, w.led = append(w.sent, *d), append(w.led, led)
	return w.sendErr
}

func (w *ward) Unstored() int { return w.unstored }

// fixedRules never change.
type fixedRules struct{ set *rule.Set }

func (r fixedRules) Rules() *rule.Set { return r.set }

// someRules ask for the quarantine of a user ("asks") or a pod ("asks-pod", "ambiguous"), or for nothing ("tells").
func someRules(t *testing.T) fixedRules {
	t.Helper()
	asks := func(q rule.Quarantine) *rule.Response { return &rule.Response{Quarantine: &q} }
	rules, err := rule.NewSet(
		&rule.Rule{Name: "asks", Response: asks(rule.Quarantine{Subject: rule.SubjectUser, Duration: time.Hour})},
		&rule.Rule{Name: "asks-pod", Response: asks(rule.Quarantine{Subject: rule.SubjectPod, Duration: time.Hour})},
		&rule.Rule{Name: "ambiguous", Response: asks(rule.Quarantine{Subject: rule.SubjectPod, Duration: time.Hour, Ambiguous: true})},
		&rule.Rule{Name: "tells"})
	if err != nil {
		t.Fatal(err)
	}
	return fixedRules{rules}
}

// emptyBook remembers nothing beyond the test.
func emptyBook(t *testing.T) *record.Book {
	t.Helper()
	b, err := record.New(t.Context(), record.Options{Clock: time.Now, Logger: quiet(), Registerer: prometheus.NewPedanticRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func responderFor(t *testing.T, w *ward) *responder {
	t.Helper()
	return &responder{sessions: silence{}, killer: silence{}, announcer: silence{}, rules: someRules(t), quarantine: w, record: emptyBook(t), notify: w, clock: time.Now, logger: quiet()}
}

// silence hears of responses that these tests are not about.
type silence struct{}

func (silence) Detected(*event.Detection)          {}
func (silence) End(*event.Detection, ending.Reach) {}
func (silence) RuleDenied(*event.Detection)        {}
func (silence) WouldDeny(*event.Detection)         {}
func (silence) WouldKillSession(*event.Detection)  {}

// about is a detection by the rule about a pod and a user.
func about(ruleName string, action event.Action) *event.Detection {
	return &event.Detection{
		ID: "1", Rule: event.DetectionRule{Name: ruleName}, Action: action, State: event.Provisional, User: "alice",
		Pod: event.Pod{UID: "u1", Namespace: "shop", Name: "web-0", Confidence: event.Exact}, Events: []*event.Event{{ID: "e1"}},
	}
}

func respond(t *testing.T, w *ward, action event.Action) event.Detection {
	t.Helper()
	name := "asks"
	if action == event.ActionNone {
		name = "tells"
	}
	responderFor(t, w).Handle(t.Context(), about(name, action))
	return w.sent[0]
}

func TestQuarantineComesBeforeTelling(t *testing.T) {
	w := &ward{outcome: quarantine.OutcomeApplied}
	d := respond(t, w, event.ActionQuarantine)
	if got := strings.Join(w.did, ", "); got != "quarantine, send" {
		t.Errorf("did %s", got)
	}
	if w.spec.TTL != time.Hour || w.spec.Subject != v1alpha1.SubjectUser {
		t.Errorf("asked for %+v", w.spec)
	}
	if d.Action != event.ActionQuarantine {
		t.Errorf("told %q", d.Action)
	}
	if led := w.led[0]; len(led) != 1 || led[0].Subject != "alice" || led[0].Ended != "" || led[0].Expires.IsZero() {
		t.Errorf("told that it led to %+v", led)
	}
}

func TestObserveQuarantinesNobody(t *testing.T) {
	w := &ward{}
	respond(t, w, event.ActionWouldQuarantine)
	if got := strings.Join(w.did, ", "); got != "would quarantine, send" {
		t.Errorf("did %s", got)
	}
}

func TestRuleWithoutResponseOnlyTells(t *testing.T) {
	w := &ward{}
	respond(t, w, event.ActionNone)
	if got := strings.Join(w.did, ", "); got != "send" {
		t.Errorf("did %s", got)
	}
}

func TestWhatIsNotInForceIsNotTold(t *testing.T) {
	for name, w := range map[string]*ward{
		"failed":   {err: errors.New("too many")},
		"released": {outcome: quarantine.OutcomeReleased},
	} {
		t.Run(name, func(t *testing.T) {
			if d := respond(t, w, event.ActionQuarantine); d.Action != event.ActionNone || d.Why == "" {
				t.Errorf("told %q, because %q", d.Action, d.Why)
			}
		})
	}
}

func TestSomeOfTheCandidatesInForceIsTold(t *testing.T) {
	w := &ward{outcome: quarantine.OutcomeApplied, err: errors.New("too many")}
	if d := respond(t, w, event.ActionQuarantine); d.Action != event.ActionQuarantine || !strings.Contains(d.Why, "not all") {
		t.Errorf("told %q, because %q", d.Action, d.Why)
	}
}

// A rule that a reload took away while its detection was on its way must not be
// told to have had a consequence.
func TestDetectionOfARuleThatIsGoneDoesNothing(t *testing.T) {
	w := &ward{}
	responderFor(t, w).Handle(t.Context(), about("gone", event.ActionQuarantine))
	if got := strings.Join(w.did, ", "); got != "send" {
		t.Errorf("did %s", got)
	}
	if d := w.sent[0]; d.Action != event.ActionNone || !strings.Contains(d.Why, "no longer") {
		t.Errorf("told %q, because %q", d.Action, d.Why)
	}
}

func TestEveryCandidateOfAnAmbiguousPodIsRecorded(t *testing.T) {
	for name, want := range map[string][]string{"ambiguous": {"pod-u1", "pod-u2"}, "asks-pod": nil} {
		w := &ward{outcome: quarantine.OutcomeApplied}
		r := responderFor(t, w)
		d := about(name, event.ActionQuarantine)
		d.Pod.Confidence, d.Pod.Candidates = event.Ambiguous, []string{"u2", "u1", "u2"}
		r.Handle(t.Context(), d)
		rec, _ := r.record.Get("1")
		got := make([]string, 0, len(rec.Quarantines))
		for _, q := range rec.Quarantines {
			got = append(got, q.Object)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" || w.spec.Ambiguous != (want != nil) {
			t.Errorf("%s: %+v\n%s", name, w.spec, diff)
		}
	}
}

// TestChangesAreToldOnceAndNeverActedOnTwice sends the changes of one detection, and notes what each leads to.
func TestChangesAreToldOnceAndNeverActedOnTwice(t *testing.T) {
	type d = event.Detection
	hole := event.Coverage{Known: true, Holes: []event.Hole{{Source: "agent/n", Cause: "kernel-ring-full"}}}
	provisional := func(*d) {}
	otherEvents := func(d *d) { d.Events = []*event.Event{{ID: "e2"}, {ID: "e1"}} }
	final := func(d *d) { d.State = event.Final }
	blind := func(d *d) { d.State, d.Coverage = event.Final, hole }
	superseded := func(by string) func(*d) { return func(d *d) { d.State, d.SupersededBy = event.Superseded, by } }

	const act, tell, nothing = "quarantine, send", "send", ""
	type step struct {
		change func(*d)
		want   string
	}
	for name, steps := range map[string][]step{
		"final changes nothing":           {{provisional, act}, {final, nothing}, {final, nothing}},
		"final at once":                   {{final, act}, {final, nothing}},
		"found again":                     {{provisional, act}, {provisional, nothing}},
		"made up by others":               {{provisional, act}, {otherEvents, tell}, {otherEvents, nothing}},
		"final is found to be half blind": {{provisional, act}, {blind, tell}, {blind, nothing}, {final, nothing}},
		"superseded":                      {{provisional, act}, {superseded("2"), tell}, {superseded("2"), nothing}, {superseded("3"), tell}},
		"reinstated":                      {{provisional, act}, {superseded("2"), tell}, {provisional, tell}, {final, nothing}},
		"final after it was superseded":   {{provisional, act}, {superseded("2"), tell}, {final, tell}},
		"what was before the end, again":  {{final, act}, {provisional, nothing}, {superseded("2"), nothing}, {final, nothing}},
	} {
		t.Run(name, func(t *testing.T) {
			w := &ward{outcome: quarantine.OutcomeApplied}
			r := responderFor(t, w)
			for i, s := range steps {
				w.did = nil
				d := about("asks-pod", event.ActionQuarantine)
				s.change(d)
				r.Handle(t.Context(), d)
				r.record.Written("pod-u1", "1")
				if got := strings.Join(w.did, ", "); got != s.want {
					t.Errorf("change %d: did %q, want %q", i, got, s.want)
				}
				if !r.record.Known("1") {
					t.Errorf("change %d: it is not done", i)
				}
			}
		})
	}
}

func TestSupersededIsToldWithWhatItCaused(t *testing.T) {
	w := &ward{outcome: quarantine.OutcomeApplied}
	r := responderFor(t, w)
	r.Handle(t.Context(), about("asks-pod", event.ActionQuarantine))
	r.record.Ended("pod-u1", "released", "", "1")
	d := about("asks-pod", event.ActionQuarantine)
	d.State, d.SupersededBy = event.Superseded, "2"
	r.Handle(t.Context(), d)
	last := w.sent[len(w.sent)-1]
	if last.State != event.Superseded || last.SupersededBy != "2" || last.Action != event.ActionQuarantine {
		t.Errorf("told %+v", last)
	}
	if led := w.led[len(w.led)-1]; len(led) != 1 || led[0].Name != "pod-u1" || led[0].Subject != "shop/web-0" || led[0].Ended != "released" {
		t.Errorf("told that it led to %+v", led)
	}
}

// The object is not in the cluster yet when a late event makes the detection one about another pod.
func TestALateEventPutsNobodyElseIntoQuarantine(t *testing.T) {
	w := &ward{outcome: quarantine.OutcomeApplied}
	r := responderFor(t, w)
	d := about("asks-pod", event.ActionQuarantine)
	r.Handle(t.Context(), d)
	w.did = nil
	d.Pod.UID = "u2"
	r.Handle(t.Context(), d)
	if got := strings.Join(w.did, ", "); got != "send" {
		t.Errorf("did %s", got)
	}
	w.did, d.Pod.UID = nil, "u1"
	r.Handle(t.Context(), d)
	if got := strings.Join(w.did, ", "); got != "quarantine, send" {
		t.Errorf("of the one that it was about, it did %s", got)
	}
}

// What was told without being stored is told again after a restart only.
func TestNotifierThatCannotStore(t *testing.T) {
	w := &ward{outcome: quarantine.OutcomeApplied, sendErr: errors.New("full")}
	r := responderFor(t, w)
	d := about("asks-pod", event.ActionQuarantine)
	r.Handle(t.Context(), d)
	r.record.Written("pod-u1", "1")
	d.State = event.Final
	r.Handle(t.Context(), d)
	if len(w.sent) != 1 || r.record.Known("1") {
		t.Errorf("told %d times, done %v", len(w.sent), r.record.Known("1"))
	}
	restarted := &responder{sessions: silence{}, killer: silence{}, announcer: silence{}, rules: r.rules, quarantine: w, record: r.record, notify: w, clock: time.Now, logger: quiet()}
	w.sendErr = nil
	restarted.Handle(t.Context(), d)
	if len(w.sent) != 2 || !r.record.Known("1") {
		t.Errorf("told %d times, done %v", len(w.sent), r.record.Known("1"))
	}
}

// What the notifier stores a little later was told, and is not told again after a restart.
func TestWhatIsStoredLaterIsToldOnce(t *testing.T) {
	w := &ward{outcome: quarantine.OutcomeApplied, sendErr: errors.New("later"), unstored: 1}
	r := responderFor(t, w)
	d := about("asks-pod", event.ActionQuarantine)
	r.Handle(t.Context(), d)
	r.record.Written("pod-u1", "1")
	if r.settle(); r.record.Known("1") {
		t.Error("it is recorded as told before it is stored")
	}
	w.unstored = 0
	if r.settle(); !r.record.Known("1") {
		t.Error("it is not recorded as told although it is stored")
	}
	restarted := &responder{sessions: silence{}, killer: silence{}, announcer: silence{}, rules: r.rules, quarantine: w, record: r.record, notify: w, clock: time.Now, logger: quiet()}
	restarted.Handle(t.Context(), d)
	if len(w.sent) != 1 {
		t.Errorf("told %d times", len(w.sent))
	}
}

// A detection that is found again must act as it did, whatever the mode is by now.
func TestActionIsAsItWasDecidedAtFirst(t *testing.T) {
	w := &ward{outcome: quarantine.OutcomeApplied}
	r := responderFor(t, w)
	r.Handle(t.Context(), about("asks-pod", event.ActionWouldQuarantine))
	w.did = nil
	d := about("asks-pod", event.ActionQuarantine)
	d.State, d.SupersededBy = event.Superseded, "2"
	r.Handle(t.Context(), d)
	if got := strings.Join(w.did, ", "); got != "send" || w.sent[1].Action != event.ActionWouldQuarantine {
		t.Errorf("did %s, told %q", got, w.sent[1].Action)
	}
	if d.Action != event.ActionQuarantine {
		t.Error("the caller's detection was changed")
	}
}
