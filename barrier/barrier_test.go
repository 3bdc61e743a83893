package barrier

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// fakeAgents flush when they are told to.
type fakeAgents struct {
	began  atomic.Int64
	finish chan error // nil: at once
	absent bool
}

func (f *fakeAgents) Flush(ctx context.Context, _ string) (bool, error) {
	f.began.Add(1)
	if f.finish == nil {
		return f.absent, nil
	}
	select {
	case err := <-f.finish:
		return f.absent, err
	case <-ctx.Done():
		return f.absent, ctx.Err()
	}
}

// judged is a Judgement that has an opinion on when it is asked.
type judged func(ctx context.Context) error

func (j judged) Handled(ctx context.Context) error { return j(ctx) }

func nothingWaits(context.Context) error { return nil }

func newBarrier(t *testing.T, agents Agents, j judged) *Barrier {
	t.Helper()
	b, err := New(Options{Agents: agents, Judgement: j, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRulesAreWaitedForAfterTheAgent(t *testing.T) {
	t.Parallel()
	agents := &fakeAgents{}
	flushedFirst := false
	b := newBarrier(t, agents, func(context.Context) error {
		flushedFirst = agents.began.Load() == 1
		return nil
	})
	if err := b.Wait(t.Context(), "n1"); err != nil || !flushedFirst {
		t.Errorf("error %v, agent first: %t", err, flushedFirst)
	}
	if err := b.Wait(t.Context(), ""); err != nil || agents.began.Load() != 1 {
		t.Errorf("without a node: error %v, %d flushes", err, agents.began.Load())
	}
	if got := testutil.ToFloat64(b.metrics.waits.WithLabelValues(outcomePassed)); got != 2 {
		t.Errorf("%v waits passed, want 2", got)
	}
}

func TestAWaitIsBounded(t *testing.T) {
	t.Parallel()
	forever := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for name, b := range map[string]func(*testing.T) *Barrier{
		"agent": func(t *testing.T) *Barrier { return newBarrier(t, &fakeAgents{finish: make(chan error)}, nothingWaits) },
		"rules": func(t *testing.T) *Barrier { return newBarrier(t, &fakeAgents{}, forever) },
	} {
		synctest.Test(t, func(t *testing.T) {
			b := b(t)
			begin := time.Now()
			err := b.Wait(t.Context(), "n1")
			if !errors.Is(err, ErrTimeout) || time.Since(begin) != DefaultTimeout {
				t.Errorf("%s: error %v after %s", name, err, time.Since(begin))
			}
			if got := testutil.ToFloat64(b.metrics.waits.WithLabelValues(outcomeFailed)); got != 1 {
				t.Errorf("%s: %v waits failed, want 1", name, got)
			}
		})
	}
}

func TestAnAgentThatIsNotThereIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	b := newBarrier(t, &fakeAgents{absent: true}, nothingWaits)
	if err := b.Wait(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	if got := testutil.ToFloat64(b.metrics.waits.WithLabelValues(outcomeNoAgent)); got != 1 {
		t.Errorf("%v waits without an agent, want 1", got)
	}
}

func TestAFailureIsTold(t *testing.T) {
	t.Parallel()
	agents := &fakeAgents{finish: make(chan error, 1)}
	broken := errors.New("the agent went away")
	agents.finish <- broken
	b := newBarrier(t, agents, nothingWaits)
	if err := b.Wait(t.Context(), "n1"); !errors.Is(err, broken) || errors.Is(err, ErrTimeout) {
		t.Errorf("error %v", err)
	}
}
