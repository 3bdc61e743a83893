package app

import (
	"context"
	"log/slog"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/quarantine"
	"github.com/portcullis-dev/portcullis/rule"
)

// quarantiner puts subjects into quarantine, or tells that it would have.
type quarantiner interface {
	Quarantine(ctx context.Context, d *event.Detection, spec quarantine.Spec) (quarantine.Outcome, error)
	WouldQuarantine(d *event.Detection, spec quarantine.Spec)
}

// notifier takes detections for the outside.
type notifier interface {
	Send(d *event.Detection)
}

// ruleSource has the rules that are in force.
type ruleSource interface {
	Rules() *rule.Set
}

// responder does what a detection asks for: first what protects, then what tells.
type responder struct {
	rules      ruleSource
	quarantine quarantiner
	notify     notifier
	logger     *slog.Logger
}

// Handle carries out one detection's consequence. It waits for nobody: the
// quarantine is in force when it returns, all else goes on in the background.
func (r *responder) Handle(ctx context.Context, d *event.Detection) {
	r.act(ctx, d)
	r.logger.Info("detection", "rule", d.Rule.Name, "id", d.ID, "pod", d.Pod.String(), "user", d.User,
		"action", string(d.Action), "why", d.Why)
	r.notify.Send(d)
}

func (r *responder) act(ctx context.Context, d *event.Detection) {
	spec, ok := r.spec(d)
	if !ok {
		if d.Action != event.ActionNone { // The rule was changed while the detection was on its way.
			d.Action, d.Why = event.ActionNone, "the rule is no longer there, or no longer asks for it"
		}
		return
	}
	switch d.Action {
	case event.ActionWouldQuarantine:
		r.quarantine.WouldQuarantine(d, spec)
	case event.ActionQuarantine:
		outcome, err := r.quarantine.Quarantine(ctx, d, spec)
		if err != nil {
			// What is not in force must not be told as if it were.
			d.Action, d.Why = event.ActionNone, "the quarantine failed: "+err.Error()
			r.logger.Error("quarantine failed", "error", err, "rule", d.Rule.Name, "id", d.ID)
			return
		}
		if outcome == quarantine.OutcomeReleased {
			d.Action, d.Why = event.ActionNone, "somebody has released what this detection led to, or it has expired"
		}
	case event.ActionNone:
	}
}

// spec is the response that the detection's rule asks for, if any.
func (r *responder) spec(d *event.Detection) (quarantine.Spec, bool) {
	found := r.rules.Rules().Get(d.Rule.Name)
	if found == nil || found.Response == nil || found.Response.Quarantine == nil {
		return quarantine.Spec{}, false
	}
	asked := found.Response.Quarantine
	kind := v1alpha1.SubjectPod
	if asked.Subject == rule.SubjectUser {
		kind = v1alpha1.SubjectUser
	}
	return quarantine.Spec{Subject: kind, TTL: asked.Duration}, true
}
