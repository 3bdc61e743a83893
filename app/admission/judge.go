package admission

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/barrier"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/quarantine"
	"github.com/portcullis-dev/portcullis/webhook"
)

// Quarantines judge by who is in quarantine. *quarantine.Gate is one.
type Quarantines interface {
	Exempts(r quarantine.Request) bool
	Passes(r quarantine.Request) (group string)
	Refuse(r quarantine.Request) (session string, repeat bool)
	Judge(ctx context.Context, r quarantine.Request) (quarantine.Verdict, error)
}

// Barrier waits until what happened at some places before the call is judged. *barrier.Barrier is one.
type Barrier interface {
	Wait(ctx context.Context, places ...barrier.Place) error
}

// Pods knows the pods that live. *identity.Resolver is one.
type Pods interface {
	Current(namespace, name string) (event.Pod, bool)
	// Pod is the pod with that UID.
	Pod(uid string) (event.Pod, bool)
}

// Rules evaluate those that deny. *correlator.Correlator is one.
type Rules interface {
	// Reviews reports whether there are any.
	Reviews() bool
	Review(forms []*event.Event) []*event.Detection
}

// Detections takes what rules conclude at admission.
type Detections interface {
	Handle(ctx context.Context, d *event.Detection)
}

// Review is a request with what became of it.
type Review struct {
	Request webhook.Request
	// Pod is what it reaches into, as far as that is known.
	Pod     event.Pod
	Time    time.Time
	Session string
	Allowed bool
	// Why is the message of a denial, or by which group somebody passed.
	Why string
}

// Options are what a Judge needs. All are required.
type Options struct {
	Quarantines Quarantines
	Barrier     Barrier
	// Waits reports whether anything could be denied because of what happened just now: nobody waits for nothing.
	Waits func() bool
	// BarrierClosed refuses where the barrier was not passed in time.
	BarrierClosed bool
	Pods          Pods
	Rules         Rules
	Detections    Detections
	// Judged hears of every review that was judged, before its answer.
	Judged func(Review)
	Now    func() time.Time
	Logger *slog.Logger
	// Registerer gets the metrics.
	Registerer prometheus.Registerer
}

// Judge is a webhook.Judge. It may be used from any goroutine.
type Judge struct {
	Options
	refused *prometheus.CounterVec
}

// New makes a Judge.
func New(o Options) (*Judge, error) {
	j := &Judge{Options: o, refused: prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "portcullis", Subsystem: "gate", Name: "rule_verdicts_total",
		Help: "Requests that a rule matched at admission, by what became of them; a person's action counts once, however often the client retries it.",
	}, []string{"outcome"})}
	for _, outcome := range []string{outcomeDenied, outcomeObserved, outcomeBreakGlass} {
		j.refused.WithLabelValues(outcome)
	}
	if err := o.Registerer.Register(j.refused); err != nil {
		return nil, fmt.Errorf("admission metrics: %w", err)
	}
	return j, nil
}

// The outcomes of rules at admission.
const (
	outcomeDenied     = "denied"
	outcomeObserved   = "observed"
	outcomeBreakGlass = "break-glass"
)

// BreakGlass begins a Review's Why where somebody passed by a break-glass group.
const BreakGlass = "break-glass: "

// The audit annotations of a verdict, beside those of package quarantine.
const (
	annotationBarrier    = "barrier"
	annotationRule       = "rule"
	annotationDetection  = "detection"
	annotationBreakGlass = "break-glass"
)

// Judge implements webhook.Judge.
func (j *Judge) Judge(ctx context.Context, r webhook.Request) (webhook.Verdict, error) {
	asked := RequestOf(&r)
	if j.Quarantines.Exempts(asked) {
		return webhook.Verdict{Allowed: true}, nil
	}
	now := j.Now()
	pod, err := j.wait(ctx, &r)
	var annotations map[string]string
	if err != nil {
		annotations = map[string]string{annotationBarrier: "failed"}
		if j.BarrierClosed {
			return j.answer(&r, pod, now, webhook.Verdict{
				Message: "Portcullis could not find out in time whether something stands against this request, and is set to refuse then (" +
					err.Error() + "). Try again in a moment.",
				Annotations: annotations,
			}, ""), nil
		}
	}
	v, err := j.Quarantines.Judge(ctx, asked)
	if err != nil {
		return webhook.Verdict{}, err
	}
	annotations = merged(annotations, v.Annotations())
	verdict := webhook.Verdict{Allowed: v.Allowed, Message: v.Message, Session: v.Session, Annotations: annotations}
	passedBy := v.BreakGlass
	if v.Allowed && !v.Exempt && j.Rules.Reviews() {
		passedBy = cmp.Or(passedBy, j.rules(ctx, &r, asked, pod, now, &verdict))
	}
	return j.answer(&r, pod, now, verdict, passedBy), nil
}

// merged is all of both.
func merged(a, b map[string]string) map[string]string {
	if len(a) == 0 {
		return b
	}
	maps.Copy(a, b)
	return a
}

// target is the pod that the request reaches into, as far as that is known.
func (j *Judge) target(r *webhook.Request) event.Pod {
	if r.Pod == "" {
		return event.Pod{Node: r.Node}
	}
	pod, known := j.Pods.Current(r.Namespace, r.Pod)
	if !known {
		pod = event.Pod{Namespace: r.Namespace, Name: r.Pod, UID: r.PodUID, Node: r.Node}
	}
	return pod
}

// wait waits for what happened just before, in the pod that the request reaches into, and in the one that asks. It returns the
// former, as it is known then.
func (j *Judge) wait(ctx context.Context, r *webhook.Request) (event.Pod, error) {
	pod := j.target(r)
	if !j.Waits() {
		return pod, nil
	}
	err := j.Barrier.Wait(ctx, j.places(r, pod)...)
	before := pod.UID
	if pod = j.target(r); err == nil && before != "" && pod.UID != before {
		err = j.Barrier.Wait(ctx, j.places(r, pod)...) // Meanwhile it became known that another pod has the name.
	}
	if err != nil {
		j.Logger.Warn("request is judged without what happened just before it", "session", r.Session, "refused", j.BarrierClosed, "err", err)
	}
	return pod, err
}

// places are where that can have happened.
func (j *Judge) places(r *webhook.Request, pod event.Pod) []barrier.Place {
	into := barrier.Place{Node: cmp.Or(pod.Node, r.Node), Pod: pod.UID, Namespace: r.Namespace, Name: r.Pod}
	if pod.Confidence < event.ByName {
		into.Pod = "" // The watch has not told of it: it is asked for.
	}
	if r.CallerPod == "" {
		return []barrier.Place{into}
	}
	caller, known := j.Pods.Pod(r.CallerPod)
	if !known { // Then where its token says. Of a request that impersonates that is a claim, which is only waited for.
		caller = event.CallerOf(&event.AuditUser{Extra: r.Extra})
	}
	return []barrier.Place{into, {Node: caller.Node, Pod: r.CallerPod}}
}

// rules has rules judge the request, and changes the verdict accordingly. It returns the group by which it passed.
func (j *Judge) rules(ctx context.Context, r *webhook.Request, asked quarantine.Request, pod event.Pod, now time.Time, v *webhook.Verdict) (passedBy string) {
	found := j.Rules.Review(forms(r, pod, r.Session, now))
	if len(found) == 0 {
		return ""
	}
	if v.Annotations == nil {
		v.Annotations = map[string]string{}
	}
	session, repeat := j.Quarantines.Refuse(asked)
	if repeat && session != r.Session {
		found = j.Rules.Review(forms(r, pod, session, now)) // The same detections as of the first try.
	}
	passedBy = j.Quarantines.Passes(asked)
	for _, d := range found {
		if passedBy != "" && d.Action.Enforced() {
			d.Action, d.Why = event.ActionNone, "a member of "+passedBy+" passed (break-glass)"
		}
		j.Detections.Handle(ctx, d)
		j.apply(d, v, passedBy, repeat)
	}
	if !v.Allowed {
		v.Session = session
	}
	return passedBy
}

// apply has one detection change the verdict.
func (j *Judge) apply(d *event.Detection, v *webhook.Verdict, passedBy string, repeat bool) {
	outcome := outcomeObserved
	switch {
	case passedBy != "":
		outcome = outcomeBreakGlass
		v.Annotations[annotationBreakGlass] = passedBy
	case d.Action.Enforced():
		outcome = outcomeDenied
		if v.Allowed { // The first one that denies is the one that is named.
			v.Allowed, v.Message = false, denyMessage(d)
			v.Annotations[annotationRule], v.Annotations[annotationDetection] = d.Rule.Name, d.ID
		}
	default:
		v.Warnings = append(v.Warnings, fmt.Sprintf("Portcullis would deny this by rule %s (%s), detection %s", d.Rule.Name, d.Rule.Title, d.ID))
	}
	if !repeat {
		j.refused.WithLabelValues(outcome).Inc()
	}
}

func denyMessage(d *event.Detection) string {
	return fmt.Sprintf("this request is denied by rule %q (%s), detection %s.\nThe same request is denied whenever it is made: an exception in the rule changes that.",
		d.Rule.Name, d.Rule.Title, d.ID)
}

// forms are the audit events that the request can become, in a session.
func forms(r *webhook.Request, pod event.Pod, session string, now time.Time) []*event.Event {
	all := r.Variants(now)
	for _, e := range all {
		e.Audit.Annotations = maps.Clone(e.Audit.Annotations)
		e.Audit.Annotations[event.AnnotationSession] = session
		if pod.UID != "" {
			e.Audit.Target = pod
		}
	}
	return all
}

// answer tells of the verdict, and gives it.
func (j *Judge) answer(r *webhook.Request, pod event.Pod, now time.Time, v webhook.Verdict, passedBy string) webhook.Verdict {
	why, _, _ := strings.Cut(v.Message, "\n")
	if passedBy != "" {
		why = BreakGlass + passedBy
	}
	j.Judged(Review{Request: *r, Pod: pod, Time: now, Session: cmp.Or(v.Session, r.Session), Allowed: v.Allowed, Why: why})
	return v
}

// RequestOf is the request as the quarantines know it, of now.
func RequestOf(r *webhook.Request) quarantine.Request {
	return quarantine.Request{
		Session: r.Session, Door: r.Door, Resource: r.Resource, Namespace: r.Namespace, Pod: r.Pod, PodUID: r.PodUID,
		Service: r.Service, Node: r.Node, Container: r.Container, Command: r.Command,
		User: r.User, Groups: r.Groups, Credentials: r.Credentials, CallerPod: r.CallerPod,
	}
}

// Each owns the interface of what it asks.
var (
	_ webhook.Judge = (*Judge)(nil)
	_ Quarantines   = (*quarantine.Gate)(nil)
)
