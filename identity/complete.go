package identity

import (
	"slices"
	"strings"
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
		r.completeAudit(e, false)
		return Completed
	}
	if e.Pod.UID == "" {
		return Completed
	}
	outcome := r.completeTelemetry(e)
	switch outcome {
	case Completed:
		r.metrics.count(sideTelemetry, e.Pod.Confidence)
	case ContainerUnknown:
		r.metrics.count(sideTelemetry, e.Pod.Confidence)
		r.metrics.nameless.Inc()
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
	// known (yet) where it runs. The event is unchanged.
	PodUnknown
	// ContainerUnknown means that it is telemetry of a container that its pod's status does not name
	// (yet). The pod is in the event, the container's name is not: it may be any of the pod's
	// containers, a nested one, or the sandbox.
	ContainerUnknown
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
		return completeContainer(e.Container, found[0])
	default:
		e.Pod = oneOf(found, e.Pod, event.Exact)
		return Completed
	}
}

func completeContainer(c *event.Container, r *record) Outcome {
	if c == nil || c.ID == "" {
		return Completed
	}
	known, ok := r.containers[c.ID]
	if !ok {
		return ContainerUnknown
	}
	c.Name, c.Image, c.Privileged = known.name, known.image, known.privileged
	return Completed
}

// wanting completes the event as far as that is possible now, an audit event not at all. It reports whether waiting
// can help.
func (r *Resolver) wanting(e *event.Event) bool {
	if e.Audit == nil {
		return e.Pod.UID != "" && r.mayLearn(e, r.completeTelemetry(e))
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.callerWanting(e)
}

// mayLearn reports whether waiting can help telemetry with that outcome: a pod's status still changes
// while the pod lives, and names a container within seconds.
func (r *Resolver) mayLearn(e *event.Event, outcome Outcome) bool {
	if outcome != ContainerUnknown {
		return outcome == PodUnknown
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	rec, ok := r.history.pods[e.Pod.UID]
	if !ok || !rec.removed.IsZero() || r.opts.Now().Sub(e.Time) > statusLag {
		return false
	}
	_, inVain := rec.nameless[e.Container.ID]
	return !inVain
}

// statusLag is how long after a container's start its status has surely reached the API.
const statusLag = time.Minute

// giveUp notes that a container was waited for in vain. A nested one's status never comes: whoever runs
// such must not have all its telemetry late.
func (r *Resolver) giveUp(e *event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec, ok := r.history.pods[e.Pod.UID]
	if !ok || !rec.removed.IsZero() || e.Container == nil || len(e.Container.ID) > maxID {
		return
	}
	if rec.nameless == nil || len(rec.nameless) >= maxContainers {
		rec.nameless = make(map[string]struct{})
	}
	rec.nameless[e.Container.ID] = struct{}{}
}

// maxWaitingRequest is how many bytes a request has at most that waits for its caller to become known: what
// waits is stored, and kept in memory.
const maxWaitingRequest = 16 << 10

// maxStrangers bounds the callers that were waited for in vain.
const maxStrangers = 4096

// completeAudit completes a request, unless it is patient and the request's caller may become known soon: then it
// changes nothing, and reports that the request waits.
func (r *Resolver) completeAudit(e *event.Event, patient bool) (waits bool) {
	a, tolerance := e.Audit, r.opts.Tolerance+e.Clock.Tolerance
	r.mu.RLock()
	defer r.mu.RUnlock()
	if patient && r.callerWanting(e) {
		return true
	}
	if !a.Caller.IsZero() {
		a.Caller = r.claimed(a.Caller, e.Time, tolerance)
		r.metrics.count(sideCaller, a.Caller.Confidence)
	}
	if !a.Target.IsZero() {
		a.Target = r.claimed(a.Target, e.Time, tolerance)
		r.metrics.count(sideTarget, a.Target.Confidence)
	}
	return false
}

// callerWanting reports whether a request was made by a pod that the watch may not have told of yet: a new pod's
// first request is often faster, and would be held against its predecessor of the same name. The caller has the lock.
func (r *Resolver) callerWanting(e *event.Event) bool {
	uid := e.Audit.Caller.UID
	if uid == "" {
		return false
	}
	if _, known := r.history.pods[uid]; known || len(uid) > maxID || len(e.Delivered) > maxWaitingRequest {
		return false
	}
	_, inVain := r.strangers[uid]
	return !inVain && e.Time.Add(r.opts.Tolerance+e.Clock.Tolerance).After(r.history.told)
}

// giveUpCaller notes that a caller was waited for in vain. An authenticator may bind credentials to pods of
// another cluster, whose requests must not be late for ever.
func (r *Resolver) giveUpCaller(uid string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.history.pods[uid]; known {
		return
	}
	if r.strangers == nil || len(r.strangers) >= maxStrangers {
		r.strangers = make(map[string]struct{})
	}
	r.strangers[strings.Clone(uid)] = struct{}{}
}

// claimed holds what an audit event says of a pod against what is known. The
// package comment tells the reasons.
func (r *Resolver) claimed(p event.Pod, t time.Time, tolerance time.Duration) event.Pod {
	h := r.history
	if p.UID == "" {
		return h.at(p.Namespace, p.Name, t, tolerance)
	}
	rec, known := h.pods[p.UID]
	if known && h.lived(rec, p, t, tolerance) {
		return rec.pod
	}
	named := h.at(p.Namespace, p.Name, t, tolerance)
	if !known && named.Confidence == event.Unknown && (t.After(h.told) || h.unknown(t, tolerance)) {
		p.Confidence = event.Exact
		return p
	}
	r.metrics.contradicted.Inc()
	return contradiction(p, named)
}

// lived reports whether the claim agrees with the record.
func (h *history) lived(rec *record, claim event.Pod, t time.Time, tolerance time.Duration) bool {
	if claim.Name != "" && claim.Name != rec.pod.Name ||
		claim.Namespace != "" && claim.Namespace != rec.pod.Namespace {
		return false
	}
	return h.begun(rec, t, tolerance) && !isOver(h.end(rec), t, tolerance+credentialGrace)
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
