package quarantine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// finding is what stands against a request; nothing, if entry is nil.
type finding struct {
	// pod is the one that is reached into, if it was looked up and is known.
	pod   event.Pod
	entry *Entry
	// unverified: no pod of that name is known, the quarantine's name decided.
	unverified bool
}

// find looks for what stands against the request. What is certain and needs nobody else comes
// first: the pod, its node, its namespace, who asks. Then the pods behind a service, and
// last what may be meant by a name, as the package comment says.
func (g *Gate) find(ctx context.Context, r *Request, now time.Time) (finding, error) {
	f := finding{}
	if r.intoPod() {
		f = g.intoPod(r.Namespace, r.Pod, r.Door, now)
		if f.entry == nil && r.PodUID != "" {
			f.entry = g.opts.Index.pods.denies(r.PodUID, r.Door, now)
		}
	}
	if f.entry == nil && r.Resource == resourceNodes {
		f.entry = g.throughNode(r, now)
	}
	if f.entry == nil && r.Namespace != "" && (r.Resource != resourceNodes || r.runs()) {
		f.entry = g.opts.Index.namespaces.denies(r.Namespace, r.Door, now)
	}
	if f.entry == nil {
		f.entry = g.whoAsks(r, now)
	}
	switch {
	case f.entry != nil:
		return f, nil
	case r.Resource == resourceServices:
		return g.throughService(ctx, r, now)
	case r.intoPod():
		return g.byName(f, r.Namespace, r.Pod, r.Door, now), nil
	default:
		return finding{}, nil
	}
}

// intoPod finds what stands against a request into the pod that has the name now, by the pod and by its node.
func (g *Gate) intoPod(namespace, name, door string, now time.Time) finding {
	x := g.opts.Index
	if x.pods.isEmpty() && x.nodes.isEmpty() {
		return finding{}
	}
	current, known := g.opts.Pods.Current(namespace, name)
	if !known {
		return finding{}
	}
	f := finding{pod: current, entry: x.pods.denies(current.UID, door, now)}
	if f.entry == nil && current.Node != "" {
		f.entry = x.nodes.denies(current.Node, door, now)
	}
	return f
}

// byName finds the quarantine of a pod of that name where nobody knows which pod has it now.
func (g *Gate) byName(f finding, namespace, name, door string, now time.Time) finding {
	if !f.pod.IsZero() {
		return f
	}
	for _, e := range g.opts.Index.named.of(podName{namespace, name}) {
		alive, known := g.opts.Pods.Alive(e.Subject.UID)
		if e.Denies(door, now) && (alive || !known) {
			return finding{pod: event.Pod{Namespace: namespace, Name: name}, entry: e, unverified: true}
		}
	}
	return f
}

// throughNode finds what stands against a request to a kubelet: the quarantine of the node, and for what
// is run there that of any pod on the node, whatever pod the path names. There are more ways to name
// a container there than can be told apart for sure.
func (g *Gate) throughNode(r *Request, now time.Time) *Entry {
	x := g.opts.Index
	if e := x.nodes.denies(r.Node, r.Door, now); e != nil || !r.runs() {
		return e
	}
	if r.Node != "" {
		if e := x.podsOn.denies(r.Node, r.Door, now); e != nil {
			return e
		}
	}
	for _, e := range x.podsOn.of("") {
		if runs, _ := g.opts.Pods.RunsOn(e.Subject.UID, r.Node); runs && e.Denies(r.Door, now) {
			return e
		}
	}
	return nil
}

// whoAsks finds the quarantine of whoever makes the request: of the user, the service account, the
// credential, the groups, or the pod whose token it is.
func (g *Gate) whoAsks(r *Request, now time.Time) *Entry {
	x := g.opts.Index
	if r.CallerPod != "" {
		if e := x.pods.denies(r.CallerPod, r.Door, now); e != nil {
			return e
		}
	}
	if r.User != "" {
		if e := x.users.denies(r.User, r.Door, now); e != nil {
			return e
		}
		if e := x.accounts.denies(r.User, r.Door, now); e != nil {
			return e
		}
	}
	for _, id := range r.Credentials {
		if e := x.credentials.denies(id, r.Door, now); e != nil {
			return e
		}
	}
	for _, group := range r.Groups {
		if e := x.groups.denies(group, r.Door, now); e != nil {
			return e
		}
	}
	return nil
}

// throughService finds what stands against a request through services/proxy: the API server picks one of
// the service's pods, so all of them count. It asks for them only where that can matter.
func (g *Gate) throughService(ctx context.Context, r *Request, now time.Time) (finding, error) {
	x := g.opts.Index
	inQuarantine := func(e *Entry) bool { return e.Denies(r.Door, now) }
	if !slices.ContainsFunc(x.podsIn.of(r.Namespace), inQuarantine) && x.nodes.isEmpty() {
		return finding{}, nil
	}
	names, err := g.opts.Endpoints.PodsOf(ctx, r.Namespace, r.Service)
	if err != nil {
		g.lookups.WithLabelValues(lookupFailed).Inc()
		return finding{}, fmt.Errorf("which pods service %s/%s leads to: %w", shown(r.Namespace, maxShownName), shown(r.Service, maxShownName), err)
	}
	g.lookups.WithLabelValues(lookupOK).Inc()
	for _, name := range names {
		f := g.intoPod(r.Namespace, name, r.Door, now)
		if f.entry == nil {
			f = g.byName(f, r.Namespace, name, r.Door, now)
		}
		if f.entry != nil {
			return f, nil
		}
	}
	return finding{}, nil
}

// orNamed is the pod, or what the request says of it where it is not known.
func orNamed(pod event.Pod, namespace, name string) event.Pod {
	if pod.IsZero() {
		return event.Pod{Namespace: namespace, Name: name}
	}
	return pod
}
