package quarantine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/event"
)

// Request is what the Gate has to know of a request.
type Request struct {
	Namespace, Pod string
	// Door is the subresource: exec, attach, portforward, …
	Door    string
	User    string
	Groups  []string
	Command []string
}

// Verdict is the Gate's answer.
type Verdict struct {
	Allowed bool
	// Message is for the person; empty if nothing stands against the request.
	Message string
	// Entry is the quarantine that decided, nil if there was none.
	Entry *Entry
	// BreakGlass is the group that let a quarantined request pass, empty otherwise.
	BreakGlass string
	// Unverified: no pod of that name is known, the quarantine's name decided.
	Unverified bool
	// Repeat: the same person was refused the same a moment ago. kubectl asks a
	// second time, over another protocol, when it is refused.
	Repeat bool
}

// Annotations are what the audit event should say of the verdict.
func (v Verdict) Annotations() map[string]string {
	if v.Entry == nil {
		return nil
	}
	out := map[string]string{"quarantine": v.Entry.Name}
	if v.Entry.Detection != "" {
		out["detection"], out["rule"] = v.Entry.Detection, v.Entry.Rule
	}
	if v.BreakGlass != "" {
		out["break-glass"] = v.BreakGlass
	}
	return out
}

// Pods is what the Gate asks about pods. *identity.Resolver is one.
type Pods interface {
	// Current is the living pod of that name.
	Current(namespace, name string) (event.Pod, bool)
	// Alive reports whether the pod of that UID exists, if it is known at all.
	Alive(uid string) (alive, known bool)
}

// Refusals hears of requests, once per action of a person. *Events is one.
type Refusals interface {
	Denied(pod event.Pod, r Request, entry *Entry)
	BreakGlass(pod event.Pod, r Request, entry *Entry, group string)
}

// GateOptions are what a Gate needs.
type GateOptions struct {
	Index    *Index
	Pods     Pods
	Refusals Refusals
	// BreakGlass are the groups whose members pass all the same, loudly.
	BreakGlass []string
	Registerer prometheus.Registerer
	// Now is the Manager's clock; time.Now if nil.
	Now func() time.Time
}

// Gate judges requests. Its methods may be called from any goroutine.
type Gate struct {
	opts    GateOptions
	repeats *repeats
	actions *prometheus.CounterVec
}

// NewGate makes a Gate.
func NewGate(opts GateOptions) (*Gate, error) {
	switch {
	case opts.Index == nil:
		return nil, errors.New("quarantine gate: Index is missing")
	case opts.Pods == nil:
		return nil, errors.New("quarantine gate: Pods is missing")
	case opts.Refusals == nil:
		return nil, errors.New("quarantine gate: Refusals is missing")
	case opts.Registerer == nil:
		return nil, errors.New("quarantine gate: Registerer is missing")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	g := &Gate{opts: opts, repeats: newRepeats(), actions: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "portcullis_quarantine_actions_total",
		Help: "What people were refused, or let do by break-glass, each action counted once however often their client retries it.",
	}, []string{"outcome"})}
	for _, o := range []string{outcomeDenied, outcomeDeniedUnverified, outcomeBreakGlass} {
		g.actions.WithLabelValues(o)
	}
	if err := opts.Registerer.Register(g.actions); err != nil {
		return nil, fmt.Errorf("quarantine gate metrics: %w", err)
	}
	return g, nil
}

// The outcomes of a person's action, as the metrics name them.
const (
	outcomeDenied           = "denied"
	outcomeDeniedUnverified = "denied-unverified"
	outcomeBreakGlass       = "break-glass"
)

// Judge says whether the request may pass.
func (g *Gate) Judge(_ context.Context, r Request) Verdict {
	now := g.opts.Now()
	pod, entry, unverified := g.find(r, now)
	if entry == nil {
		return Verdict{Allowed: true}
	}
	v := Verdict{
		Entry: entry, Unverified: unverified,
		Message: DenyMessage(r, entry, unverified),
		Repeat:  g.repeats.seen(r, now),
	}
	for _, group := range g.opts.BreakGlass {
		if slices.Contains(r.Groups, group) {
			v.Allowed, v.BreakGlass, v.Message = true, group, ""
			break
		}
	}
	if !v.Repeat {
		g.tell(pod, r, v)
	}
	return v
}

// find looks for what stands against the request: the quarantine of the pod that
// has the name now, or of the user. The package comment says why a name can count.
func (g *Gate) find(r Request, now time.Time) (pod event.Pod, entry *Entry, unverified bool) {
	pod, known := g.opts.Pods.Current(r.Namespace, r.Pod)
	if e, found := g.opts.Index.Lookup(pod, r.User, now); found {
		return orNamed(pod, r), e, false
	}
	if known {
		return pod, nil, false
	}
	for _, e := range g.opts.Index.Named(r.Namespace, r.Pod) {
		alive, known := g.opts.Pods.Alive(e.Subject.UID)
		if e.Active(now) && (alive || !known) {
			return orNamed(pod, r), e, true
		}
	}
	return pod, nil, false
}

// orNamed is the pod, or what the request says of it where it is not known.
func orNamed(pod event.Pod, r Request) event.Pod {
	if pod.IsZero() {
		return event.Pod{Namespace: r.Namespace, Name: r.Pod}
	}
	return pod
}

func (g *Gate) tell(pod event.Pod, r Request, v Verdict) {
	switch {
	case v.BreakGlass != "":
		g.actions.WithLabelValues(outcomeBreakGlass).Inc()
		g.opts.Refusals.BreakGlass(pod, r, v.Entry, v.BreakGlass)
		return
	case v.Unverified:
		g.actions.WithLabelValues(outcomeDeniedUnverified).Inc()
	default:
		g.actions.WithLabelValues(outcomeDenied).Inc()
	}
	g.opts.Refusals.Denied(pod, r, v.Entry)
}
