package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// stopLimit bounds the end of one stage, stopTotal that of all together: the
// kubelet gives a pod 30 s by default, and what is killed drains nothing.
const (
	stopLimit = 8 * time.Second
	stopTotal = 25 * time.Second
)

// part is something that runs until its context ends, and then returns nil.
type part struct {
	name string
	run  func(context.Context) error
}

// stage is a group of parts that may start and end together.
type stage []part

// runStages starts the stages in order, and ends them in the opposite order
// when ctx ends or any part fails. A later stage may hand its work to an
// earlier one, so what is in flight is finished before its taker goes.
func runStages(ctx context.Context, logger *slog.Logger, stages []stage) error {
	failed := make(chan error, 1) // the first failure is what ends everything
	running := make([]*runningStage, 0, len(stages))
	for _, s := range stages {
		running = append(running, s.start(ctx, failed))
	}

	var errs []error
	select {
	case <-ctx.Done():
		logger.Info("stopping")
	case err := <-failed:
		errs = append(errs, err)
		logger.Error("stopping, because a part failed", "error", err)
	}
	deadline := time.Now().Add(stopTotal)
	for i := len(running) - 1; i >= 0; i-- {
		errs = append(errs, running[i].stop(min(stopLimit, time.Until(deadline))))
	}
	return errors.Join(errs...)
}

type runningStage struct {
	cancel context.CancelFunc
	done   chan error

	mu sync.Mutex
	// left are the names of the parts that have not ended.
	left map[string]bool
}

// start runs the stage's parts under a context that outlives ctx: only stop ends it.
func (s stage) start(ctx context.Context, failed chan<- error) *runningStage {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &runningStage{cancel: cancel, done: make(chan error, 1), left: make(map[string]bool)}
	var group sync.WaitGroup
	errs := make([]error, len(s))
	for _, p := range s {
		r.left[p.name] = true
	}
	for i, p := range s {
		group.Go(func() {
			defer r.ended(p.name)
			err := p.run(own)
			switch {
			case own.Err() != nil && (err == nil || errors.Is(err, context.Canceled)):
				return
			case err == nil:
				err = errors.New("ended by itself")
			}
			err = fmt.Errorf("%s: %w", p.name, err)
			if own.Err() != nil {
				errs[i] = err // it failed while ending: nobody is waiting on failed any more
				return
			}
			select {
			case failed <- err:
			default: // another one failed first
			}
		})
	}
	go func() {
		group.Wait()
		r.done <- errors.Join(errs...)
	}()
	return r
}

func (r *runningStage) stop(limit time.Duration) error {
	r.cancel()
	select {
	case err := <-r.done:
		return err
	case <-time.After(limit):
		return fmt.Errorf("%v did not end within %s", r.names(), limit)
	}
}

func (r *runningStage) ended(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.left, name)
}

func (r *runningStage) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.left))
}
