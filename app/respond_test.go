package app

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/quarantine"
	"github.com/portcullis-dev/portcullis/rule"
)

// ward records what it is asked for, in order with what is sent.
type ward struct {
	outcome quarantine.Outcome
	err     error
	spec    quarantine.Spec
	did     []string
	sent    []event.Detection
}

func (w *ward) Quarantine(_ context.Context, _ *event.Detection, spec quarantine.Spec) (quarantine.Outcome, error) {
	w.did, w.spec = append(w.did, "quarantine"), spec
	return w.outcome, w.err
}

func (w *ward) WouldQuarantine(_ *event.Detection, spec quarantine.Spec) {
	w.did, w.spec = append(w.did, "would quarantine"), spec
}

func (w *ward) Send(d *event.Detection) {
	w.did = append(w.did, "send")
	w.sent = append(w.sent, *d)
}

// fixedRules never change.
type fixedRules struct{ set *rule.Set }

func (r fixedRules) Rules() *rule.Set { return r.set }

func respond(t *testing.T, w *ward, action event.Action) event.Detection {
	t.Helper()
	rules, err := rule.NewSet(
		&rule.Rule{Name: "asks", Response: &rule.Response{Quarantine: &rule.Quarantine{Subject: rule.SubjectUser, Duration: time.Hour}}},
		&rule.Rule{Name: "tells"})
	if err != nil {
		t.Fatal(err)
	}
	r := &responder{rules: fixedRules{rules}, quarantine: w, notify: w, logger: quiet()}
	name := "asks"
	if action == event.ActionNone {
		name = "tells"
	}
	r.Handle(t.Context(), &event.Detection{ID: "1", Rule: event.DetectionRule{Name: name}, Action: action})
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

// A rule that a reload took away while its detection was on its way must not be
// told to have had a consequence.
func TestDetectionOfARuleThatIsGoneDoesNothing(t *testing.T) {
	w := &ward{}
	r := &responder{rules: fixedRules{}, quarantine: w, notify: w, logger: quiet()}
	r.Handle(t.Context(), &event.Detection{ID: "1", Rule: event.DetectionRule{Name: "gone"}, Action: event.ActionQuarantine})
	if got := strings.Join(w.did, ", "); got != "send" {
		t.Errorf("did %s", got)
	}
	if d := w.sent[0]; d.Action != event.ActionNone || !strings.Contains(d.Why, "no longer") {
		t.Errorf("told %q, because %q", d.Action, d.Why)
	}
}
