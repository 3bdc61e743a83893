package app

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/collector"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/identity"
)

const (
	// lateRoom is how many events may wait that were held for their pod's identity
	// and are now on their way to the correlator. It is as large as the hold itself.
	lateRoom = 16_384
	// podsPatience is how long a delivery waits at the start for the pods to be known.
	podsPatience = 3 * time.Second
	// The pauses between two tries to pass on what nobody took.
	minLatePause, maxLatePause = 10 * time.Millisecond, time.Second
	// spoolPause is that between two tries to read the spool.
	spoolPause = time.Second
	// resumePatience is how long what an earlier process has left may take to go on before it is no
	// longer waited for: as long as an event is held, and a little.
	resumePatience = identity.DefaultHold + 2*time.Second
)

// ingester takes events whose identity is complete.
type ingester interface {
	Ingest(ctx context.Context, events []*event.Event) error
}

// holder completes events, and keeps those that wait for their pod to become known.
type holder interface {
	Complete(e *event.Event) (waits, foreign bool)
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
	Pods   pods
	Clocks clocks
	Hold   holder
	// Claims are told what agents say of other nodes' pods.
	Claims     *collector.Claims
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
	// behind is set while something may be in the spool that is nowhere else: what an earlier process has
	// left, and late events that found no room. again is told of the latter.
	behind atomic.Bool
	again  chan struct{}
	// takenUp is set once everything in the spool was read; resumed is closed when what an earlier process
	// has left has gone on.
	takenUp atomic.Bool
	resumed chan struct{}
	// left is how much of that has not.
	left map[*delivery]bool
	// waiting is what is in the Hold, or late.
	waiting waiting
}

func newPipeline(o pipelineOptions) *pipeline {
	p := &pipeline{
		pipelineOptions: o,
		keys:            keys{process: time.Now().UnixNano()},
		late:            make(chan lateEvent, lateRoom),
		again:           make(chan struct{}, 1),
		resumed:         make(chan struct{}),
		left:            map[*delivery]bool{},
		waiting:         waiting{pods: map[string][]*group{}},
		delayed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "portcullis_pipeline_delayed_total",
			Help: "Events that were held for their pod's identity and then found no room before the correlator: they are read from the store again.",
		}),
	}
	p.behind.Store(true)
	o.Registerer.MustRegister(p.delayed)
	return p
}

// noRoom notes that an event is only in the spool now.
func (p *pipeline) noRoom() {
	p.delayed.Inc()
	p.behind.Store(true)
	select {
	case p.again <- struct{}{}:
	default:
	}
}

// Resumed is closed when all that an earlier process had taken over has gone on to the correlator, or was waited for
// long enough.
func (p *pipeline) Resumed() <-chan struct{} { return p.resumed }

// notYetError is the error of a delivery that has to come again.
type notYetError struct{ error }

// Busy says so to the source.
func (notYetError) Busy() bool { return true }

// Ingest returns nil when the correlator has taken over all events, and those that wait for
// their pod to become known are in the spool. After an error nothing waits.
func (p *pipeline) Ingest(ctx context.Context, events []*event.Event) error {
	if err := p.awaitPods(ctx); err != nil {
		return err
	}
	ready, waiting := p.complete(p.Clocks.Take(events))
	if err := p.Next.Ingest(ctx, ready); err != nil || len(waiting) == 0 {
		return err
	}
	d := p.newDelivery(p.keys.next(), waiting)
	if err := p.Spool.Put(ctx, d.key, d.events); err != nil {
		return fmt.Errorf("store %d events that wait for their pod: %w", len(waiting), err)
	}
	p.hold(d)
	return nil
}

// complete returns the events that can go on, and those that have to wait as their source has them, which may be kept.
func (p *pipeline) complete(events []*event.Event) (ready, waiting []*event.Event) {
	ready = make([]*event.Event, 0, len(events))
	for _, e := range events {
		c := e
		if e.Audit == nil { // A request that waits stays as it was.
			c = copied(e)
		}
		switch waits, foreign := p.Hold.Complete(c); {
		case waits:
			waiting = append(waiting, e.Own())
		case !foreign:
			ready = append(ready, c)
		default:
			if claim := p.Claims.Event(c); claim != nil {
				ready = append(ready, claim)
			}
		}
	}
	return ready, waiting
}

func (p *pipeline) newDelivery(key string, events []*event.Event) *delivery {
	d := &delivery{key: key, events: events, late: p.late, noRoom: p.noRoom, claims: p.Claims}
	d.left.Store(int64(len(events)))
	return d
}

// hold has the events of a delivery, which is in the spool, wait for their pods.
func (p *pipeline) hold(d *delivery) {
	for _, e := range d.events {
		was := p.waiting.add(e)
		p.Hold.Submit(copied(e), func(e *event.Event, foreign bool) { d.deliver(e, foreign, was) })
	}
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

// run passes on what an earlier process has left, then late events until ctx ends, and then
// those that are left.
func (p *pipeline) run(ctx context.Context) error {
	retry := time.NewTimer(0)
	defer retry.Stop()
	patience := time.NewTimer(resumePatience)
	defer patience.Stop()
	for {
		select {
		case late := <-p.late:
			p.pass(ctx, late)
		case <-p.again: // Not at once: there was no room just now.
			retry.Reset(spoolPause)
		case <-retry.C:
			if p.behind.Load() && !p.catchUp(ctx) {
				retry.Reset(spoolPause)
				patience.Reset(resumePatience)
			}
		case <-patience.C:
			clear(p.left)
		case <-ctx.Done():
			p.drain(context.WithoutCancel(ctx))
			return nil
		}
		p.noteResumed()
	}
}

// noteResumed notes when nothing is left of what an earlier process had taken over.
func (p *pipeline) noteResumed() {
	select {
	case <-p.resumed:
	default:
		if !p.behind.Load() && len(p.left) == 0 {
			close(p.resumed)
		}
	}
}

// drain passes on what is late already. The correlator outlives the pipeline, so a context that has ended must not
// keep it from that.
func (p *pipeline) drain(ctx context.Context) {
	for {
		select {
		case late := <-p.late:
			p.passNow(ctx, late)
		default:
			return
		}
	}
}

// catchUp takes up everything that is in the spool, and reports whether that was possible. What waits
// already then waits twice, which does no harm.
func (p *pipeline) catchUp(ctx context.Context) bool {
	err := p.Pods.WaitSynced(ctx)
	if err == nil {
		p.behind.Store(false) // Before: what finds no room meanwhile is read the next time.
		err = p.Spool.Range(ctx, func(key string, events []*event.Event) error { return p.resume(ctx, key, events) })
	}
	if err == nil {
		p.takenUp.Store(true)
		return true
	}
	p.behind.Store(true)
	if ctx.Err() == nil {
		p.Logger.Warn("events that wait for their pod cannot all be read from the store at present, it is tried again", "error", err)
	}
	return false
}

// resume takes up one delivery from the spool.
func (p *pipeline) resume(ctx context.Context, key string, events []*event.Event) error {
	ready, waiting := p.complete(events)
	if err := p.Next.Ingest(ctx, ready); err != nil {
		return err
	}
	if len(waiting) == 0 {
		p.forget(ctx, key)
		return nil
	}
	d := p.newDelivery(key, waiting)
	select {
	case <-p.resumed:
	default:
		p.left[d] = true
	}
	p.hold(d)
	return nil
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
	late.held.done()
	if late.of.wentOn() {
		p.forget(ctx, late.of.key)
		delete(p.left, late.of)
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
