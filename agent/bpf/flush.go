package bpf

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// errNotRead is the answer to a Flush after Read has failed.
var errNotRead = errors.New("flush the ring buffer: nobody reads it any more")

// flushes are the callers of Flush. The ring buffer is read to its end whenever one
// comes, and that end is only then known to be behind what a caller means if the reading began
// after it came: so each waits for the whole of a turn.
type flushes struct {
	mu sync.Mutex
	// The turn that is under way serves due; who came since waits for the next one.
	due, waiting []chan<- error
	// err is what all get who come after the end.
	ended bool
	err   error
}

// Flush has Read hand over everything that the programs had recorded when Flush was called,
// and returns when it has. Any number may call it at once; it is safe for
// concurrent use with Read, without which it waits until ctx ends.
func (p *Programs) Flush(ctx context.Context) error {
	done := make(chan error, 1)
	p.flushes.mu.Lock()
	if p.flushes.ended {
		defer p.flushes.mu.Unlock()
		return p.flushes.err
	}
	p.flushes.waiting = append(p.flushes.waiting, done)
	p.flushes.mu.Unlock()
	if err := p.reader.Flush(); err != nil {
		return fmt.Errorf("flush the ring buffer: %w", err)
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// turn is called at the ring buffer's end: it lets those go whose turn this was, and reports whether others
// wait for another one.
func (f *flushes) turn() (again bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, done := range f.due {
		done <- nil
	}
	f.due, f.waiting = f.waiting, nil
	return len(f.due) > 0
}

// end answers all once the ring buffer was read for the last time: with nil if that was to its end.
func (f *flushes) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended, f.err = true, err
	for _, done := range append(f.due, f.waiting...) {
		done <- err
	}
	f.due, f.waiting = nil, nil
}
