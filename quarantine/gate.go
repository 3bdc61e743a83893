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

// Pods is what the Gate asks about pods. *identity.Resolver is one.
type Pods interface {
	// Current is the living pod of that name.
	Current(namespace, name string) (event.Pod, bool)
	// Alive reports whether the pod of that UID exists, if it is known at all.
	Alive(uid string) (alive, known bool)
	// RunsOn reports whether the pod of that UID is or was on the node, if that is known.
	RunsOn(uid, node string) (runs, known bool)
}

// Endpoints says which pods a service leads to. *EndpointLists is one.
type Endpoints interface {
	// PodsOf are the names of the pods in the service's namespace that the API server may
	// connect a request through services/proxy with. It returns by the context's deadline.
	PodsOf(ctx context.Context, namespace, service string) ([]string, error)
}

// Refusals hears of requests, once per action of a person. *Events is one. The pod is the one that
// was reached into, empty where there was none.
type Refusals interface {
	Denied(pod event.Pod, r Request, entry *Entry)
	BreakGlass(pod event.Pod, r Request, entry *Entry, group string)
}

// Exempt is what is never judged. Namespaces count for requests that go to their pods and services
// themselves: what is asked of a node's kubelet is judged whatever pod it names.
type Exempt struct{ Users, Groups, Namespaces []string }

// GateOptions are what a Gate needs.
type GateOptions struct {
	Index     *Index
	Pods      Pods
	Endpoints Endpoints
	Refusals  Refusals
	// Noted, if not nil, is called where Refusals is, with every denial, for the quarantine's status.
	// Manager.Denied is one.
	Noted func(entry *Entry, at time.Time)
	// Exempt is never judged, and nothing is told of it.
	Exempt Exempt
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
	lookups *prometheus.CounterVec
}

// NewGate makes a Gate.
func NewGate(opts GateOptions) (*Gate, error) {
	switch {
	case opts.Index == nil:
		return nil, errors.New("quarantine gate: Index is missing")
	case opts.Pods == nil:
		return nil, errors.New("quarantine gate: Pods is missing")
	case opts.Endpoints == nil:
		return nil, errors.New("quarantine gate: Endpoints is missing")
	case opts.Refusals == nil:
		return nil, errors.New("quarantine gate: Refusals is missing")
	case opts.Registerer == nil:
		return nil, errors.New("quarantine gate: Registerer is missing")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Noted == nil {
		opts.Noted = func(*Entry, time.Time) {}
	}
	g := &Gate{opts: opts, repeats: newRepeats(), actions: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "portcullis_quarantine_actions_total",
		Help: "What people were refused, or let do by break-glass, each action counted once however often their client retries it.",
	}, []string{"outcome"}), lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "portcullis_quarantine_endpoint_lookups_total",
		Help: "Requests through services/proxy for which it was asked which pods the service leads to, by result. A failure is left to the webhook's fail mode.",
	}, []string{"result"})}
	for _, o := range []string{outcomeDenied, outcomeDeniedUnverified, outcomeBreakGlass} {
		g.actions.WithLabelValues(o)
	}
	for _, r := range []string{lookupOK, lookupFailed} {
		g.lookups.WithLabelValues(r)
	}
	if err := errors.Join(opts.Registerer.Register(g.actions), opts.Registerer.Register(g.lookups)); err != nil {
		return nil, fmt.Errorf("quarantine gate metrics: %w", err)
	}
	return g, nil
}

// The outcomes of a person's action, and the results of a lookup, as the metrics name them.
const (
	outcomeDenied           = "denied"
	outcomeDeniedUnverified = "denied-unverified"
	outcomeBreakGlass       = "break-glass"

	lookupOK     = "ok"
	lookupFailed = "error"
)

// Judge says whether the request may pass: what is exempt does; what a quarantine stands against does not,
// but for members of a break-glass group; everything else does. An error says that it could
// not be found out, and is the webhook's fail mode's to decide. It is possible only for services/proxy
// into a namespace of which something is in quarantine.
func (g *Gate) Judge(ctx context.Context, r Request) (Verdict, error) {
	if g.isExempt(&r) {
		return Verdict{Allowed: true, Exempt: true, Session: r.Session}, nil
	}
	now := g.opts.Now()
	found, err := g.find(ctx, &r, now)
	glass := g.breakGlass(&r)
	switch {
	case err != nil && glass == "":
		return Verdict{}, err
	case found.entry == nil:
		return Verdict{Allowed: true, Session: r.Session}, nil
	}
	if r.At.IsZero() {
		r.At = now
	}
	v := g.verdict(&r, found, now)
	if glass != "" {
		v.Allowed, v.BreakGlass, v.Message = true, glass, ""
	}
	if !v.Repeat {
		g.tell(r, found, v)
	}
	return v, nil
}

// Refused tells of a request that the API server's policy has refused because of that quarantine, exactly as
// a denial of the Gate's own would be told: once for one action of a person, whoever refused what part of it. The
// policy runs before the webhook, so this is learned from the audit stream, late: set Request.At.
func (g *Gate) Refused(r Request, quarantine string) Verdict {
	entry, known := g.opts.Index.Get(quarantine)
	if !known { // released since
		entry = &Entry{Name: quarantine, Reason: "it has ended since"}
	}
	now := g.opts.Now()
	if r.At.IsZero() {
		r.At = now
	}
	found := finding{entry: entry}
	v := g.verdict(&r, found, now)
	if !v.Repeat {
		g.tell(r, found, v)
	}
	return v
}

// verdict is a denial.
func (g *Gate) verdict(r *Request, f finding, now time.Time) Verdict {
	v := Verdict{Entry: f.entry, Unverified: f.unverified}
	v.Session, v.Repeat = g.repeats.seen(r, now)
	first := *r
	first.Session = v.Session
	v.Message = DenyMessage(first, f.entry, f.unverified)
	return v
}

func (g *Gate) isExempt(r *Request) bool {
	x := &g.opts.Exempt
	return len(x.Users) > 0 && slices.Contains(x.Users, r.User) ||
		len(x.Namespaces) > 0 && r.Resource != resourceNodes && slices.Contains(x.Namespaces, r.Namespace) ||
		len(x.Groups) > 0 && slices.ContainsFunc(r.Groups, func(g string) bool { return slices.Contains(x.Groups, g) })
}

// breakGlass is the group that lets the request pass, if any.
func (g *Gate) breakGlass(r *Request) string {
	for _, group := range g.opts.BreakGlass {
		if slices.Contains(r.Groups, group) {
			return group
		}
	}
	return ""
}

func (g *Gate) tell(r Request, f finding, v Verdict) {
	pod := f.pod
	if pod.IsZero() && r.intoPod() {
		pod, _ = g.opts.Pods.Current(r.Namespace, r.Pod)
		pod = orNamed(pod, r.Namespace, r.Pod)
	}
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
	g.opts.Noted(v.Entry, r.At)
}
