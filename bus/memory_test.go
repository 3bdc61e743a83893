package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newMemory(tb testing.TB, capacity int) *Memory {
	tb.Helper()
	m, err := NewMemory(MemoryOptions{Capacity: capacity, Registerer: prometheus.NewRegistry()})
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func candidate(key string, n int) Candidate { return Candidate{Rule: "r", Key: key, Stage: n} }

func TestDeliversInOrder(t *testing.T) {
	t.Parallel()
	m := newMemory(t, 4) // Smaller than the batch: a publisher must never be stuck with a consumer running.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	want, got := make([]Candidate, 0, 100), make([]Candidate, 0, 100)
	for i := range 100 {
		want = append(want, candidate("k", i))
	}
	done := make(chan error, 1)
	go func() {
		done <- m.Consume(ctx, func(_ context.Context, c Candidate) error {
			if got = append(got, c); len(got) == len(want) {
				cancel()
			}
			return nil
		})
	}()
	if err := m.Publish(t.Context(), want...); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := testutil.ToFloat64(m.delivered); n != 100 {
		t.Errorf("%v are counted as delivered, want 100", n)
	}
}

func TestFullBusHoldsThePublisherAndTellsIt(t *testing.T) {
	t.Parallel()
	m := newMemory(t, 2)
	if err := m.Publish(t.Context(), candidate("k", 0), candidate("k", 1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the client is gone")
	cancel(gone)
	err := m.Publish(ctx, candidate("k", 2), candidate("k", 3))
	if !errors.Is(err, gone) || !strings.Contains(err.Error(), "bus is full") {
		t.Errorf("error is %v", err)
	}
	if n := testutil.ToFloat64(m.refused); n != 2 {
		t.Errorf("%v are counted as refused, want 2", n)
	}
}

func TestPublishSucceedsWithRoomEvenIfTheContextHasEnded(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newMemory(t, 2).Publish(ctx, candidate("k", 0)); err != nil {
		t.Errorf("there was room: %v", err)
	}
}

func TestFailedCandidateIsDeliveredAgain(t *testing.T) {
	t.Parallel()
	m := newMemory(t, 10)
	if err := m.Publish(t.Context(), candidate("k", 0), candidate("k", 1), candidate("k", 2)); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err := m.Consume(t.Context(), func(_ context.Context, c Candidate) error {
		if c.Stage == 1 {
			return broken
		}
		return nil
	})
	if !errors.Is(err, broken) {
		t.Fatalf("error is %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	if err := m.Consume(ctx, func(_ context.Context, c Candidate) error {
		got = append(got, fmt.Sprint(c.Stage))
		if len(got) == 2 {
			cancel()
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1", "2"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyOneConsumer(t *testing.T) {
	t.Parallel()
	m := newMemory(t, 1)
	if err := m.Publish(t.Context(), candidate("k", 0)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := m.Consume(ctx, func(context.Context, Candidate) error {
		if err := m.Consume(ctx, nil); !errors.Is(err, ErrConsuming) {
			t.Errorf("second consumer got %v", err)
		}
		cancel()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestWhatWaitsIsDeliveredAfterTheEnd(t *testing.T) {
	t.Parallel()
	m := newMemory(t, 100)
	ctx, cancel := context.WithCancel(t.Context())
	for i := range 100 {
		if err := m.Publish(ctx, candidate("k", i)); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	got := 0
	if err := m.Consume(ctx, func(ctx context.Context, c Candidate) error {
		if c.Stage != got {
			t.Errorf("candidate %d, want %d", c.Stage, got)
		}
		got++
		return ctx.Err() // The handler can still do its work.
	}); err != nil {
		t.Fatal(err)
	}
	if got != 100 {
		t.Errorf("%d of 100 are delivered", got)
	}
	if n := testutil.ToFloat64(m.left); n != 0 {
		t.Errorf("%v are counted as left, want none", n)
	}
}

func TestDrainingEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, err := NewMemory(MemoryOptions{Drain: 10 * time.Second, Registerer: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		if err = m.Publish(t.Context(), candidate("k", 0), candidate("k", 1), candidate("k", 2)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		err = m.Consume(ctx, func(ctx context.Context, _ Candidate) error {
			cancel()
			<-ctx.Done() // It hangs for as long as it may.
			return nil
		})
		if !errors.Is(err, ErrLeft) || !strings.Contains(err.Error(), "left: 2") {
			t.Errorf("error is %v", err)
		}
		if spent := time.Since(start); spent != 10*time.Second {
			t.Errorf("draining took %s", spent)
		}
		if n := testutil.ToFloat64(m.left); n != 2 {
			t.Errorf("%v are counted as left, want 2", n)
		}
	})
}

func TestFailureWhileDrainingIsToldAndCounted(t *testing.T) {
	t.Parallel()
	m := newMemory(t, 2)
	if err := m.Publish(t.Context(), candidate("k", 0), candidate("k", 1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	broken := errors.New("broken")
	err := m.Consume(ctx, func(context.Context, Candidate) error { return broken })
	if !errors.Is(err, broken) || !errors.Is(err, ErrLeft) {
		t.Errorf("error is %v", err)
	}
	if n := testutil.ToFloat64(m.left); n != 2 {
		t.Errorf("%v are counted as left, want 2", n)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]MemoryOptions{
		"Capacity":   {Capacity: -1, Registerer: prometheus.NewRegistry()},
		"Drain":      {Drain: -1, Registerer: prometheus.NewRegistry()},
		"Registerer": {},
	} {
		if _, err := NewMemory(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v", want, err)
		}
	}
}
