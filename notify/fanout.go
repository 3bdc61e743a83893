package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/backlog"
	"github.com/portcullis-dev/portcullis/event"
)

// The defaults of FanoutOptions.
const (
	DefaultQueue        = 10_000
	DefaultQueueBytes   = 32 << 20
	DefaultDrainTimeout = 10 * time.Second
)

// The pauses after a sink has failed, growing from the first to the second.
const (
	minPause = time.Second
	maxPause = time.Minute
)

// Store is where what was not delivered outlives the process, once Put has returned nil.
type Store interface {
	Put(ctx context.Context, key string, value []byte) error
	// Delete removes a value. That there is none is no error.
	Delete(ctx context.Context, key string) error
	// Range calls visit with each value, in the order in which they were written, until visit
	// returns an error, which it returns.
	Range(ctx context.Context, visit func(key string, value []byte, at time.Time) error) error
}

// FanoutOptions are what a Fanout needs.
type FanoutOptions struct {
	// Sinks by the name that metrics and logs give them. What is left for one that is no
	// longer there is dropped.
	Sinks   map[string]Sink
	Encoder *Encoder
	// Store is nil where nothing is to outlive the process.
	Store Store
	// Queue is how many documents may wait for each sink; DefaultQueue if zero.
	Queue int
	// QueueBytes is how large they may be together, compressed; DefaultQueueBytes if zero.
	QueueBytes int
	// DrainTimeout is how long Run goes on sending when it is stopped;
	// DefaultDrainTimeout if zero.
	DrainTimeout time.Duration
	Logger       *slog.Logger
	Registerer   prometheus.Registerer
}

func (o *FanoutOptions) complete() error {
	o.Queue = cmp.Or(o.Queue, DefaultQueue)
	o.QueueBytes = cmp.Or(o.QueueBytes, DefaultQueueBytes)
	o.DrainTimeout = cmp.Or(o.DrainTimeout, DefaultDrainTimeout)
	switch {
	case o.Encoder == nil:
		return errors.New("the Encoder is missing")
	case o.Logger == nil:
		return errors.New("the Logger is missing")
	case o.Registerer == nil:
		return errors.New("the Registerer is missing")
	case o.Queue < 0 || o.QueueBytes < 0 || o.DrainTimeout < 0:
		return errors.New("the bounds Queue, QueueBytes and DrainTimeout must not be negative")
	}
	for name, sink := range o.Sinks {
		if sink == nil {
			return fmt.Errorf("the sink %q is missing", name)
		}
	}
	return nil
}

// Fanout passes every detection to all sinks, each at its own pace.
type Fanout struct {
	opts    FanoutOptions
	lanes   map[string]*lane
	backlog *backlog.Backlog
	number  atomic.Uint64
	results *prometheus.CounterVec
}

// The results of a document at a sink, as the metrics name them.
const (
	resultSent     = "sent"
	resultFailed   = "failed"
	resultRejected = "rejected"
	resultDropped  = "dropped"
	resultStopped  = "stopped"
)

// NewFanout makes a Fanout, with what an earlier one has left in the store. It sends nothing until Run.
func NewFanout(ctx context.Context, opts FanoutOptions) (*Fanout, error) {
	if err := opts.complete(); err != nil {
		return nil, fmt.Errorf("notify options: %w", err)
	}
	f := &Fanout{opts: opts, lanes: map[string]*lane{}, results: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "portcullis_notify_detections_total",
		Help: "Documents about detections for the outside, by sink and result: failed ones are sent again, rejected and dropped ones did not get there, stopped ones were left for the next start.",
	}, []string{"sink", "result"})}
	for name, sink := range opts.Sinks {
		f.lanes[name] = newLane(name, sink)
		for _, result := range []string{resultSent, resultFailed, resultRejected, resultDropped, resultStopped} {
			f.results.WithLabelValues(name, result)
		}
	}
	if err := errors.Join(opts.Registerer.Register(f.results), opts.Registerer.Register(f.waiting())); err != nil {
		return nil, fmt.Errorf("notify metrics: %w", err)
	}
	return f, f.open(ctx)
}

func (f *Fanout) waiting() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "portcullis_notify_waiting_detections",
		Help: "Documents in the queues of all sinks.",
	}, func() float64 {
		n := 0
		for _, l := range f.lanes {
			n += l.len()
		}
		return float64(n)
	})
}

// open opens the outbox, and takes over what is in it.
func (f *Fanout) open(ctx context.Context) (err error) {
	writing := backlog.Options{Name: "outbox", Logger: f.opts.Logger, Registerer: f.opts.Registerer}
	if f.opts.Store != nil {
		writing.Store = f.opts.Store
	}
	if f.backlog, err = backlog.New(writing); err != nil || f.opts.Store == nil {
		return err
	}
	if err = f.opts.Store.Range(ctx, f.restore); err != nil {
		return fmt.Errorf("read the notifications that were not delivered: %w", err)
	}
	for _, l := range f.lanes {
		f.bound(l)
	}
	return nil
}

// restore takes over a letter from the store.
func (f *Fanout) restore(key string, value []byte, _ time.Time) error {
	sink, number := sinkOf(key)
	if n, err := strconv.ParseUint(number, 16, 64); err == nil {
		f.number.Store(max(f.number.Load(), n))
	}
	l := f.lanes[sink]
	if l == nil {
		f.opts.Logger.Warn("notification dropped, its sink is no longer there", "key", key)
		f.backlog.DeleteLater(key)
		return nil
	}
	m, err := unmarshalLetter(key, value)
	if err != nil {
		// It stays where it is: a later version may read it.
		f.results.WithLabelValues(l.name, resultDropped).Inc()
		f.opts.Logger.Error("notification of an earlier process cannot be read", "key", key, "error", err)
		return nil
	}
	l.restore(m)
	return nil
}

// Unstored is how many documents wait that would be lost with the process.
func (f *Fanout) Unstored() int { return f.backlog.Unstored() }

// Send hands the detection, with the quarantines that it led to, to every sink's queue. It returns
// nil once the queues are stored, if there is a store; after an error they may not outlive the process,
// and are sent all the same. It does not wait for any sink, and for the store only a moment. Where a
// queue is full, its oldest document is dropped, which is counted.
func (f *Fanout) Send(ctx context.Context, d *event.Detection, led ...Quarantine) error {
	body, err := f.opts.Encoder.Encode(d, led...)
	if err != nil {
		return err
	}
	packed := s2.Encode(nil, body)
	var errs []error
	for _, l := range f.lanes {
		m := &letter{id: d.ID, change: changeOf(d), packed: packed}
		if l.left(m) {
			continue
		}
		m.key = fmt.Sprintf("%s/%016x", l.name, f.number.Add(1))
		errs = append(errs, f.store(ctx, m))
		l.add(m)
		f.bound(l)
	}
	return errors.Join(errs...)
}

func (f *Fanout) store(ctx context.Context, m *letter) error {
	if f.opts.Store == nil {
		return nil
	}
	value, err := m.marshal()
	if err != nil {
		return err
	}
	return f.backlog.Put(ctx, m.key, value)
}

// bound drops what is too much for a sink's queue.
func (f *Fanout) bound(l *lane) {
	for _, m := range l.overflow(f.opts.Queue, f.opts.QueueBytes) {
		f.backlog.DeleteLater(m.key)
		f.results.WithLabelValues(l.name, resultDropped).Inc()
		f.opts.Logger.Error("sink is too slow, its oldest notification is dropped", "sink", l.name, "detection", m.id)
	}
}

// Run sends until the context ends; then it goes on for the drain timeout at most,
// until the queues are empty, and returns nil. What is left then is sent after the next
// start, if there is a store. A Fanout runs once.
func (f *Fanout) Run(ctx context.Context) error {
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	storing, stopStoring := context.WithCancel(context.WithoutCancel(ctx))
	var lanes, writer sync.WaitGroup
	writer.Go(func() { _ = f.backlog.Run(storing) }) // it returns nil
	for _, l := range f.lanes {
		lanes.Go(func() { f.serve(ctx, sending, l) })
	}
	<-ctx.Done()
	timeout := time.AfterFunc(f.opts.DrainTimeout, stop)
	defer timeout.Stop()
	lanes.Wait()
	stopStoring()
	writer.Wait()
	return nil
}

// serve sends one sink's documents until running ends, then what is in its queue
// until sending ends too, or the sink fails.
func (f *Fanout) serve(running, sending context.Context, l *lane) {
	pause := minPause
	for {
		m := l.first()
		switch {
		case m == nil && running.Err() != nil:
			return
		case m == nil:
			select {
			case <-l.wake:
			case <-running.Done():
			}
		case f.send(sending, l, m):
			pause = minPause
		default:
			l.postpone(m)
			if !wait(running, pause) {
				f.leave(l)
				return
			}
			pause = min(2*pause, maxPause)
		}
	}
}

// wait waits for a time, and reports false if the context has ended by then.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// leave leaves what waits to the next start.
func (f *Fanout) leave(l *lane) {
	if left := l.len(); left > 0 {
		f.results.WithLabelValues(l.name, resultStopped).Add(float64(left))
		f.opts.Logger.Warn("notifications are left for the next start", "sink", l.name, "notifications", left)
	}
}

// send sends a document, and reports whether the sink is done with it.
func (f *Fanout) send(ctx context.Context, l *lane, m *letter) bool {
	if ctx.Err() != nil {
		return false
	}
	doc, err := m.document()
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrRejected, err)
	} else {
		err = l.sink.Send(ctx, doc)
	}
	result := resultSent
	switch {
	case errors.Is(err, ErrRejected):
		result = resultRejected
	case err != nil && ctx.Err() != nil:
		return false
	case err != nil:
		result = resultFailed
	}
	if err != nil {
		f.opts.Logger.Error("detection did not reach the sink", "sink", l.name, "detection", m.id, "result", result, "err", err)
	}
	f.results.WithLabelValues(l.name, result).Inc()
	if result == resultFailed {
		return false
	}
	l.done(m)
	f.backlog.DeleteLater(m.key)
	return true
}
