package bpf

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// How long a record may wait for the reader to look by itself, before it wakes it:
// one that matters most, and all others. See wakeup in output.h.
const (
	urgentInterval time.Duration = 500 * time.Microsecond
	wakeupInterval time.Duration = busyRest + time.Millisecond
)

// How long the reader sleeps at most. Each of its turns costs what does not depend on how much it finds: timers,
// system calls, a batch and its acknowledgement. So it takes fewer of them
// the more there is to do. None is longer than wakeupInterval but the idle one, so that
// only the first record after a while wakes it, and what matters most.
const (
	shortRest = 4 * time.Millisecond
	busyRest  = 50 * time.Millisecond
	idleRest  = 250 * time.Millisecond

	// many is how many records in one turn are a stream of them.
	many = 8
	// patient is how many turns may find nothing before the reader is idle.
	patient = 2
)

// rest is how long to sleep after a turn that found so much, when so many before it found nothing.
func rest(found, empty int) time.Duration {
	switch {
	case found >= many:
		return busyRest
	case found > 0 || empty < patient:
		return shortRest
	default:
		return idleRest
	}
}

// Read hands every record to handle, in order, until ctx ends; then what is
// still in the ring buffer, and returns nil. A record that cannot be decoded is
// handed over as its error. A record is the same memory as the next: handle copies what it keeps.
//
// idle is called whenever the ring was found empty, at least every 250 ms: it
// is the place for what a batch has in common. Read must not be called twice.
func (p *Programs) Read(ctx context.Context, handle func(*Record, error), idle func()) error {
	stop := context.AfterFunc(ctx, func() { _ = p.reader.Flush() })
	defer stop()
	left := errNotRead
	defer func() { p.flushes.end(left) }()
	var record ringbuf.Record
	decode := newDecoder()
	if err := p.sleepFor(shortRest); err != nil {
		return err
	}
	last := false // what is read now is the last
	for found, empty := 0, 0; ; {
		err := p.reader.ReadInto(&record)
		sleep := shortRest
		switch {
		case err == nil:
			handle(decode.record(record.RawSample))
			if found++; found > 1 || empty < patient {
				continue
			}
			empty = 0 // woken from a long sleep: more will come
		case errors.Is(err, os.ErrDeadlineExceeded):
			if empty++; found > 0 {
				empty = 0
			}
			sleep = rest(found, empty)
			found = 0
			idle()
		case errors.Is(err, ringbuf.ErrFlushed) && !last:
			found, empty = 0, 0
			// Once more at the end: this turn may have begun before.
			last = ctx.Err() != nil
			if p.flushes.turn() || last {
				_ = p.reader.Flush()
			}
		case errors.Is(err, ringbuf.ErrFlushed):
			left = nil
			idle()
			return nil
		case errors.Is(err, ringbuf.ErrClosed):
			idle()
			return nil
		default:
			return fmt.Errorf("read the ring buffer: %w", err)
		}
		if err := p.sleepFor(sleep); err != nil {
			return err
		}
	}
}

// sleepFor lets the next sleep last so long at most, and tells the programs when it will be over.
func (p *Programs) sleepFor(d time.Duration) error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	if err := p.collection.Variables[probeVarReaderLooks].Set(uint64(now.Nano() + int64(d))); err != nil { //nolint:gosec // time since boot is positive
		return fmt.Errorf("tell the programs when the ring buffer is read: %w", err)
	}
	p.reader.SetDeadline(time.Now().Add(d))
	return nil
}

// Detach stops the programs without closing anything, so that a Read that is
// ended afterwards hands over all that they saw.
func (p *Programs) Detach() error {
	errs := make([]error, 0, len(p.links))
	for _, l := range p.links {
		errs = append(errs, l.Close())
	}
	p.links = nil
	return errors.Join(errs...)
}

// Lost counts what the programs saw and could not hand over, since Load.
type Lost struct {
	// RingFull: the ring buffer had no room.
	RingFull uint64
	// A container was over its budget for entry leaders, opens, execs or exits.
	LimitedEntries, LimitedOpens, LimitedExecs, LimitedExits uint64
	// ProcessesFull: a process could not be remembered. Its events are
	// complete, but its entry leader is found by looking up the process tree.
	ProcessesFull uint64
}

// Limited is the sum of what exceeded a budget.
func (l Lost) Limited() uint64 {
	return l.LimitedEntries + l.LimitedOpens + l.LimitedExecs + l.LimitedExits
}

// Lost reads the counters. They only grow.
func (p *Programs) Lost() (Lost, error) {
	var perCPU []probeCounts
	if err := p.collection.Maps[probeMapCounters].Lookup(uint32(0), &perCPU); err != nil {
		return Lost{}, fmt.Errorf("read the loss counters: %w", err)
	}
	var lost Lost
	for _, counts := range perCPU {
		// In the order of enum counter in record.h.
		for i, sum := range []*uint64{
			&lost.RingFull, &lost.LimitedEntries, &lost.LimitedOpens, &lost.LimitedExecs, &lost.LimitedExits, &lost.ProcessesFull,
		} {
			*sum += counts.Of[i]
		}
	}
	return lost, nil
}

// Missed counts how often a program was not run because the CPU was running it
// already. Nobody knows whether there was anything to see. It only grows.
func (p *Programs) Missed() (uint64, error) {
	var missed uint64
	for _, c := range []*ebpf.Collection{p.collection, p.opens} {
		if c == nil {
			continue
		}
		for name, program := range c.Programs {
			stats, err := program.Stats()
			if err != nil {
				return 0, fmt.Errorf("read the statistics of %s: %w", name, err)
			}
			missed += stats.RecursionMisses
		}
	}
	return missed, nil
}
