package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/portcullis-dev/portcullis/agent/bpf"
	"github.com/portcullis-dev/portcullis/agent/clock"
	"github.com/portcullis-dev/portcullis/agent/container"
	"github.com/portcullis-dev/portcullis/agent/process"
	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// Sink takes events over. Neither method may block.
type Sink interface {
	// Push is called with events in the order in which they were read.
	Push(*telemetryv1.Event)
	// Close is called once, after the last Push.
	Close()
}

// Options of New.
type Options struct {
	// Programs are loaded and attached. Run detaches them; the caller closes
	// them afterwards. Required.
	Programs *bpf.Programs
	// BootID is the kernel's random boot id: see BootID. Required.
	BootID string
	// Sink takes the events. Required.
	Sink Sink
	// Logger and Registerer are required.
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Agent turns the kernel's records into events.
type Agent struct {
	opts        Options
	clock       *clock.Clock
	table       *process.Table
	metrics     *metrics
	undecodable atomic.Uint64
	lost        atomic.Pointer[bpf.Lost] // as last read
	missed      atomic.Uint64            // as last read
	missedAt    atomic.Pointer[time.Time]
}

// New checks the options and prepares the agent.
func New(opts Options) (*Agent, error) {
	switch {
	case opts.Programs == nil:
		return nil, errors.New("options: Programs is required")
	case opts.Sink == nil:
		return nil, errors.New("options: Sink is required")
	case opts.Logger == nil:
		return nil, errors.New("options: Logger is required")
	case opts.Registerer == nil:
		return nil, errors.New("options: Registerer is required")
	}
	a := &Agent{opts: opts}
	a.lost.Store(&bpf.Lost{})
	var err error
	if a.clock, err = clock.New(nil); err != nil {
		return nil, err
	}
	if a.table, err = process.New(process.Options{BootID: opts.BootID, Wall: a.clock.Wall}); err != nil {
		return nil, err
	}
	if a.metrics, err = newMetrics(opts.Registerer, a); err != nil {
		return nil, err
	}
	return a, nil
}

// First is when a container's first process began, in nanoseconds since boot, if that was seen. It is safe for concurrent use.
func (a *Agent) First(containerID string) (start uint64, known bool) {
	return a.table.First(containerID)
}

// Container tells whose a cgroup is, if anything was seen of it. It is safe for concurrent use.
func (a *Agent) Container(cgroup uint64) (container.Container, bool) {
	return a.table.Container(cgroup)
}

// Run reads until ctx ends, hands over all that was seen until then, and
// closes the sink.
func (a *Agent) Run(ctx context.Context) error {
	defer a.opts.Sink.Close()
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		<-ctx.Done()
		defer stop()
		return a.opts.Programs.Detach()
	})
	group.Go(func() error {
		return a.opts.Programs.Read(reading, a.handle, a.idle)
	})
	if err := group.Wait(); err != nil {
		return fmt.Errorf("read the kernel's records: %w", err)
	}
	return nil
}

// Flush returns when the sink has everything that the kernel had recorded when Flush was called.
// It is safe for concurrent use with Run, without which it waits until ctx ends.
func (a *Agent) Flush(ctx context.Context) error { return a.opts.Programs.Flush(ctx) }

func (a *Agent) handle(r *bpf.Record, err error) {
	if err != nil {
		a.undecodable.Add(1)
		a.opts.Logger.Debug("record cannot be decoded", "error", err)
		return
	}
	if r.Kind == bpf.KindOpen || r.Kind == bpf.KindExec {
		a.metrics.delay.Observe(time.Since(a.clock.Wall(r.Time)).Seconds())
	}
	a.table.Take(r, a.push)
}

func (a *Agent) push(e *telemetryv1.Event) {
	a.metrics.count(e)
	a.opts.Sink.Push(e)
}

func (a *Agent) idle() {
	if err := a.clock.Update(); err != nil {
		a.opts.Logger.Error("clock cannot be measured", "error", err)
	}
	a.metrics.update(a.table.Stats())
}

// Lost counts what was lost on the way from the kernel to the sink. The counts
// never shrink: where they cannot be read they stay. It is safe for concurrent use.
func (a *Agent) Lost() *telemetryv1.Lost {
	lost := a.kernelLost()
	return &telemetryv1.Lost{
		RingFull:       lost.RingFull,
		LimitedEntries: lost.LimitedEntries,
		LimitedOpens:   lost.LimitedOpens,
		LimitedExecs:   lost.LimitedExecs,
		LimitedExits:   lost.LimitedExits,
		Undecodable:    a.undecodable.Load(),
		SkippedRuns:    a.skipped(),
	}
}

func (a *Agent) kernelLost() bpf.Lost {
	lost, err := a.opts.Programs.Lost()
	if err != nil {
		a.opts.Logger.Error("loss counters cannot be read", "error", err)
		return *a.lost.Load()
	}
	a.lost.Store(&lost)
	return lost
}

// skippedAge is how old the count of skipped runs may be. It costs a system call for each program, and what it says is that
// there may have been something: the other counts are exact at any time.
const skippedAge = time.Second

func (a *Agent) skipped() uint64 {
	if last := a.missedAt.Load(); last != nil && time.Since(*last) < skippedAge {
		return a.missed.Load()
	}
	now := time.Now()
	a.missedAt.Store(&now)
	missed, err := a.opts.Programs.Missed()
	if err != nil {
		a.opts.Logger.Error("statistics of the programs cannot be read", "error", err)
		return a.missed.Load()
	}
	a.missed.Store(missed)
	return missed
}
