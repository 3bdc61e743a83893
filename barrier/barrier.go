package barrier

import (
	"context"
	"errors"
	"fmt"
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

// Judgement is how far the rules have come.
type Judgement interface {
	// Handled returns nil once everything is judged that was stored before the call, or the context's error.
	Handled(ctx context.Context) error
}

// Options are what a Barrier needs. All but Timeout are required.
type Options struct {
	Agents    Agents
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

// Wait returns nil when everything is judged that had happened on the node, and was acknowledged, before the call. The
// node is empty where a request goes to none, or to one that is not known. The error wraps ErrTimeout where the time
// was over.
func (b *Barrier) Wait(ctx context.Context, node string) error {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	waitedFor := "the agent of node " + node
	var absent bool
	var err error
	if node != "" {
		absent, err = b.opts.Agents.Flush(ctx, node)
	}
	if err == nil {
		waitedFor = "the rules"
		err = b.opts.Judgement.Handled(ctx)
	}
	b.metrics.waited(time.Since(begin), absent, err)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: waited %s for %s", ErrTimeout, time.Since(begin).Round(time.Millisecond), waitedFor)
	}
	if err != nil {
		return fmt.Errorf("wait for %s: %w", waitedFor, err)
	}
	return nil
}
