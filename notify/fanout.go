package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/event"
)

// Sink takes detections to one place. Send may block and try again until the
// context ends. It is called from one goroutine.
type Sink interface {
	Send(ctx context.Context, d *event.Detection) error
}

// The defaults of FanoutOptions.
const (
	DefaultQueue        = 1024
	DefaultDrainTimeout = 10 * time.Second
)

// FanoutOptions are what a Fanout needs.
type FanoutOptions struct {
	// Sinks by the name that metrics and logs give them.
	Sinks map[string]Sink
	// Queue is how many detections may wait for each sink; DefaultQueue if zero.
	Queue int
	// DrainTimeout is how long Run goes on sending when it is stopped;
	// DefaultDrainTimeout if zero.
	DrainTimeout time.Duration
	Logger       *slog.Logger
	Registerer   prometheus.Registerer
}

// Fanout passes every detection to all sinks, each at its own pace.
type Fanout struct {
	opts    FanoutOptions
	lanes   []*lane
	results *prometheus.CounterVec
}

// lane is one sink with its queue.
type lane struct {
	name  string
	sink  Sink
	queue chan *event.Detection
}

// The results of a detection at a sink, as the metrics name them.
const (
	resultSent    = "sent"
	resultFailed  = "failed"
	resultNoRoom  = "no-room"
	resultStopped = "stopped"
)

// NewFanout makes a Fanout that sends nothing until Run.
func NewFanout(opts FanoutOptions) (*Fanout, error) {
	if opts.Queue == 0 {
		opts.Queue = DefaultQueue
	}
	if opts.DrainTimeout == 0 {
		opts.DrainTimeout = DefaultDrainTimeout
	}
	switch {
	case opts.Logger == nil:
		return nil, errors.New("notify options: Logger is missing")
	case opts.Registerer == nil:
		return nil, errors.New("notify options: Registerer is missing")
	case opts.Queue < 0 || opts.DrainTimeout < 0:
		return nil, errors.New("notify options: Queue and DrainTimeout must not be negative")
	}
	f := &Fanout{opts: opts, results: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "portcullis_notify_detections_total",
		Help: "Detections for the outside, by sink and result; failed, no-room and stopped ones did not get there.",
	}, []string{"sink", "result"})}
	for name, sink := range opts.Sinks {
		if sink == nil {
			return nil, fmt.Errorf("notify options: the sink %q is missing", name)
		}
		f.lanes = append(f.lanes, &lane{name, sink, make(chan *event.Detection, opts.Queue)})
		for _, result := range []string{resultSent, resultFailed, resultNoRoom, resultStopped} {
			f.results.WithLabelValues(name, result)
		}
	}
	if err := errors.Join(opts.Registerer.Register(f.results), opts.Registerer.Register(f.waiting())); err != nil {
		return nil, fmt.Errorf("notify metrics: %w", err)
	}
	return f, nil
}

func (f *Fanout) waiting() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "portcullis_notify_waiting_detections",
		Help: "Detections in the queues of all sinks.",
	}, func() float64 {
		n := 0
		for _, l := range f.lanes {
			n += len(l.queue)
		}
		return float64(n)
	})
}

// Send hands the detection to every sink's queue, and never waits. A sink whose
// queue is full misses it, which is counted.
func (f *Fanout) Send(d *event.Detection) {
	for _, l := range f.lanes {
		select {
		case l.queue <- d:
		default:
			f.results.WithLabelValues(l.name, resultNoRoom).Inc()
			f.opts.Logger.Warn("sink is too slow, detection dropped", "sink", l.name, "detection", d.ID)
		}
	}
}

// Run sends until the context ends; then it goes on for the drain timeout at most,
// until the queues are empty, and returns nil. What is left then is counted.
func (f *Fanout) Run(ctx context.Context) error {
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	for _, l := range f.lanes {
		wg.Go(func() { f.serve(ctx, sending, l) })
	}
	<-ctx.Done()
	timeout := time.AfterFunc(f.opts.DrainTimeout, stop)
	defer timeout.Stop()
	wg.Wait()
	return nil
}

// serve sends one sink's detections until running ends, then what is in its queue
// until sending ends too.
func (f *Fanout) serve(running, sending context.Context, l *lane) {
	for {
		select {
		case d := <-l.queue:
			f.send(sending, l, d)
		case <-running.Done():
			f.drain(sending, l)
			return
		}
	}
}

func (f *Fanout) drain(sending context.Context, l *lane) {
	for {
		select {
		case d := <-l.queue:
			f.send(sending, l, d)
		default:
			return
		}
	}
}

func (f *Fanout) send(ctx context.Context, l *lane, d *event.Detection) {
	if ctx.Err() != nil {
		f.results.WithLabelValues(l.name, resultStopped).Inc()
		return
	}
	result := resultSent
	if err := l.sink.Send(ctx, d); err != nil {
		result = resultFailed
		if ctx.Err() != nil {
			result = resultStopped
		}
		f.opts.Logger.Error("detection did not reach the sink", "sink", l.name, "detection", d.ID, "err", err)
	}
	f.results.WithLabelValues(l.name, result).Inc()
}

// Writer is a Sink that writes one line of JSON for each detection, such as to
// standard output.
type Writer struct {
	w       io.Writer
	encoder *Encoder
}

// NewWriter makes a Writer. One that blocks holds up only its own queue.
func NewWriter(w io.Writer, encoder *Encoder) *Writer { return &Writer{w, encoder} }

// Send writes the detection with a single call of Write.
func (s *Writer) Send(_ context.Context, d *event.Detection) error {
	doc, err := s.encoder.Encode(d)
	if err != nil {
		return err
	}
	if _, err := s.w.Write(append(doc, '\n')); err != nil {
		return fmt.Errorf("write detection: %w", err)
	}
	return nil
}
