package correlator

import (
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
)

// A rule that quarantines the person behind a process waits until it is certain who that is; one about whoever calls does not.
func TestWhoIsBehindASession(t *testing.T) {
	t.Parallel()
	exact := func(user string) *event.Session {
		return &event.Session{ID: "s-1", Attribution: event.AttributionExact, User: user}
	}
	uncertain := &event.Session{ID: "s-1", Attribution: event.AttributionCandidates, Candidates: []string{"alice", "unaudited"}}
	const process = `process where process.name == "nc"`
	const sequence = "sequence with maxspan=1m\n" +
		`[process where process.name == "nc"] by orchestrator.resource.name` + "\n" +
		"[any where kubernetes.audit.verb == \"get\"] by `kubernetes.audit.user.extra.authentication.kubernetes.io/pod-name`"
	for name, row := range map[string]struct {
		query, subject string
		now            *event.Session
		action         event.Action
		user           string
	}{
		"certain":                              {process, "user", exact("alice"), event.ActionQuarantine, "alice"},
		"not certain":                          {process, "user", uncertain, event.ActionAwaitUser, ""},
		"another subject":                      {process, "pod", uncertain, event.ActionQuarantine, ""},
		"the session's user of a sequence":     {sequence, "user", exact("alice"), event.ActionQuarantine, "alice"},
		"the caller of a sequence":             {sequence, "serviceaccount", exact("alice"), event.ActionQuarantine, "alice"},
		"the caller while the user is unknown": {sequence, "serviceaccount", uncertain, event.ActionQuarantine, "system:serviceaccount:shop:default"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			schema := field.New()
			set := ruleSet(t, schema, ruleText("behind", row.query, "  response: {quarantine: {subject: "+row.subject+", duration: 1h}}\n  mode: enforce"))
			h := newHarness(t, schema, set, func(o *Options) { o.Session = func(string) *event.Session { return row.now } })
			e := edit(execIn(cart(), 0, "nc"), func(e *event.Event) { e.Session = uncertain })
			call := edit(called(cart(), time.Second, "get", "secrets"), func(e *event.Event) {
				e.Audit.User.Extra[event.ExtraCredentialID] = []string{"JTI=1"}
			})
			h.feed(t, e, call)
			if len(h.recorder.all) != 1 {
				t.Fatalf("%d detections", len(h.recorder.all))
			}
			d := h.recorder.all[0]
			if d.Action != row.action || d.User != row.user {
				t.Errorf("%s about %q (%s), want %s about %q", d.Action, d.User, d.Why, row.action, row.user)
			}
			user, why, open := Person(d, func(string) *event.Session { return exact("alice") })
			if user != "alice" || why != "" || open {
				t.Errorf("later it is %q (%s)", user, why)
			}
		})
	}
}

func TestSessionsOfDifferentUsers(t *testing.T) {
	t.Parallel()
	sessions := map[string]*event.Session{
		"1": {ID: "1", Attribution: event.AttributionExact, User: "alice"},
		"2": {ID: "2", Attribution: event.AttributionExact, User: "bob"},
		"3": {ID: "3", Attribution: event.AttributionNone},
	}
	in := func(ids ...string) *event.Detection {
		d := &event.Detection{}
		for _, id := range ids {
			d.Events = append(d.Events, &event.Event{Process: &event.Process{}, Session: sessions[id]})
		}
		return d
	}
	known := func(id string) *event.Session { return sessions[id] }
	if _, why, open := Person(in("1", "3", "2"), known); why == "" || open {
		t.Errorf("of two users: %q, %v", why, open)
	}
	if _, why, open := Person(in("1", "3", "1"), known); why == "" || !open {
		t.Errorf("while one is not certain: %q, %v", why, open)
	}
}
