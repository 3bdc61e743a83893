package app

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/app/ending"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/quarantine"
	"github.com/portcullis-dev/portcullis/rule"
)

// attribution is a responder with detections of which it is not certain yet whom they are about.
type attribution struct {
	*ward
	*responder
	waiting *unattributed
	now     time.Time
	known   map[string]*event.Session
	kills   []ending.Reach
}

func (a *attribution) End(_ *event.Detection, reach ending.Reach) { a.kills = append(a.kills, reach) }

func newAttribution(t *testing.T, enforce bool) *attribution {
	t.Helper()
	a := &attribution{ward: &ward{outcome: quarantine.OutcomeApplied}, known: map[string]*event.Session{}, now: time.Unix(0, 0)}
	a.responder = responderFor(t, a.ward)
	a.enforce = func(*rule.Rule, *event.Detection) (bool, string) { return enforce, "" }
	a.killer = a
	rules, err := rule.NewSet(&rule.Rule{Name: "asks", Response: &rule.Response{
		Quarantine: &rule.Quarantine{Subject: rule.SubjectUser, Duration: time.Hour}, KillSession: true,
	}})
	if err != nil {
		t.Fatal(err)
	}
	a.rules = fixedRules{rules}
	a.restart(t)
	return a
}

// restart forgets what only the process knows.
func (a *attribution) restart(t *testing.T) {
	t.Helper()
	waiting, err := newUnattributed(func(id string) *event.Session { return a.known[id] }, func() time.Time { return a.now }, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	a.waiting, a.unattributed, waiting.decided = waiting, waiting, a.decided
}

// look is what happens after a while.
func (a *attribution) look(t *testing.T) string {
	t.Helper()
	a.did, a.kills = nil, nil
	a.waiting.look(context.Background())
	return strings.Join(a.did, ", ")
}

// uncertain is a detection in a session of which it is not certain who asked for it.
func (a *attribution) uncertain() *event.Detection {
	d := about("asks", event.ActionAwaitUser)
	d.At, d.User = a.now, ""
	a.known["s-1"] = &event.Session{ID: "s-1", Attribution: event.AttributionCandidates, Candidates: []string{"alice", "bob"}}
	d.Events = []*event.Event{{ID: "e1", Session: a.known["s-1"]}}
	return d
}

func (a *attribution) certain(user string) {
	a.known["s-1"] = &event.Session{ID: "s-1", Attribution: event.AttributionExact, User: user}
}

// The session ends at once; its user is quarantined as soon as it is certain who that is, also after a restart.
func TestAResponseWaitsForTheUser(t *testing.T) {
	for name, restart := range map[string]bool{"in one process": false, "with a restart meanwhile": true} {
		t.Run(name, func(t *testing.T) {
			a := newAttribution(t, true)
			d := a.uncertain()
			a.Handle(t.Context(), d)
			if got := strings.Join(a.did, ", "); got != "send" || a.sent[0].Action != event.ActionAwaitUser || len(a.kills) != 1 {
				t.Fatalf("did %s and ended %d sessions, told %q", got, len(a.kills), a.sent[0].Action)
			}
			if restart {
				a.restart(t)
				again := *d
				again.Action = event.ActionNone // The record is known, so nothing is decided again.
				a.Handle(t.Context(), &again)
			}
			if got := a.look(t); got != "" {
				t.Fatalf("did %s while nothing was certain", got)
			}
			a.certain("alice")
			if got := a.look(t); got != "quarantine, send" {
				t.Fatalf("did %s when it was certain", got)
			}
			told := a.sent[len(a.sent)-1]
			if told.Action != event.ActionQuarantine || told.User != "alice" || told.Events[0].Session.User != "alice" || a.led[len(a.led)-1][0].Subject != "alice" {
				t.Errorf("told %+v", told)
			}
			if diff := cmp.Diff([]ending.Reach{{User: true}}, a.kills); diff != "" {
				t.Errorf("ended (-want +got):\n%s", diff)
			}
			if got := a.look(t); got != "" {
				t.Errorf("did %s once more", got)
			}
			if rec, _ := a.record.Get("1"); rec.Action != event.ActionQuarantine || len(rec.Quarantines) != 1 || rec.Quarantines[0].Whom != "alice" {
				t.Errorf("recorded %+v", rec)
			}
		})
	}
}

func TestAUserWhoIsObserved(t *testing.T) {
	a := newAttribution(t, false)
	a.Handle(t.Context(), a.uncertain())
	a.certain("alice")
	if got := a.look(t); got != "would quarantine, send" || len(a.kills) != 0 {
		t.Errorf("did %s and ended %d sessions", got, len(a.kills))
	}
}

// What never becomes certain is given up, and told.
func TestNobodyWaitsForEver(t *testing.T) {
	a := newAttribution(t, true)
	d := a.uncertain()
	a.Handle(t.Context(), d)
	a.now = a.now.Add(attributionPatience)
	if got := a.look(t); got != "send" {
		t.Fatalf("did %s", got)
	}
	if told := a.sent[1]; told.Action != event.ActionNone || !strings.Contains(told.Why, "alice, bob") {
		t.Errorf("told %q: %s", told.Action, told.Why)
	}
	for range 2 {
		d = a.uncertain()
		d.ID = "later"
		a.Handle(t.Context(), d)
	}
	if len(a.waiting.waiting) != 1 {
		t.Errorf("%d wait", len(a.waiting.waiting))
	}
}

// A chain that came about by a mistake in the order of events has no consequences.
func TestASupersededDetectionWaitsForNobody(t *testing.T) {
	a := newAttribution(t, true)
	d := a.uncertain()
	a.Handle(t.Context(), d)
	d.State = event.Superseded
	a.Handle(t.Context(), d)
	a.certain("alice")
	if got := a.look(t); got != "" {
		t.Errorf("did %s", got)
	}
}
