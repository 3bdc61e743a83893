package correlator

import (
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
)

const execQuery = `any where kubernetes.audit.objectRef.subresource == "exec" and kubernetes.audit.verb == "create"`

// inSession is a request with the annotation that the webhook leaves in its audit event.
func inSession(e *event.Event, session string) *event.Event {
	return edit(e, func(e *event.Event) { e.Audit.Annotations = map[string]string{event.AnnotationSession: session} })
}

// atAdmission are the forms of an exec request at admission, which does not tell the verb.
func atAdmission(session string) []*event.Event {
	return []*event.Event{
		inSession(execRequest(cart(), 0, "get", "ResponseStarted", "command=id"), session),
		inSession(execRequest(cart(), 0, "create", "ResponseStarted", "command=id"), session),
	}
}

func TestRulesThatDenyAreAskedAtAdmission(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		query, extra string
		want         []event.Action
	}{
		"observed":            {execQuery, "  response: {deny: true}", []event.Action{event.ActionWouldDeny}},
		"enforced":            {execQuery, "  response: {deny: true}\n  mode: enforce", []event.Action{event.ActionDeny}},
		"and quarantined":     {execQuery, "  response: {deny: true, quarantine: {subject: pod, duration: 1h}}\n  mode: enforce", []event.Action{event.ActionQuarantine}},
		"only quarantined":    {execQuery, "  response: {quarantine: {subject: pod, duration: 1h}}\n  mode: enforce", nil},
		"excepted":            {execQuery, "  response: {deny: true}\n  exceptions: [{name: a, reason: b, where: 'true'}]", nil},
		"not what is asked":   {`any where kubernetes.audit.objectRef.subresource == "log"`, "  response: {deny: true}", nil},
		"what is never there": {`any where kubernetes.audit.verb == "list"`, "  response: {deny: true}", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			schema := field.New()
			h := newHarness(t, schema, ruleSet(t, schema, ruleText("no-exec", row.query, row.extra)), nil)
			found := h.Review(atAdmission("s-1"))
			if len(found) != len(row.want) {
				t.Fatalf("%d detections, want %d", len(found), len(row.want))
			}
			for i, d := range found {
				if d.Action != row.want[i] || d.State != event.Final || d.User == "" {
					t.Errorf("action %s, state %s, user %q, why %q", d.Action, d.State, d.User, d.Why)
				}
			}
		})
	}
}

// The request's audit event comes seconds later, with the session that admission had. It is the same detection.
func TestADetectionAtAdmissionIsThatOfTheAuditEvent(t *testing.T) {
	t.Parallel()
	schema := field.New()
	set := ruleSet(t, schema, ruleText("no-exec", execQuery, "  response: {deny: true}\n  mode: enforce"))
	known := map[string]bool{}
	h := newHarness(t, schema, set, func(o *Options) { o.Known = func(id string) bool { return known[id] } })
	for _, d := range h.Review(atAdmission("s-1")) {
		known[d.ID] = true
	}
	event := func(session string, at time.Duration) *event.Event {
		return inSession(execRequest(cart(), at, "create", "ResponseComplete", "command=id"), session)
	}
	h.feed(t, event("s-1", time.Second))
	if n := len(h.recorder.all); len(known) != 1 || n != 0 {
		t.Fatalf("%d detections at admission, %d of its audit event", len(known), n)
	}
	h.feed(t, event("s-2", 2*time.Second), event("s-2", 3*time.Second))
	if n := len(h.recorder.all); n != 1 {
		t.Fatalf("%d detections of a request that was not judged, want 1", n)
	}
	if d := h.recorder.all[0]; d.Action != "none" || d.Why == "" {
		t.Errorf("it was too late to refuse it: action %s, why %q", d.Action, d.Why)
	}
}

func TestEnforcementIsAskedForEachDetection(t *testing.T) {
	t.Parallel()
	schema := field.New()
	set := ruleSet(t, schema, ruleText("no-exec", execQuery, "  response: {killSession: true}\n  mode: enforce"))
	h := newHarness(t, schema, set, func(o *Options) {
		o.Enforce = func(r *rule.Rule, d *event.Detection) (bool, string) {
			return r.Mode == rule.Enforce && d.Pod.Namespace != cart().Namespace, "not in this namespace"
		}
	})
	h.feed(t, execRequest(cart(), 0, "create", "ResponseComplete", "command=id"), execRequest(elsewhere(), time.Second, "create", "ResponseComplete", "command=id"))
	got := make([]event.Action, 0, len(h.recorder.all))
	for _, d := range h.recorder.all {
		got = append(got, d.Action)
	}
	if len(got) != 2 || got[0] != event.ActionWouldKillSession || got[1] != event.ActionKillSession {
		t.Errorf("actions %v", got)
	}
}
