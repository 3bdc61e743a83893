package barrier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// DefaultTimeout is the default of Options.Timeout.
const DefaultTimeout = 100 * time.Millisecond

// ErrTimeout says that the wait was over before all was judged. It is wrapped with what was waited for.
var ErrTimeout = errors.New("what happened before the request is not judged yet")

// Agents are those on the nodes.
type Agents interface {
	// Flush returns nil when everything that the node's kernel had recorded before the call was handed on to
	// the rules. absent: no agent of the node is connected. Any number may call it at once.
	Flush(ctx context.Context, node string) (absent bool, err error)
}

// Pods knows who a pod is that nobody has heard of yet.
type Pods interface {
	// Find asks for the pod of that name. The zero Place is that of a pod that does not exist.
	Find(ctx context.Context, namespace, name string) (Place, error)
}

// Held is what was received and is kept from the rules for a moment, until it is known which pod it is of.
type Held interface {
	// PassedOn returns nil once everything of that kind, received of the pods before the call, has been handed on to the
	// rules, or an error, which can be the context's. The pods are named by their UIDs, or by namespace/name.
	PassedOn(ctx context.Context, pods []string) error
}

// Judgement is how far the rules have come.
type Judgement interface {
	// Handled returns nil once everything is judged that was stored before the call, or the context's error.
	Handled(ctx context.Context) error
}

// Options are what a Barrier needs. All but Timeout are required.
type Options struct {
	Agents    Agents
	Pods      Pods
	Held      Held
	Judgement Judgement
	// Timeout bounds a wait; DefaultTimeout if zero.
	Timeout    time.Duration
	Registerer prometheus.Registerer
}

// Barrier makes admissions wait. Its methods may be called from any goroutine.
type Barrier struct {
	opts    Options
	metrics *metrics
}

// New makes a Barrier.
func New(opts Options) (*Barrier, error) {
	if opts.Timeout == 0 {
		opts.Timeout = DefaultTimeout
	}
	switch {
	case opts.Agents == nil:
		return nil, errors.New("barrier options: Agents is missing")
	case opts.Pods == nil:
		return nil, errors.New("barrier options: Pods is missing")
	case opts.Held == nil:
		return nil, errors.New("barrier options: Held is missing")
	case opts.Judgement == nil:
		return nil, errors.New("barrier options: Judgement is missing")
	case opts.Timeout < 0:
		return nil, errors.New("barrier options: Timeout is negative")
	case opts.Registerer == nil:
		return nil, errors.New("barrier options: Registerer is missing")
	}
	m, err := newMetrics(opts.Registerer)
	if err != nil {
		return nil, fmt.Errorf("barrier metrics: %w", err)
	}
	return &Barrier{opts: opts, metrics: m}, nil
}

// Place is where something happened that a request is to be judged by.
type Place struct {
	// Node is empty where there is none, or it is not known.
	Node string
	// Pod is the UID of one on it, empty if it is not about a pod, or that is not known.
	Pod string
	// Namespace and Name are a pod's that is meant by name. If Pod is empty it is asked for; if not, another pod may have
	// taken over the name.
	Namespace, Name string
}

// Wait returns nil when everything is judged that had happened at the places, and was acknowledged, before the call. The
// error wraps ErrTimeout where the time was over.
func (b *Barrier) Wait(ctx context.Context, places ...Place) error {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	absent, waitedFor, err := b.wait(ctx, places)
	b.metrics.waited(time.Since(begin), absent, err)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: waited %s for %s", ErrTimeout, time.Since(begin).Round(time.Millisecond), waitedFor)
	}
	if err != nil {
		return fmt.Errorf("wait for %s: %w", waitedFor, err)
	}
	return nil
}

// wait goes through the steps: each hands on what the next one has to deal with.
func (b *Barrier) wait(ctx context.Context, places []Place) (absent bool, waitedFor string, err error) {
	nodes, pods, err := b.find(ctx, places)
	if err != nil {
		return false, "the API server to say which pod is meant", err
	}
	for _, node := range nodes {
		away, err := b.opts.Agents.Flush(ctx, node)
		if err != nil {
			return absent, "the agent of node " + node, err
		}
		absent = absent || away
	}
	if err := b.opts.Held.PassedOn(ctx, pods); err != nil {
		return absent, "what is not known to be whose", err
	}
	return absent, "the rules", b.opts.Judgement.Handled(ctx)
}

// find returns the nodes of the places, each once, and what their pods are called.
func (b *Barrier) find(ctx context.Context, places []Place) (nodes, pods []string, err error) {
	for _, at := range places {
		if at.Name != "" {
			pods = append(pods, at.Namespace+"/"+at.Name)
		}
		if at.Name != "" && at.Pod == "" {
			found, err := b.opts.Pods.Find(ctx, at.Namespace, at.Name)
			if err != nil {
				return nil, nil, err
			}
			at.Pod, at.Node = found.Pod, cmp.Or(found.Node, at.Node)
		}
		if at.Pod != "" {
			pods = append(pods, at.Pod)
		}
		if at.Node != "" && !slices.Contains(nodes, at.Node) {
			nodes = append(nodes, at.Node)
		}
	}
	return nodes, pods, nil
}
