package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ErrConsuming is what Memory.Consume returns while another Consume runs: two
// would break the order.
var ErrConsuming = errors.New("bus: a consumer is running already")

// ErrLeft is what Memory.Consume returns when its context has ended and the
// time for draining was not enough: what has been taken over was not delivered.
var ErrLeft = errors.New("bus: candidates are left")

// MemoryOptions configure a Memory bus.
type MemoryOptions struct {
	// Capacity is the most candidates that wait, default 65536. A publisher
	// waits beyond that.
	Capacity int
	// Drain is how long Consume goes on delivering what waits once its context
	// has ended, and so how long the handler's context outlives it. Default 5s.
	Drain time.Duration
	// Registerer takes the metrics. Required.
	Registerer prometheus.Registerer
}

// Memory is a Bus within one process: bounded, ordered, and as durable as the process.
type Memory struct {
	queue chan Candidate
	drain time.Duration
	// consumer is held by the one Consume that runs; unacknowledged belongs to it.
	consumer       sync.Mutex
	unacknowledged *Candidate

	published, delivered prometheus.Counter
	refused, redelivered prometheus.Counter
	left                 prometheus.Counter
}

// NewMemory returns an empty bus.
func NewMemory(o MemoryOptions) (*Memory, error) {
	if o.Capacity == 0 {
		o.Capacity = 65536
	}
	if o.Drain == 0 {
		o.Drain = 5 * time.Second
	}
	switch {
	case o.Capacity < 1:
		return nil, fmt.Errorf("bus options: Capacity is %d, must be positive", o.Capacity)
	case o.Drain < 0:
		return nil, fmt.Errorf("bus options: Drain is %s, must be positive", o.Drain)
	case o.Registerer == nil:
		return nil, errors.New("bus options: Registerer is missing")
	}
	m := &Memory{queue: make(chan Candidate, o.Capacity), drain: o.Drain}
	if err := m.register(o.Registerer); err != nil {
		return nil, fmt.Errorf("bus metrics: %w", err)
	}
	return m, nil
}

func (m *Memory) register(r prometheus.Registerer) error {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "portcullis_bus_" + name, Help: help})
	}
	m.published = counter("published_total", "Candidates that the bus has taken over.")
	m.delivered = counter("delivered_total", "Candidates that the consumer has acknowledged.")
	m.refused = counter("refused_total", "Candidates that the publisher gave up on while the bus was full. It has been told.")
	m.redelivered = counter("redelivered_total", "Candidates delivered again because the consumer ended with an error.")
	m.left = counter("left_total", "Candidates that were not delivered when a stopping consumer's time was over.")
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "portcullis_bus_waiting", Help: "Candidates that wait for the consumer.",
	}, func() float64 { return float64(len(m.queue)) })
	for _, c := range []prometheus.Collector{m.published, m.delivered, m.refused, m.redelivered, m.left, waiting} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// Publish implements Bus.
func (m *Memory) Publish(ctx context.Context, candidates ...Candidate) error {
	for i, c := range candidates {
		select {
		case m.queue <- c:
			m.published.Inc()
			continue
		default:
		}
		select {
		case m.queue <- c:
			m.published.Inc()
		case <-ctx.Done():
			m.refused.Add(float64(len(candidates) - i))
			return fmt.Errorf("publish candidate %d of %d: bus is full: %w", i+1, len(candidates), context.Cause(ctx))
		}
	}
	return nil
}

// Consume implements Bus. Only one may run at a time. What is left when the time
// for draining is over is counted and told as ErrLeft.
func (m *Memory) Consume(ctx context.Context, handle Handler) error {
	if !m.consumer.TryLock() {
		return ErrConsuming
	}
	defer m.consumer.Unlock()
	live, cancel := outlive(ctx, m.drain)
	defer cancel()
	err := m.consume(ctx, live, handle)
	if left := m.undelivered(); left > 0 && ended(ctx) {
		m.left.Add(float64(left))
		err = errors.Join(err, fmt.Errorf("%w: %d, %s after the stop", ErrLeft, left, m.drain))
	}
	return err
}

// outlive returns a context that ends a while after its parent, or when cancelled.
func outlive(parent context.Context, while time.Duration) (context.Context, context.CancelFunc) {
	live, cancel := context.WithCancel(context.WithoutCancel(parent))
	stop := context.AfterFunc(parent, func() {
		timer := time.AfterFunc(while, cancel)
		context.AfterFunc(live, func() { timer.Stop() })
	})
	return live, func() { stop(); cancel() }
}

// consume delivers until ctx has ended and nothing waits, or until live ends.
func (m *Memory) consume(ctx, live context.Context, handle Handler) error {
	if m.unacknowledged != nil {
		m.redelivered.Inc()
		if err := m.deliver(live, *m.unacknowledged, handle); err != nil {
			return err
		}
	}
	for !ended(live) {
		// Looked at before the queue: what was published before the end is found.
		stopping := ended(ctx)
		select {
		case c := <-m.queue:
			if err := m.deliver(live, c, handle); err != nil {
				return err
			}
			continue
		default:
		}
		if stopping {
			return nil
		}
		select {
		case c := <-m.queue:
			if err := m.deliver(live, c, handle); err != nil {
				return err
			}
		case <-ctx.Done():
		}
	}
	return nil
}

func ended(ctx context.Context) bool { return ctx.Err() != nil }

func (m *Memory) deliver(ctx context.Context, c Candidate, handle Handler) error {
	if err := handle(ctx, c); err != nil {
		m.unacknowledged = &c
		return err
	}
	m.unacknowledged = nil
	m.delivered.Inc()
	return nil
}

// undelivered counts what the bus has taken over and nobody acknowledged.
func (m *Memory) undelivered() int {
	n := len(m.queue)
	if m.unacknowledged != nil {
		n++
	}
	return n
}
