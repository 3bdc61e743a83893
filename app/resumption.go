package app

import (
	"context"
	"time"
)

// handlePatience is how long the join may take for what has just gone on to it.
const handlePatience = 30 * time.Second

// replay is a bus that begins with what an earlier process was given.
type replay interface {
	Replayed() <-chan struct{}
	Horizon() time.Time
	// Handled returns nil once everything that was stored when it was called has been handled.
	Handled(ctx context.Context) error
}

// resumption is over when the join has everything that earlier processes had acknowledged: what is on
// the bus, and what waited for its pod before it could get there. Until then the join goes by the time at which
// events arrived; the clock, by which some of them are long too late, comes after that.
type resumption struct {
	bus  replay
	over chan struct{}
}

func newResumption(bus replay) *resumption { return &resumption{bus: bus, over: make(chan struct{})} }

// Replayed implements correlator.Replaying.
func (r *resumption) Replayed() <-chan struct{} { return r.over }

// Horizon implements correlator.Replaying.
func (r *resumption) Horizon() time.Time { return r.bus.Horizon() }

// run returns what waits for its end.
func (r *resumption) run(waiting interface{ Resumed() <-chan struct{} }) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, over := range []<-chan struct{}{r.bus.Replayed(), waiting.Resumed()} {
			select {
			case <-over:
			case <-ctx.Done():
				return nil
			}
		}
		// Bounded: a disk that hangs, or has lost the last of it, must not keep the join from the present.
		limited, cancel := context.WithTimeout(ctx, handlePatience)
		defer cancel()
		_ = r.bus.Handled(limited)
		close(r.over)
		<-ctx.Done()
		return nil
	}
}
