package jetstream

import (
	"context"
	"sync"
)

// progress tells those who wait that the consumer has come further.
type progress struct {
	mu    sync.Mutex
	moved chan struct{} // nil while nobody waits
}

func (p *progress) move() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.moved != nil {
		close(p.moved)
		p.moved = nil
	}
}

// next is closed at the next move.
func (p *progress) next() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.moved == nil {
		p.moved = make(chan struct{})
	}
	return p.moved
}

// Handled returns nil once the consumer has handled everything that was stored when it was called, or
// the context's error.
func (b *Bus) Handled(ctx context.Context) error {
	for target := b.stored.Load(); ; {
		moved := b.progress.next() // Before looking: nothing is missed.
		if b.handled.Load() >= target {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
