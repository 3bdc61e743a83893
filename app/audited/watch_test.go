package audited

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/app/ending"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/quarantine"
)

// listener hears what a Watch has learned.
type listener struct {
	err      error
	stands   string // who is in quarantine
	refused  []quarantine.Request
	by       []string
	released []string
	orders   []ending.Order
}

func (l *listener) Ingest(context.Context, []*event.Event) error { return l.err }

func (l *listener) Refused(r quarantine.Request, name string) quarantine.Verdict {
	l.refused, l.by = append(l.refused, r), append(l.by, name)
	return quarantine.Verdict{}
}

func (l *listener) Stands(r quarantine.Request) *quarantine.Entry {
	if r.User != l.stands {
		return nil
	}
	return &quarantine.Entry{Name: "user-1"}
}

func (l *listener) Released(object, by string, _ time.Time) {
	l.released = append(l.released, object+" by "+by)
}

func (l *listener) EndSession(o ending.Order) { l.orders = append(l.orders, o) }

func (l *listener) hear(t *testing.T, events ...*event.Event) {
	t.Helper()
	w := New(Options{Next: l, Gate: l, Releases: l, Killer: l, Self: func() string { return "portcullis" }})
	if err := w.Ingest(t.Context(), events); !errors.Is(err, l.err) {
		t.Fatal(err)
	}
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// exec is alice's request, as she authenticated.
func exec(stage string, code int32, change func(*event.Audit)) *event.Event {
	a := &event.Audit{
		Stage: stage, Verb: "get", Code: code, User: event.AuditUser{Username: "alice", Groups: []string{"devs"}},
		RequestURI:  "/api/v1/namespaces/shop/pods/web-0/exec?command=sh&command=-i&container=main&tty=true",
		ObjectRef:   event.ObjectRef{Resource: "pods", Subresource: "exec", Namespace: "shop", Name: "web-0"},
		Annotations: map[string]string{},
	}
	if change != nil {
		change(a)
	}
	return &event.Event{Kind: event.KindAudit, Time: noon, Audit: a}
}

func refusedByPolicy(a *event.Audit) {
	a.Annotations["portcullis-quarantine/quarantine"] = "pod-1, node-2"
}

func TestWhatThePolicyRefusedIsTold(t *testing.T) {
	t.Parallel()
	l := &listener{}
	l.hear(t, exec("ResponseComplete", 403, refusedByPolicy))
	want := []quarantine.Request{{
		Door: "exec", Resource: "pods", Namespace: "shop", Pod: "web-0", Container: "main", Command: []string{"sh", "-i"},
		User: "alice", Groups: []string{"devs"}, At: noon,
	}}
	if diff := cmp.Diff(want, l.refused); diff != "" || !slices.Equal(l.by, []string{"pod-1"}) {
		t.Errorf("by %q:\n%s", l.by, diff)
	}
}

func TestWhatIsNoRefusalIsNotTold(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]*event.Event{
		"allowed":     exec("ResponseComplete", 101, nil),
		"begun":       exec("ResponseStarted", 403, refusedByPolicy),
		"for others":  exec("ResponseComplete", 403, nil),
		"break-glass": exec("ResponseStarted", 101, func(a *event.Audit) { refusedByPolicy(a); a.Annotations["portcullis-quarantine/break-glass"] = "g" }),
		"no door":     exec("ResponseComplete", 403, func(a *event.Audit) { refusedByPolicy(a); a.ObjectRef.Subresource = "log" }),
	} {
		l := &listener{}
		if l.hear(t, e); len(l.refused) > 0 {
			t.Errorf("%s: %+v", name, l.refused)
		}
	}
	l := &listener{err: errors.New("full")}
	if l.hear(t, exec("ResponseComplete", 403, refusedByPolicy)); len(l.refused) > 0 {
		t.Error("what was not taken comes again, and is told then")
	}
}

// TestWhoReleased: people are told, and the server's own clearing up is not.
func TestWhoReleased(t *testing.T) {
	t.Parallel()
	deletion := func(user, verb string, code int32) *event.Event {
		return &event.Event{Kind: event.KindAudit, Time: noon, Audit: &event.Audit{
			Stage: "ResponseComplete", Verb: verb, Code: code, User: event.AuditUser{Username: user},
			ObjectRef: event.ObjectRef{APIGroup: "portcullis.dev", Resource: "quarantines", Name: "pod-1"},
		}}
	}
	l := &listener{}
	l.hear(t, deletion("bob", "delete", 200), deletion("bob", "delete", 404), deletion("bob", "get", 200), deletion("portcullis", "delete", 200))
	if !slices.Equal(l.released, []string{"pod-1 by bob"}) {
		t.Errorf("released %q", l.released)
	}
}

// Admission saw bob, and let bob in. It was alice, who is in quarantine.
func TestWhoActsAsSomebodyElseIsFound(t *testing.T) {
	t.Parallel()
	asBob := func(a *event.Audit) {
		a.ImpersonatedUser = &event.AuditUser{Username: "bob"}
		a.Annotations[event.AnnotationSession] = "s-1"
	}
	l := &listener{stands: "alice"}
	l.hear(t, exec("ResponseStarted", 101, asBob))
	if len(l.orders) != 1 || l.orders[0].Session != "s-1" || l.orders[0].By != "quarantine user-1" {
		t.Errorf("orders %+v", l.orders)
	}
	for name, e := range map[string]*event.Event{
		"as herself": exec("ResponseStarted", 101, nil),
		"refused":    exec("ResponseComplete", 403, asBob),
	} {
		other := &listener{stands: "alice"}
		if other.hear(t, e); len(other.orders) > 0 {
			t.Errorf("%s: %+v", name, other.orders)
		}
	}
	l = &listener{stands: "bob"}
	if l.hear(t, exec("ResponseStarted", 101, asBob)); len(l.orders) > 0 {
		t.Error("bob's own quarantine is admission's to judge")
	}
}
