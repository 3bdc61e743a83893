package app

import (
	"context"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/event"
)

// lateRoom is how many events may wait that were held for their pod's identity
// and are now on their way to the correlator. It is as large as the hold itself.
const lateRoom = 16_384

// ingester takes events whose identity is complete.
type ingester interface {
	Ingest(ctx context.Context, events []*event.Event) error
}

// holder completes events and passes them on, at once or when their pod is known.
type holder interface {
	Submit(e *event.Event, deliver func(*event.Event))
}

// clocks corrects the events' times, and takes out the events that are not for rules.
type clocks interface {
	Take(events []*event.Event) []*event.Event
}

// pipeline is what the sources hand their events to.
type pipeline struct {
	canary     clocks
	hold       holder
	correlator ingester
	logger     *slog.Logger
	late       chan *event.Event
	dropped    prometheus.Counter
}

func newPipeline(canary clocks, hold holder, correlator ingester, logger *slog.Logger, reg prometheus.Registerer) *pipeline {
	p := &pipeline{
		canary: canary, hold: hold, correlator: correlator, logger: logger,
		late: make(chan *event.Event, lateRoom),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "portcullis_pipeline_dropped_total",
			Help: "Events that were held for their pod's identity and then found no room before the correlator.",
		}),
	}
	reg.MustRegister(p.dropped)
	return p
}

// Ingest returns nil when the correlator has taken over all events, but for
// those that wait for their pod to become known.
func (p *pipeline) Ingest(ctx context.Context, events []*event.Event) error {
	events = p.canary.Take(events)
	b := batch{pipeline: p, events: make([]*event.Event, 0, len(events))}
	for _, e := range events {
		p.hold.Submit(e, b.deliver)
	}
	return p.correlator.Ingest(ctx, b.close())
}

// batch collects what the hold delivers at once; what it delivers later goes
// to the pipeline's late queue.
type batch struct {
	pipeline *pipeline

	mu     sync.Mutex
	closed bool
	events []*event.Event
}

func (b *batch) deliver(e *event.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.events = append(b.events, e)
		return
	}
	select {
	case b.pipeline.late <- e:
	default:
		b.pipeline.dropped.Inc()
	}
}

func (b *batch) close() []*event.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.events
}

// run passes late events on until ctx ends, and then those that are left.
func (p *pipeline) run(ctx context.Context) error {
	// The correlator outlives the pipeline, so a context that has ended must not
	// keep what is left from it.
	working := context.WithoutCancel(ctx)
	for {
		select {
		case e := <-p.late:
			p.pass(working, e)
		case <-ctx.Done():
			for {
				select {
				case e := <-p.late:
					p.pass(working, e)
				default:
					return nil
				}
			}
		}
	}
}

func (p *pipeline) pass(ctx context.Context, e *event.Event) {
	if err := p.correlator.Ingest(ctx, []*event.Event{e}); err != nil {
		p.dropped.Inc()
		p.logger.Error("event that was held for its pod's identity is lost", "error", err, "source", e.Source)
	}
}
