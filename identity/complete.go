package identity

import (
	"slices"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// credentialGrace is how long after its pod's end a token may still be seen: API
// servers remember a validated token for a while.
const credentialGrace = time.Minute

// Complete fills in what is known of the pods in an event: of telemetry the pod and the
// container's name, of an audit event the caller's and the target's pods at
// the event's time. It must be called before the event is shared.
//
// Of telemetry, e.Pod.Node is the node that reported it. Nobody may use an event that is
// Foreign: it says of a pod what only another node can know. A Hold drops it.
func (r *Resolver) Complete(e *event.Event) Outcome {
	if e.Audit != nil {
		r.completeAudit(e.Audit, e.Time)
		return Completed
	}
	if e.Pod.UID == "" {
		return Completed
	}
	outcome := r.completeTelemetry(e)
	switch outcome {
	case Completed:
		r.metrics.count(sideTelemetry, e.Pod.Confidence)
	case PodUnknown:
		r.metrics.count(sideTelemetry, event.Unknown)
	case Foreign:
		r.metrics.foreign.Inc()
		r.foreign.warn(r.opts.Logger, e.Pod, r.opts.Now())
	}
	return outcome
}

// Outcome is what Complete made of an event.
type Outcome uint8

const (
	// Completed means that what is known of its pods is in the event.
	Completed Outcome = iota
	// PodUnknown means that it is telemetry of a pod that is not known (yet), or of which it is not
	// known (yet) where it runs; the only case in which waiting can help. The event is unchanged.
	PodUnknown
	// Foreign means that it is telemetry of a pod of another node than the one that
	// reported it. The event is unchanged.
	Foreign
)

// completeTelemetry does not count, because a Hold tries several times.
func (r *Resolver) completeTelemetry(e *event.Event) Outcome {
	r.mu.RLock()
	defer r.mu.RUnlock()
	found, foreign := r.history.inCgroup(e.Pod.UID, e.Pod.Node, e.Time)
	switch {
	case foreign:
		return Foreign
	case len(found) == 0:
		return PodUnknown
	case len(found) == 1:
		e.Pod = found[0].pod
		completeContainer(e.Container, found[0])
	default:
		e.Pod = oneOf(found, e.Pod, event.Exact)
	}
	return Completed
}

func completeContainer(c *event.Container, r *record) {
	if c == nil {
		return
	}
	if known, ok := r.containers[c.ID]; ok {
		c.Name, c.Image, c.Privileged = known.name, known.image, known.privileged
	}
}

func (r *Resolver) completeAudit(a *event.Audit, t time.Time) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if !a.Caller.IsZero() {
		a.Caller = r.claimed(a.Caller, t)
		r.metrics.count(sideCaller, a.Caller.Confidence)
	}
	if !a.Target.IsZero() {
		a.Target = r.claimed(a.Target, t)
		r.metrics.count(sideTarget, a.Target.Confidence)
	}
}

// claimed holds what an audit event says of a pod against what is known. The
// package comment tells the reasons.
func (r *Resolver) claimed(p event.Pod, t time.Time) event.Pod {
	if p.UID == "" {
		return r.history.at(p.Namespace, p.Name, t)
	}
	rec, known := r.history.pods[p.UID]
	if known && lived(rec, p, t, r.opts.Tolerance) {
		return rec.pod
	}
	named := r.history.at(p.Namespace, p.Name, t)
	if !known && named.Confidence == event.Unknown {
		p.Confidence = event.Exact
		return p
	}
	r.metrics.contradicted.Inc()
	return contradiction(p, named)
}

// lived reports whether the claim agrees with the record.
func lived(rec *record, claim event.Pod, t time.Time, tolerance time.Duration) bool {
	if claim.Name != "" && claim.Name != rec.pod.Name ||
		claim.Namespace != "" && claim.Namespace != rec.pod.Namespace {
		return false
	}
	return rec.begun(t, tolerance) && !rec.over(t, tolerance+credentialGrace)
}

// contradiction keeps the claimed UID beside those that the name had.
func contradiction(claim, named event.Pod) event.Pod {
	claim.Confidence = event.Ambiguous
	claim.Candidates = []string{claim.UID}
	others := named.Candidates
	if named.UID != "" {
		others = []string{named.UID}
	}
	for _, uid := range others {
		if !slices.Contains(claim.Candidates, uid) {
			claim.Candidates = append(claim.Candidates, uid)
		}
	}
	return claim
}
