package barrier

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// fakeAgents flush when they are told to.
type fakeAgents struct {
	nodes  []string
	began  atomic.Int64
	finish chan error // nil: at once
	absent bool
}

func (f *fakeAgents) Flush(ctx context.Context, node string) (bool, error) {
	f.began.Add(1)
	f.nodes = append(f.nodes, node)
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

// fakeHeld has what waits for a pod pass on when it is told to.
type fakeHeld struct {
	asked  [][]string
	finish chan struct{} // nil: at once
}

func (f *fakeHeld) PassedOn(ctx context.Context, pods []string) error {
	f.asked = append(f.asked, pods)
	if f.finish == nil {
		return nil
	}
	select {
	case <-f.finish:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fakePods finds one pod.
type fakePods struct{ at Place }

func (f fakePods) Find(context.Context, string, string) (Place, error) { return f.at, nil }

// judged is a Judgement that has an opinion on when it is asked.
type judged func(ctx context.Context) error

func (j judged) Handled(ctx context.Context) error { return j(ctx) }

func nothingWaits(context.Context) error { return nil }

func newBarrier(t *testing.T, agents Agents, j judged) *Barrier {
	t.Helper()
	return withHeld(t, agents, &fakeHeld{}, j)
}

func withHeld(t *testing.T, agents Agents, held Held, j judged) *Barrier {
	t.Helper()
	b, err := New(Options{
		Agents: agents, Pods: fakePods{Place{Node: "n9", Pod: "found"}}, Held: held, Judgement: j, Registerer: prometheus.NewRegistry(),
	})
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
	if err := b.Wait(t.Context(), Place{Node: "n1"}); err != nil || !flushedFirst {
		t.Errorf("error %v, agent first: %t", err, flushedFirst)
	}
	if err := b.Wait(t.Context(), Place{}); err != nil || agents.began.Load() != 1 {
		t.Errorf("without a node: error %v, %d flushes", err, agents.began.Load())
	}
	if got := testutil.ToFloat64(b.metrics.waits.WithLabelValues(outcomePassed)); got != 2 {
		t.Errorf("%v waits passed, want 2", got)
	}
}

func TestAllPlacesAreWaitedFor(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		places      []Place
		nodes, pods []string
	}{
		"two nodes":            {[]Place{{Node: "n1", Pod: "a"}, {Node: "n2", Pod: "b"}}, []string{"n1", "n2"}, []string{"a", "b"}},
		"two pods of one node": {[]Place{{Node: "n1", Pod: "a"}, {Node: "n1", Pod: "b"}}, []string{"n1"}, []string{"a", "b"}},
		"a node not known":     {[]Place{{Node: "n1", Pod: "a"}, {Pod: "b"}}, []string{"n1"}, []string{"a", "b"}},
		"a pod not known":      {[]Place{{Namespace: "shop", Name: "new"}}, []string{"n9"}, []string{"shop/new", "found"}},
		"a pod by name":        {[]Place{{Namespace: "shop", Name: "web-0", Node: "n1", Pod: "a"}}, []string{"n1"}, []string{"shop/web-0", "a"}},
		"none":                 {nil, nil, nil},
	} {
		agents, held := &fakeAgents{}, &fakeHeld{}
		if err := withHeld(t, agents, held, nothingWaits).Wait(t.Context(), row.places...); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(row.nodes, agents.nodes); diff != "" {
			t.Errorf("%s: flushed (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff([][]string{row.pods}, held.asked); diff != "" {
			t.Errorf("%s: waited for what was held of (-want +got):\n%s", name, diff)
		}
	}
}

func TestAWaitIsBounded(t *testing.T) {
	t.Parallel()
	forever := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for name, b := range map[string]func(*testing.T) *Barrier{
		"agent": func(t *testing.T) *Barrier { return newBarrier(t, &fakeAgents{finish: make(chan error)}, nothingWaits) },
		"hold": func(t *testing.T) *Barrier {
			return withHeld(t, &fakeAgents{}, &fakeHeld{finish: make(chan struct{})}, nothingWaits)
		},
		"rules": func(t *testing.T) *Barrier { return newBarrier(t, &fakeAgents{}, forever) },
	} {
		synctest.Test(t, func(t *testing.T) {
			b := b(t)
			begin := time.Now()
			err := b.Wait(t.Context(), Place{Node: "n1"})
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
	if err := b.Wait(t.Context(), Place{Node: "n1"}); err != nil {
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
	if err := b.Wait(t.Context(), Place{Node: "n1"}); !errors.Is(err, broken) || errors.Is(err, ErrTimeout) {
		t.Errorf("error %v", err)
	}
}
