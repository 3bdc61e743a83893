package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

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

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]MemoryOptions{
		"Capacity":   {Capacity: -1, Registerer: prometheus.NewRegistry()},
		"Registerer": {},
	} {
		if _, err := NewMemory(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v", want, err)
		}
	}
}
