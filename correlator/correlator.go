package correlator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/event"
)

// stopTime is how long after the end of Run's context detections can still be
// acted on: the bus' time for draining, and a little for what is due at the end.
const stopTime = 7 * time.Second

// Correlator runs rules over events. Ingest may be called concurrently, and
// while Run runs.
type Correlator struct {
	options Options
	metrics *metrics
	guard   *guard
	// matcher is exchanged with the rules. It is never ahead of the join.
	matcher atomic.Pointer[matcher]
	// join is used under mutex: by the bus' consumer, by the ticker and when the
	// rules are exchanged.
	mutex sync.Mutex
	join  *join
	// exchange is held while the rules are exchanged.
	exchange sync.Mutex
}

// New returns a Correlator for the rules. It concludes nothing before Run.
func New(o Options) (*Correlator, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("correlator options: %w", err)
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("correlator metrics: %w", err)
	}
	j, err := newJoin(o, m)
	if err != nil {
		return nil, fmt.Errorf("correlator: %w", err)
	}
	c := &Correlator{options: o, metrics: m, guard: newGuard(o, m), join: j}
	c.matcher.Store(newMatcher(o, c.guard, m))
	return c, nil
}

// Ingest matches events against every rule and publishes what some rule wants.
// Nil means that the bus has it: the events may be acknowledged. After an error
// the caller should deliver all of them again; duplicates do no harm.
func (c *Correlator) Ingest(ctx context.Context, events []*event.Event) error {
	candidates := c.matcher.Load().deliver(events)
	if len(candidates) == 0 {
		return nil
	}
	own(candidates)
	if err := c.options.Bus.Publish(ctx, candidates...); err != nil {
		return fmt.Errorf("ingest %d events: %w", len(events), err)
	}
	c.metrics.published(candidates)
	return nil
}

// Match returns the candidates that Ingest would publish for events, without
// publishing or counting them.
func (c *Correlator) Match(events ...*event.Event) []bus.Candidate {
	return c.matcher.Load().match(events)
}

// Run consumes the bus and concludes detections until the context ends or the
// bus fails. In the former case it first concludes what waits on the bus, and
// returns nil unless the bus had to leave some of it.
func (c *Correlator) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	live, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var ticking sync.WaitGroup
	ticking.Go(func() { c.tick(ctx, live) })
	defer context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(stopTime, end)
		context.AfterFunc(live, func() { timer.Stop() })
	})()
	err := c.options.Bus.Consume(ctx, c.consume)
	cancel()
	ticking.Wait()
	c.advance(live) // What the last candidates and the time since have made due.
	if err != nil && (errors.Is(err, bus.ErrLeft) || !errors.Is(err, context.Canceled)) {
		return fmt.Errorf("correlator: consume candidates: %w", err)
	}
	return nil
}

// consume takes delivery of one candidate.
func (c *Correlator) consume(ctx context.Context, candidate bus.Candidate) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.hand(ctx, c.join.take(candidate, c.options.Clock()))
	return nil
}

// tick moves the watermark on while nothing arrives, until ctx ends. What becomes
// due is handed on within live, which outlasts it.
func (c *Correlator) tick(ctx, live context.Context) {
	ticker := time.NewTicker(c.options.Tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.advance(live)
		}
	}
}

// advance concludes what is due.
func (c *Correlator) advance(ctx context.Context) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.hand(ctx, c.join.advance(c.options.Clock()))
}

// hand passes detections on.
func (c *Correlator) hand(ctx context.Context, detections []*event.Detection) {
	for _, d := range detections {
		c.options.Detections.Handle(ctx, d)
	}
}
