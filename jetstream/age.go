package jetstream

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"
)

// ageSteps is how finely age is told: a message goes when it is older than
// it must be by at most this part.
const ageSteps = 16

// age says which messages of a stream are old enough to go. It remembers, at
// intervals, up to which sequence there were messages, and lets them go once that is long
// ago by the process' own, monotonic clock.
type age struct {
	keep  atomic.Int64 // a time.Duration
	marks []mark       // oldest first
}

// keepFor sets how long messages are kept.
func (a *age) keepFor(d time.Duration) { a.keep.Store(int64(d)) }

// kept is how long messages are kept.
func (a *age) kept() time.Duration { return time.Duration(a.keep.Load()) }

// mark says that the messages up to a sequence were there at a time.
type mark struct {
	sequence uint64
	at       time.Time
}

// let notes the stream's last sequence and returns the last that may go, 0 if none may.
func (a *age) let(last uint64, now time.Time) uint64 {
	keep := a.kept()
	if n := len(a.marks); n == 0 || (a.marks[n-1].sequence < last && now.Sub(a.marks[n-1].at) >= keep/ageSteps) {
		a.marks = append(a.marks, mark{last, now})
	}
	// The newest that is old enough stays, to answer again if the purge fails.
	for len(a.marks) > 1 && now.Sub(a.marks[1].at) >= keep {
		a.marks = a.marks[1:]
	}
	if now.Sub(a.marks[0].at) < keep {
		return 0
	}
	return a.marks[0].sequence
}

// start dates what is in the stream already by its timestamps, as the wall clock now has it. A
// message from the future is as good as new, and one from long ago is let go at the next occasion.
func (a *age) start(ctx context.Context, e *engine, stream string, wall time.Time) error {
	s, err := e.js.Stream(ctx, stream)
	if err != nil {
		return explain(ctx, err)
	}
	if s.CachedInfo().State.Msgs == 0 {
		return nil
	}
	now := time.Now()
	for step := ageSteps; step >= 0; step-- {
		old := a.kept() * time.Duration(step) / ageSteps
		sequence, err := lastBefore(ctx, s, wall.Add(-old))
		if err != nil {
			return fmt.Errorf("date stream %s: %w", stream, explain(ctx, err))
		}
		if n := len(a.marks); n == 0 || a.marks[n-1].sequence < sequence {
			a.marks = append(a.marks, mark{sequence, now.Add(-old)})
		}
	}
	return nil
}

// resume is start for another engine of the same process: what damage has taken
// from the end of the stream is not there to be dated.
func (a *age) resume(ctx context.Context, e *engine, stream string) error {
	s, err := e.js.Stream(ctx, stream)
	if err != nil {
		return explain(ctx, err)
	}
	for i := range a.marks {
		a.marks[i].sequence = min(a.marks[i].sequence, s.CachedInfo().State.LastSeq)
	}
	return nil
}

// lastBefore finds the last message that was stored before a time: a consumer that
// would begin at that time says so, and needs to read nothing for it.
func lastBefore(ctx context.Context, s natsjs.Stream, t time.Time) (uint64, error) {
	consumer, err := s.CreateConsumer(ctx, natsjs.ConsumerConfig{
		DeliverPolicy: natsjs.DeliverByStartTimePolicy, OptStartTime: &t, AckPolicy: natsjs.AckNonePolicy, MemoryStorage: true,
	})
	if err != nil {
		return 0, err
	}
	info := consumer.CachedInfo()
	return info.Delivered.Stream, s.DeleteConsumer(ctx, info.Name)
}
