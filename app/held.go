package app

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/portcullis-dev/portcullis/collector"
	"github.com/portcullis-dev/portcullis/event"
)

// spool keeps events that wait for their pod where they outlive the process.
type spool interface {
	Put(ctx context.Context, key string, events []*event.Event) error
	// Delete removes what is stored under a key. That there is nothing is no error.
	Delete(ctx context.Context, key string) error
	Range(ctx context.Context, visit func(key string, events []*event.Event) error) error
}

// delivery is the part of what one source handed over at once that waits for its pods. It is in
// the spool until the last of its events has gone on.
type delivery struct {
	key    string
	events []*event.Event
	// left is how many have not gone on yet.
	left atomic.Int64
	late chan<- lateEvent
	// noRoom is told of what finds no room in late.
	noRoom func()
	claims *collector.Claims
}

// lateEvent is an event that had to wait.
type lateEvent struct {
	// event is nil if it turned out to be a lie that was told before: it is done with, and that is all.
	event *event.Event
	of    *delivery
	held  held
}

// deliver takes an event that is complete, or foreign, and was held.
func (d *delivery) deliver(e *event.Event, foreign bool, was held) {
	if foreign {
		e = d.claims.Event(e) // of the lie itself
	}
	select {
	case d.late <- lateEvent{e, d, was}:
	default: // It stays in the spool.
		d.noRoom()
		was.done()
	}
}

// wentOn notes that one of the events has gone on, and reports whether it was the last.
func (d *delivery) wentOn() bool { return d.left.Add(-1) == 0 }

// copied is an event that can be completed without changing what its source has: that may have to
// offer it again, and it is what is stored meanwhile.
func copied(e *event.Event) *event.Event {
	if e.Audit == nil && e.Pod.UID == "" {
		return e // It never waits.
	}
	own := *e
	if e.Audit != nil {
		audit := *e.Audit
		own.Audit = &audit
	}
	if e.Container != nil {
		container := *e.Container
		own.Container = &container
	}
	return &own
}

// keys makes the spool's keys: different in every process.
type keys struct {
	process int64
	count   atomic.Uint64
}

func (k *keys) next() string { return fmt.Sprintf("%d-%d", k.process, k.count.Add(1)) }
