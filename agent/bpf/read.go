package bpf

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
)

// The shortest times between two wakeups by the kernel, for records that
// matter most and for all others: see wakeup in output.h. A record that
// comes sooner waits for the reader to look again by itself.
const (
	urgentInterval time.Duration = 500 * time.Microsecond
	wakeupInterval time.Duration = 4 * time.Millisecond
)

// After the ring was found empty the reader looks again in growing intervals.
// The first two looks find what came within the intervals after the last
// wakeup. The others are for the record whose program was interrupted between
// deciding not to wake and writing it.
var lookAgain = []time.Duration{urgentInterval, wakeupInterval, 20 * time.Millisecond, 250 * time.Millisecond}

// Read hands every record to handle, in order, until ctx ends; then what is
// still in the ring buffer, and returns nil. A record that cannot be decoded is
// handed over as its error.
//
// idle is called whenever the ring was found empty, at least every 250 ms: it
// is the place for what a batch has in common. Read must not be called twice.
func (p *Programs) Read(ctx context.Context, handle func(*Record, error), idle func()) error {
	stop := context.AfterFunc(ctx, func() { _ = p.reader.Flush() })
	defer stop()
	var record ringbuf.Record
	for looks := 0; ; {
		p.reader.SetDeadline(time.Now().Add(lookAgain[min(looks, len(lookAgain)-1)]))
		err := p.reader.ReadInto(&record)
		switch {
		case err == nil:
			looks = 0
			handle(Decode(record.RawSample))
		case errors.Is(err, os.ErrDeadlineExceeded):
			looks++
			idle()
		case errors.Is(err, ringbuf.ErrFlushed), errors.Is(err, ringbuf.ErrClosed):
			idle()
			return nil
		default:
			return fmt.Errorf("read the ring buffer: %w", err)
		}
	}
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
	// RateLimited: a container was over its budget.
	RateLimited uint64
	// ProcessesFull: a process could not be remembered. Its events are
	// complete, but its entry leader is found by looking up the process tree.
	ProcessesFull uint64
}

// Lost reads the counters. They only grow.
func (p *Programs) Lost() (Lost, error) {
	var sums [3]uint64
	for i := range sums {
		var perCPU []uint64
		if err := p.collection.Maps[probeMapCounters].Lookup(uint32(i), &perCPU); err != nil {
			return Lost{}, fmt.Errorf("read the loss counters: %w", err)
		}
		for _, n := range perCPU {
			sums[i] += n
		}
	}
	return Lost{RingFull: sums[0], RateLimited: sums[1], ProcessesFull: sums[2]}, nil
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
