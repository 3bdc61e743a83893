package app

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/identity"
)

const (
	// lateRoom is how many events may wait that were held for their pod's identity
	// and are now on their way to the correlator. It is as large as the hold itself.
	lateRoom = 16_384
	// podsPatience is how long a delivery waits at the start for the pods to be known.
	podsPatience = 3 * time.Second
	// The pauses between two tries to pass on a late event that nobody took.
	minLatePause, maxLatePause = 10 * time.Millisecond, time.Second
)

// ingester takes events whose identity is complete.
type ingester interface {
	Ingest(ctx context.Context, events []*event.Event) error
}

// holder completes events and passes them on, at once or when their pod is known.
type holder interface {
	Submit(e *event.Event, deliver identity.Deliver)
}

// clocks corrects the events' times, and takes out the events that are not for rules.
type clocks interface {
	Take(events []*event.Event) []*event.Event
}

// pods knows the cluster's pods.
type pods interface {
	WaitSynced(ctx context.Context) error
}

// pipelineOptions are what a pipeline needs. All are required.
type pipelineOptions struct {
	Pods       pods
	Clocks     clocks
	Hold       holder
	Next       ingester
	Spool      spool
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// pipeline is what the sources hand their events to.
type pipeline struct {
	pipelineOptions
	keys    keys
	late    chan lateEvent
	delayed prometheus.Counter
	// behind is set when a late event found no room: it is only in the spool.
	behind atomic.Bool
}

func newPipeline(o pipelineOptions) *pipeline {
	p := &pipeline{
		pipelineOptions: o,
		keys:            keys{process: time.Now().UnixNano()},
		late:            make(chan lateEvent, lateRoom),
		delayed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "portcullis_pipeline_delayed_total",
			Help: "Events that were held for their pod's identity and then found no room before the correlator: they are read from the store again.",
		}),
	}
	o.Registerer.MustRegister(p.delayed)
	return p
}

// noRoom notes that an event is only in the spool now.
func (p *pipeline) noRoom() {
	p.delayed.Inc()
	p.behind.Store(true)
}

// notYetError is the error of a delivery that has to come again.
type notYetError struct{ error }

// Busy says so to the source.
func (notYetError) Busy() bool { return true }

// Ingest returns nil when the correlator has taken over all events, and those that wait for
// their pod to become known are in the spool.
func (p *pipeline) Ingest(ctx context.Context, events []*event.Event) error {
	if err := p.awaitPods(ctx); err != nil {
		return err
	}
	d := p.submit(p.keys.next(), p.Clocks.Take(events))
	ready, waiting := d.close()
	if len(waiting) > 0 {
		if err := p.Spool.Put(ctx, d.key, waiting); err != nil {
			return fmt.Errorf("store %d events that wait for their pod: %w", len(waiting), err)
		}
		if d.stored() {
			p.forget(ctx, d.key)
		}
	}
	return p.Next.Ingest(ctx, ready)
}

// awaitPods waits a little for the pods at the start: who comes then has reason to believe that
// the server is there, but a name that is looked up too early is nobody's.
func (p *pipeline) awaitPods(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, podsPatience)
	defer cancel()
	if err := p.Pods.WaitSynced(limited); err != nil {
		return notYetError{fmt.Errorf("the cluster's pods are not known yet: %w", err)}
	}
	return nil
}

// submit hands events to the hold.
func (p *pipeline) submit(key string, events []*event.Event) *delivery {
	d := &delivery{
		key: key, late: p.late, noRoom: p.noRoom,
		ready: make([]*event.Event, 0, len(events)), waiting: map[*event.Event]*event.Event{},
	}
	for _, e := range events {
		d.expect(e)
		p.Hold.Submit(e, d.deliver)
	}
	return d
}

// run passes on what an earlier process has left, then late events until ctx ends, and then
// those that are left.
func (p *pipeline) run(ctx context.Context) error {
	if err := p.resume(ctx); err != nil && ctx.Err() == nil {
		// What cannot be read now is there at the next start.
		p.Logger.Error("events that waited for their pod when the last process ended are not all back", "error", err)
	}
	// The correlator outlives the pipeline, so a context that has ended must not
	// keep what is left from it.
	working := context.WithoutCancel(ctx)
	for {
		select {
		case late := <-p.late:
			p.pass(ctx, late)
			p.catchUp(ctx)
		case <-ctx.Done():
			for {
				select {
				case late := <-p.late:
					p.passNow(working, late)
				default:
					return nil
				}
			}
		}
	}
}

// resume takes up what waits in the spool.
func (p *pipeline) resume(ctx context.Context) error {
	if err := p.Pods.WaitSynced(ctx); err != nil {
		return err
	}
	return p.Spool.Range(ctx, func(key string, events []*event.Event) error {
		d := p.submit(key, events)
		ready, waiting := d.close()
		if len(waiting) > 0 { // They are in the spool as they are.
			d.stored()
		}
		err := p.Next.Ingest(ctx, ready)
		if err == nil && len(waiting) == 0 {
			p.forget(ctx, key)
		}
		return err
	})
}

// catchUp reads again what found no room, once there is room.
func (p *pipeline) catchUp(ctx context.Context) {
	if len(p.late) > 0 || !p.behind.Swap(false) {
		return
	}
	if err := p.resume(ctx); err != nil && ctx.Err() == nil {
		p.behind.Store(true)
		p.Logger.Warn("events that waited for their pod cannot be read again at present", "error", err)
	}
}

// pass passes a late event on, as soon as that is possible.
func (p *pipeline) pass(ctx context.Context, late lateEvent) {
	for pause := minLatePause; ; pause = min(2*pause, maxLatePause) {
		// Under way it is finished, whatever happens meanwhile.
		if p.passNow(context.WithoutCancel(ctx), late) {
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return // It is in the spool, for the next process.
		}
	}
}

func (p *pipeline) passNow(ctx context.Context, late lateEvent) bool {
	if late.event != nil {
		if err := p.Next.Ingest(ctx, []*event.Event{late.event}); err != nil {
			p.Logger.Debug("event that was held for its pod's identity cannot be passed on at present", "error", err, "source", late.event.Source)
			return false
		}
	}
	if late.of.wentOn() {
		p.forget(ctx, late.of.key)
	}
	return true
}

// forget removes a delivery's events from the spool. If that fails they are passed on again
// after the next start, which does no harm.
func (p *pipeline) forget(ctx context.Context, key string) {
	if err := p.Spool.Delete(context.WithoutCancel(ctx), key); err != nil {
		p.Logger.Warn("events that have gone on stay in the spool", "error", err)
	}
}
