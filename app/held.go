package app

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/portcullis-dev/portcullis/event"
)

// spool keeps events that wait for their pod where they outlive the process.
type spool interface {
	Put(ctx context.Context, key string, events []*event.Event) error
	// Delete removes what is stored under a key. That there is nothing is no error.
	Delete(ctx context.Context, key string) error
	Range(ctx context.Context, visit func(key string, events []*event.Event) error) error
}

// delivery is what one source handed over at once. Some of its events can go on at once,
// the others wait for their pod; those are in the spool until the last of them has gone on.
type delivery struct {
	key  string
	late chan<- lateEvent
	// noRoom is told of what finds no room in late.
	noRoom func()

	mu sync.Mutex
	// returned is set when Submit has returned for all events: what comes later is late.
	returned bool
	ready    []*event.Event
	// waiting are copies of those that wait, as they were handed over: the originals are being completed.
	waiting map[*event.Event]*event.Event
	// left is how many have not gone on yet; spooled is set once they are in the spool.
	left    int
	spooled bool
}

// lateEvent is an event that had to wait.
type lateEvent struct {
	event *event.Event
	of    *delivery
}

// expect notes an event before it is submitted.
func (d *delivery) expect(e *event.Event) {
	if e.Audit != nil || e.Pod.UID == "" {
		return // It never waits.
	}
	copied := *e
	if e.Container != nil {
		container := *e.Container
		copied.Container = &container
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting[e] = &copied
}

// deliver takes an event that is complete, or foreign.
func (d *delivery) deliver(e *event.Event, foreign bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.returned {
		delete(d.waiting, e)
		if !foreign {
			d.ready = append(d.ready, e)
		}
		return
	}
	if foreign {
		e = nil // It is done with, and that is all.
	}
	select {
	case d.late <- lateEvent{e, d}:
	default: // It stays in the spool.
		d.noRoom()
	}
}

// close ends the time in which events go on at once. It returns those, and copies of the others.
func (d *delivery) close() (ready, waiting []*event.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.returned = true
	d.left = len(d.waiting)
	for _, e := range d.waiting {
		waiting = append(waiting, e)
	}
	d.waiting = nil
	return d.ready, waiting
}

// stored notes that the waiting events are in the spool, and reports whether they need not be any more.
func (d *delivery) stored() (obsolete bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spooled = true
	return d.left == 0
}

// wentOn notes that one of the waiting events has gone on, and reports whether the spool can forget them.
func (d *delivery) wentOn() (obsolete bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left--
	return d.left == 0 && d.spooled
}

// keys makes the spool's keys: different in every process.
type keys struct {
	process int64
	count   atomic.Uint64
}

func (k *keys) next() string { return fmt.Sprintf("%d-%d", k.process, k.count.Add(1)) }
