package app

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// shortReplay is a bus' replay, each step of which the test allows.
type shortReplay struct{ replayed, handled chan struct{} }

func (r *shortReplay) Replayed() <-chan struct{} { return r.replayed }
func (r *shortReplay) Horizon() time.Time        { return time.Time{} }
func (r *shortReplay) Handled(ctx context.Context) error {
	select {
	case <-r.handled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leftovers are what waited for its pod.
type leftovers chan struct{}

func (l leftovers) Resumed() <-chan struct{} { return l }

func TestResumptionIsOverWhenTheJoinHasEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := &shortReplay{make(chan struct{}), make(chan struct{})}
		waiting := make(leftovers)
		r := newResumption(bus)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.run(waiting)(ctx) }()
		for name, allow := range map[string]chan struct{}{"replay": bus.replayed, "waiting": waiting, "handled": bus.handled} {
			synctest.Wait()
			select {
			case <-r.Replayed():
				t.Errorf("it is over before %s", name)
			default:
			}
			close(allow)
		}
		<-r.Replayed()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestResumptionIsNotHeldByADiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := &shortReplay{make(chan struct{}), make(chan struct{})}
		waiting := make(leftovers)
		close(bus.replayed)
		close(waiting)
		r := newResumption(bus)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		begin := time.Now()
		go func() { done <- r.run(waiting)(ctx) }()
		<-r.Replayed()
		if waited := time.Since(begin); waited != handlePatience {
			t.Errorf("it took %s", waited)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
