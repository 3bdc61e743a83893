package app

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/portcullis-dev/portcullis/event"
)

// waiting knows which pods events wait for, by UID and by namespace/name, so that somebody can wait for those.
type waiting struct {
	mu   sync.Mutex
	pods map[string][]*group
}

// group is some events that wait for the same pod.
type group struct {
	of  *waiting
	pod string
	// left is how many have not gone on. No more come once it is closed.
	left   int
	closed bool
	// over is closed when none is left.
	over chan struct{}
}

// lacks are what an event waits for: a pod by its UID, and of a request by the name that the pod says it has as well, which may
// be known as that of the one before it.
func lacks(e *event.Event) []string {
	if e.Audit == nil {
		return []string{e.Pod.UID}
	}
	caller := e.Audit.Caller
	return []string{caller.UID, caller.Namespace + "/" + caller.Name}
}

// held are the groups that an event is in.
type held []*group

// add notes that an event waits. It is to be told when that has gone on.
func (w *waiting) add(e *event.Event) held {
	w.mu.Lock()
	defer w.mu.Unlock()
	keys := lacks(e)
	in := make(held, 0, len(keys))
	for _, key := range keys {
		in = append(in, w.groupOf(key))
	}
	return in
}

// groupOf is the group of one more event. The caller has the lock.
func (w *waiting) groupOf(pod string) *group {
	groups := w.pods[pod]
	if n := len(groups); n > 0 && !groups[n-1].closed {
		groups[n-1].left++
		return groups[n-1]
	}
	g := &group{of: w, pod: pod, left: 1, over: make(chan struct{})}
	w.pods[pod] = append(groups, g)
	return g
}

// done notes that the event has gone on.
func (h held) done() {
	for _, g := range h {
		g.done()
	}
}

func (g *group) done() {
	w := g.of
	w.mu.Lock()
	defer w.mu.Unlock()
	if g.left--; g.left > 0 {
		return
	}
	close(g.over)
	w.pods[g.pod] = slices.DeleteFunc(w.pods[g.pod], func(other *group) bool { return other == g })
	if len(w.pods[g.pod]) == 0 {
		delete(w.pods, g.pod)
	}
}

// until are the groups that wait for the pods now: what comes later is in others.
func (w *waiting) until(pods []string) (all []*group) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, pod := range pods {
		for _, g := range w.pods[pod] {
			g.closed = true
			all = append(all, g)
		}
	}
	return all
}

// errBehind says that something is in the store only.
var errBehind = errors.New("events that wait for their pod are still to be read from the store")

// PassedOn implements barrier.Held.
func (p *pipeline) PassedOn(ctx context.Context, pods []string) error {
	for _, g := range p.waiting.until(pods) {
		select {
		case <-g.over:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if p.behind.Load() {
		return errBehind
	}
	return nil
}
