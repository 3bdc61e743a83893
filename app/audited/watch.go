// Package audited learns from the audit stream what became of quarantines elsewhere: the API server itself refuses requests by its
// policy, before the webhook is asked; people delete Quarantines with kubectl; and somebody in quarantine
// acts as somebody else, which admission cannot see.
//
// All of it is late, by as much as the audit stream is, and a delivery that comes twice is told once.
package audited

import (
	"context"
	"fmt"
	"time"

	"github.com/portcullis-dev/portcullis/app/admission"
	"github.com/portcullis-dev/portcullis/app/ending"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/quarantine"
	"github.com/portcullis-dev/portcullis/webhook"
	"github.com/portcullis-dev/portcullis/webhook/policy"
)

// The stages of a request at which something is learned: the last one, and the one at which a stream begins.
const (
	stageStarted  = "ResponseStarted"
	stageComplete = "ResponseComplete"
)

// Gate tells of requests that were refused elsewhere, and knows who is refused. *quarantine.Gate is one.
type Gate interface {
	Refused(r quarantine.Request, quarantine string) quarantine.Verdict
	Stands(r quarantine.Request) *quarantine.Entry
}

// Releases hears who ended quarantines. *quarantine.Manager is one.
type Releases interface {
	Released(object, by string, at time.Time)
}

// Killer ends sessions. *ending.Killer is one.
type Killer interface {
	EndSession(o ending.Order)
}

// Ingester takes events.
type Ingester interface {
	Ingest(ctx context.Context, events []*event.Event) error
}

// Options are what a Watch needs. All are required.
type Options struct {
	Next     Ingester
	Gate     Gate
	Releases Releases
	Killer   Killer
	// Self is the server's own user: what it deletes itself, nobody has released.
	Self func() string
}

// Watch looks at events on their way.
type Watch struct{ Options }

// New makes a Watch.
func New(o Options) *Watch { return &Watch{o} }

// Ingest implements Ingester. What is not taken comes again, and is looked at then.
func (w *Watch) Ingest(ctx context.Context, events []*event.Event) error {
	if err := w.Next.Ingest(ctx, events); err != nil {
		return err
	}
	for _, e := range events {
		if e.Audit != nil {
			w.look(e)
		}
	}
	return nil
}

func (w *Watch) look(e *event.Event) {
	a := e.Audit
	switch ref := &a.ObjectRef; {
	case ref.APIGroup == "portcullis.dev":
		if ref.Resource == "quarantines" && ref.Subresource == "" && a.Verb == "delete" && a.Stage == stageComplete && a.Code >= 200 && a.Code < 300 &&
			a.User.Username != w.Self() {
			w.Releases.Released(ref.Name, a.User.Username, e.Time)
		}
	case ref.APIGroup == "" && ref.Subresource != "":
		w.door(e)
	}
}

// door looks at a request of one of the doors.
func (w *Watch) door(e *event.Event) {
	a := e.Audit
	by, breakGlass := policy.Decided(a.Annotations)
	refused := by != "" && breakGlass == "" && a.Code == 403
	impersonates := a.ImpersonatedUser != nil && (a.Stage == stageStarted || a.Stage == stageComplete) && a.Code < 400
	if by == "" && !impersonates {
		return
	}
	r, ok := webhook.OfEvent(e)
	if !ok {
		return
	}
	if refused && a.Stage == stageComplete {
		w.Gate.Refused(requestOf(&r, e.Time), by)
	}
	if impersonates {
		w.impersonated(e, &r)
	}
}

// impersonated ends the session of somebody in quarantine who asked for it as somebody else.
func (w *Watch) impersonated(e *event.Event, r *webhook.Request) {
	asked, user := requestOf(r, e.Time), &e.Audit.User
	asked.User, asked.Groups, asked.Credentials, asked.CallerPod = user.Username, user.Groups, user.Extra[event.ExtraCredentialID], event.CallerOf(user).UID
	entry := w.Gate.Stands(asked)
	if entry == nil {
		return
	}
	session := r.Session
	if e.Session != nil && e.Session.ID != "" {
		session = e.Session.ID
	}
	if session == "" {
		return
	}
	w.Killer.EndSession(ending.Order{
		Session: session, By: "quarantine " + entry.Name, Since: e.Received,
		Why: fmt.Sprintf("its user is in quarantine and acted as somebody else (quarantine %s)", entry.Name),
	})
}

// requestOf is the request as the quarantines know it, of that time.
func requestOf(r *webhook.Request, at time.Time) quarantine.Request {
	asked := admission.RequestOf(r)
	asked.At = at
	return asked
}
