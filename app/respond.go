package app

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/app/ending"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/notify"
	"github.com/portcullis-dev/portcullis/quarantine"
	"github.com/portcullis-dev/portcullis/record"
	"github.com/portcullis-dev/portcullis/rule"
)

// quarantiner puts subjects into quarantine, or tells that it would have.
type quarantiner interface {
	Quarantine(ctx context.Context, d *event.Detection, spec quarantine.Spec) (quarantine.Outcome, error)
	WouldQuarantine(d *event.Detection, spec quarantine.Spec)
}

// notifier takes detections for the outside. An error says that what it took may not
// outlive the process.
type notifier interface {
	Send(ctx context.Context, d *event.Detection, led ...notify.Quarantine) error
	// Unstored is how much of that is still to be stored.
	Unstored() int
}

// ruleSource has the rules that are in force.
type ruleSource interface {
	Rules() *rule.Set
}

// sessionKeeper keeps the sessions that detections are about.
type sessionKeeper interface {
	Detected(d *event.Detection)
}

// sessionKiller ends the sessions that a detection is about, and others within reach.
type sessionKiller interface {
	End(d *event.Detection, reach ending.Reach)
}

// announcer tells people of responses that are no quarantine.
type announcer interface {
	RuleDenied(d *event.Detection)
	WouldDeny(d *event.Detection)
	WouldKillSession(d *event.Detection)
}

// maxNoted bounds what a responder notes of single detections for as long as the process lives.
const maxNoted = 16384

// responder does what a detection asks for, in this order:
//
//  1. the record says that something is being done,
//  2. the subjects are in quarantine, and the objects on their way to the cluster,
//  3. those who are to be told have it in their queues, which are stored,
//  4. the record says that all was done, once the objects are in the cluster too.
//
// Whatever is interrupted between any two is done again, from the beginning, when the detection is
// found again after the restart. Doing a step twice is doing it once: the record knows which quarantines
// were in the cluster or have ended, an object's name is made from its subject, and
// what waits in a queue is not put there again.
//
// A detection comes again when its state changes. It is told again where that is
// news, and never acted on a second time.
type responder struct {
	rules      ruleSource
	quarantine quarantiner
	sessions   sessionKeeper
	killer     sessionKiller
	announcer  announcer
	record     *record.Book
	notify     notifier
	// unattributed has the detections of which it is not certain yet whom to quarantine, enforce decides about them then.
	unattributed interface{ add(d *event.Detection) }
	enforce      func(r *rule.Rule, d *event.Detection) (bool, string)
	clock        func() time.Time
	logger       *slog.Logger

	// mutex is held by whoever handles a detection, or settles.
	mutex sync.Mutex
	// unstored are the changes that were told, by a notifier that could not store them yet: until it
	// has, the record must not say so, and they are not to be told twice.
	unstored map[string]change
	// heard are the superseded detections of which something was heard since the start.
	heard map[string]bool
}

// Handle carries out one detection's consequence. It waits for the disk a
// moment at most, and for nobody else: the quarantine is in force when it returns,
// all else goes on in the background.
func (r *responder) Handle(ctx context.Context, d *event.Detection) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	before, _ := r.record.Get(d.ID)
	own := *d // The caller's is the caller's.
	r.sessions.Detected(&own)
	c := changeOf(&own)
	if r.isHistory(d.ID, &before, c) {
		c.state, c.by = before.State, before.SupersededBy
	}
	own.State, own.SupersededBy = c.state, c.by
	if own.State != event.Superseded && (before.Action == event.ActionAwaitUser || before.Begun.IsZero() && own.Action == event.ActionAwaitUser) {
		r.unattributed.add(&own)
	}
	news := c.isNews(r.told(d.ID, before))
	if !news && before.Settled() {
		r.record.Note(d.ID, c.apply)
		return
	}
	r.begin(ctx, &own, c, news)
	now := r.act(ctx, &own, &before)
	if news {
		r.tell(ctx, &own, now, c)
	}
}

// decided carries out the consequence of a detection that had to wait until it was certain whom it concerns: a user, or nobody, and
// then why. It is told again, as what is done about it is news.
func (r *responder) decided(ctx context.Context, d *event.Detection, user, why string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	before, _ := r.record.Get(d.ID)
	if before.Action != event.ActionAwaitUser || before.State == event.Superseded {
		return
	}
	own := *d
	own.State, own.SupersededBy, own.Action, own.Why = before.State, before.SupersededBy, event.ActionNone, why
	if found := r.rules.Rules().Get(own.Rule.Name); user != "" && found != nil {
		var enforced bool
		own.User = user
		own.Action = event.ActionWouldQuarantine
		if enforced, own.Why = r.enforce(found, &own); enforced {
			own.Action = event.ActionQuarantine
		}
	}
	r.record.Change(ctx, own.ID, func(rec *record.Record) {
		rec.Action, rec.Why, rec.Told = own.Action, own.Why, 0
		if own.Action == event.ActionQuarantine {
			rec.Quarantines = r.quarantines(&own, rec)
		}
	})
	r.sessions.Detected(&own)
	before, _ = r.record.Get(own.ID)
	now := r.act(ctx, &own, &before)
	r.tell(ctx, &own, now, changeOf(&own))
}

// isHistory reports whether a change is only how it came to what is recorded, over again
// after a restart. A final decision stands. A superseded detection may be reinstated, but not before
// it was heard to be superseded.
func (r *responder) isHistory(id string, before *record.Record, c change) bool {
	switch {
	case before.State == event.Final:
		return c.state != event.Final
	case before.State != event.Superseded && c.state != event.Superseded:
		return false
	}
	first := !r.heard[id]
	r.heard = noted(r.heard, id, true)
	return first && before.State == event.Superseded && c.state == event.Provisional
}

// noted adds to a map that must not grow without bound.
func noted[V any](m map[string]V, id string, value V) map[string]V {
	if m == nil || len(m) >= maxNoted {
		m = map[string]V{}
	}
	m[id] = value
	return m
}

// told is the record with what people were told, where that could not be recorded.
func (r *responder) told(id string, rec record.Record) *record.Record {
	if c, ok := r.unstored[id]; ok {
		c.apply(&rec)
		rec.Told = c.print
	}
	return &rec
}

// begin records what is going to be done.
func (r *responder) begin(ctx context.Context, d *event.Detection, c change, news bool) {
	r.record.Change(ctx, d.ID, func(rec *record.Record) {
		c.apply(rec)
		if news {
			rec.Told = 0
		}
		if !rec.Begun.IsZero() {
			return
		}
		rec.Begun, rec.Rule, rec.Action, rec.Why = r.clock(), d.Rule.Name, d.Action, d.Why
		if d.Action == event.ActionQuarantine {
			rec.Quarantines = r.quarantines(d, rec)
		}
	})
}

// quarantines are those that the detection leads to. What is known of them stays: they
// may have ended before anything else was recorded of the detection.
func (r *responder) quarantines(d *event.Detection, rec *record.Record) []record.Quarantine {
	known := rec.Quarantines
	spec, _ := r.spec(d)
	subjects, err := quarantine.Subjects(d, spec)
	if err != nil {
		return known // The attempt will say so.
	}
	out := make([]record.Quarantine, 0, len(subjects))
	for _, s := range subjects {
		q := record.Quarantine{Object: quarantine.ObjectName(s), Whom: s.Name, Expires: spec.Expires(rec.Begun)}
		if s.Namespace != "" {
			q.Whom = s.Namespace + "/" + s.Name
		}
		for _, k := range known {
			if k.Object == q.Object {
				q.Written, q.Ended = k.Written, k.Ended
			}
		}
		out = append(out, q)
	}
	return out
}

// act carries out the consequence as far as that has not happened, and returns the record of it.
func (r *responder) act(ctx context.Context, d *event.Detection, before *record.Record) record.Record {
	if !before.Begun.IsZero() {
		d.Action, d.Why = before.Action, cmp.Or(before.Why, d.Why) // as decided at first
	}
	decided := d.Action
	d.Action, d.Why = r.consequence(ctx, d, before)
	return r.record.Note(d.ID, func(rec *record.Record) {
		if before.Begun.IsZero() || d.Action != decided {
			rec.Action, rec.Why = d.Action, d.Why
		}
		if d.Action != event.ActionQuarantine { // What is not there by now never comes.
			rec.Quarantines = slices.DeleteFunc(rec.Quarantines, func(q record.Quarantine) bool { return !q.Settled() })
		}
	})
}

// consequence does what is to be done, and returns what came of it. What was not told yet may not have been
// done either.
func (r *responder) consequence(ctx context.Context, d *event.Detection, before *record.Record) (event.Action, string) {
	untold := before.Told == 0
	if d.Action != event.ActionQuarantine && d.Action != event.ActionWouldQuarantine {
		if untold {
			r.respond(d)
		}
		return d.Action, d.Why
	}
	if untold && d.Action == event.ActionQuarantine && r.killsSession(d) {
		defer r.kill(d) // Once nobody else is let in.
	}
	spec, asked := r.spec(d)
	switch first := before.Begun.IsZero(); {
	case !asked && first: // The rule was changed while the detection was on its way.
		return event.ActionNone, "the rule is no longer there, or no longer asks for it"
	case !asked:
		return d.Action, d.Why
	case d.Action == event.ActionWouldQuarantine:
		if untold {
			r.quarantine.WouldQuarantine(d, spec)
		}
		return d.Action, d.Why
	case !first && (before.Settled() || !leadsTo(d, spec, before.Quarantines)):
		return d.Action, d.Why
	case !first:
		spec.Since = before.Begun
	}
	return r.impose(ctx, d, spec)
}

// respond carries out, or tells, what is no quarantine.
func (r *responder) respond(d *event.Detection) {
	switch d.Action {
	case event.ActionKillSession:
		r.kill(d)
	case event.ActionWouldKillSession:
		r.announcer.WouldKillSession(d)
	case event.ActionAwaitUser: // Its sessions need not wait.
		if r.killsSession(d) && r.enforces(d) {
			r.kill(d)
		}
	case event.ActionDeny: // The webhook refuses it.
		r.announcer.RuleDenied(d)
	case event.ActionWouldDeny:
		r.announcer.WouldDeny(d)
	case event.ActionNone, event.ActionQuarantine, event.ActionWouldQuarantine: // There is nothing to do, or it is done elsewhere.
	}
}

// kill ends the detection's sessions.
func (r *responder) kill(d *event.Detection) {
	spec, asked := r.spec(d)
	r.killer.End(d, ending.Reach{
		User: asked && spec.Subject == v1alpha1.SubjectUser,
		Shut: d.Action == event.ActionQuarantine && asked && spec.Subject == v1alpha1.SubjectPod && spec.Operations.Has("exec"),
	})
}

// killsSession reports whether the detection's rule asks for the end of its sessions.
func (r *responder) killsSession(d *event.Detection) bool {
	found := r.rules.Rules().Get(d.Rule.Name)
	return found != nil && found.Response != nil && found.Response.KillSession
}

// enforces reports whether the detection's rule may act at all, whomever it concerns.
func (r *responder) enforces(d *event.Detection) bool {
	anybody := *d
	anybody.User = ""
	found := r.rules.Rules().Get(d.Rule.Name)
	if found == nil {
		return false
	}
	enforced, _ := r.enforce(found, &anybody)
	return enforced
}

// leadsTo reports whether the detection's subjects are those that it was about at first: a
// late event can change that, and nobody is put into quarantine by it.
func leadsTo(d *event.Detection, spec quarantine.Spec, known []record.Quarantine) bool {
	subjects, err := quarantine.Subjects(d, spec)
	return err == nil && !slices.ContainsFunc(subjects, func(s v1alpha1.Subject) bool {
		return !slices.ContainsFunc(known, func(q record.Quarantine) bool { return q.Object == quarantine.ObjectName(s) })
	})
}

// impose puts the subjects into quarantine.
func (r *responder) impose(ctx context.Context, d *event.Detection, spec quarantine.Spec) (event.Action, string) {
	outcome, err := r.quarantine.Quarantine(ctx, d, spec)
	if err != nil {
		r.logger.Error("quarantine failed", "error", err, "rule", d.Rule.Name, "id", d.ID, "outcome", string(outcome))
	}
	switch {
	case err != nil && outcome == "":
		// What is not in force must not be told as if it were.
		return event.ActionNone, "the quarantine failed: " + err.Error()
	case err != nil:
		return d.Action, "not all candidates could be quarantined: " + err.Error()
	case outcome == quarantine.OutcomeReleased:
		return event.ActionNone, "somebody has released what this detection led to, or it has expired"
	}
	return d.Action, d.Why
}

// tell tells of the detection's state, with what it led to.
func (r *responder) tell(ctx context.Context, d *event.Detection, now record.Record, c change) {
	r.logger.Info("detection", "rule", d.Rule.Name, "id", d.ID, "state", string(d.State), "pod", d.Pod.String(), "user", d.User,
		"action", string(d.Action), "why", d.Why)
	led := make([]notify.Quarantine, 0, len(now.Quarantines))
	for _, q := range now.Quarantines {
		told := notify.Quarantine{Name: q.Object, Subject: q.Whom, Expires: q.Expires}
		if q.Ended != nil {
			told.Ended = q.Ended.Why
		}
		led = append(led, told)
	}
	if err := r.notify.Send(ctx, d, led...); err != nil {
		r.logger.Warn("detection is told, and would be told again if the process ended now", "error", err, "id", d.ID)
		r.unstored = noted(r.unstored, d.ID, c)
		return
	}
	delete(r.unstored, d.ID)
	r.record.Note(d.ID, func(rec *record.Record) { rec.Told = c.print })
}

// settleEvery is how often it is looked whether what could not be stored is stored by now.
const settleEvery = time.Second

// run keeps the record in step with what the notifier stores later, until ctx ends.
func (r *responder) run(ctx context.Context) error {
	ticker := time.NewTicker(settleEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			r.settle()
		}
	}
}

// settle records what was told, once the notifier has stored everything.
func (r *responder) settle() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if len(r.unstored) == 0 || r.notify.Unstored() > 0 {
		return
	}
	for id, c := range r.unstored {
		r.record.Note(id, func(rec *record.Record) { rec.Told = c.print })
	}
	clear(r.unstored)
}

// spec is the quarantine that the detection's rule asks for, if any.
func (r *responder) spec(d *event.Detection) (quarantine.Spec, bool) {
	found := r.rules.Rules().Get(d.Rule.Name)
	if found == nil {
		return quarantine.Spec{}, false
	}
	return specOf(found)
}

// specOf is the quarantine that a rule asks for, if any.
func specOf(r *rule.Rule) (quarantine.Spec, bool) {
	if r.Response == nil || r.Response.Quarantine == nil {
		return quarantine.Spec{}, false
	}
	asked := r.Response.Quarantine
	kind, known := quarantine.KindOf(string(asked.Subject))
	operations := make([]v1alpha1.Operation, 0, len(asked.Operations))
	for _, o := range asked.Operations {
		operations = append(operations, v1alpha1.Operation(o))
	}
	return quarantine.Spec{
		Subject: kind, Operations: quarantine.OperationsOf(operations...), TTL: asked.Duration, Ambiguous: asked.Ambiguous,
	}, known
}
