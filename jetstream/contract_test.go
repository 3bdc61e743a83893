package jetstream

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/bus"
)

// eachBus runs a test with every bus there is: they keep one contract.
func eachBus(t *testing.T, test func(t *testing.T, b bus.Bus)) {
	t.Parallel()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		b, err := bus.NewMemory(bus.MemoryOptions{Registerer: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		test(t, b)
	})
	t.Run("jetstream", func(t *testing.T) {
		t.Parallel()
		test(t, openBus(t, open(t, options(t.TempDir()))))
	})
}

func TestDeliversInOrderWhileItIsPublished(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus.Bus) {
		want := candidates("k", 500)
		published := make(chan error, 1)
		go func() {
			for i := 0; i < len(want); i += 5 {
				if err := b.Publish(t.Context(), want[i:i+5]...); err != nil {
					published <- err
					return
				}
			}
			published <- nil
		}()
		got := consume(t, b, len(want))
		if err := <-published; err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(names(want), got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestNothingIsPublishedForNothing(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus.Bus) { publish(t, b) })
}

func TestOnlyOneConsumer(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus.Bus) {
		publish(t, b, candidate("k", 0))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err := b.Consume(ctx, func(context.Context, bus.Candidate) error {
			if err := b.Consume(ctx, nil); !errors.Is(err, bus.ErrConsuming) {
				t.Errorf("second consumer got %v", err)
			}
			cancel()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestFailedCandidateIsDeliveredAgain(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus.Bus) {
		publish(t, b, candidates("k", 3)...)
		broken := errors.New("broken")
		err := b.Consume(t.Context(), func(_ context.Context, c bus.Candidate) error {
			if c.Stage == 1 {
				return broken
			}
			return nil
		})
		if !errors.Is(err, broken) {
			t.Fatalf("error is %v", err)
		}
		if diff := cmp.Diff([]string{"k/1", "k/2"}, consume(t, b, 2)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWhatWaitsIsDeliveredAfterTheEnd(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus.Bus) {
		ctx, cancel := context.WithCancel(t.Context())
		var got []string
		want := candidates("k", 100)
		publish(t, b, want[0])
		err := b.Consume(ctx, func(live context.Context, c bus.Candidate) error {
			if c.Stage == 0 {
				if err := b.Publish(live, want[1:]...); err != nil {
					return err
				}
				cancel()
			}
			got = append(got, fmt.Sprintf("%s/%d", c.Key, c.Stage))
			return live.Err() // The handler can still do its work.
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(names(want), got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestConsumeOfAnEndedContextDeliversWhatWaits(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus.Bus) {
		publish(t, b, candidates("k", 10)...)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		n := 0
		if err := b.Consume(ctx, func(context.Context, bus.Candidate) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		if n != 10 {
			t.Errorf("%d of 10 are delivered", n)
		}
	})
}

func TestEventOfSeveralCandidatesIsShared(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus.Bus) {
		one := candidate("k", 0)
		two := one
		two.Rule = "another"
		publish(t, b, one, two)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var got []bus.Candidate
		err := b.Consume(ctx, func(_ context.Context, c bus.Candidate) error {
			if got = append(got, c); len(got) == 2 {
				cancel()
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got[0].Event != got[1].Event {
			t.Error("there are two copies of the event")
		}
	})
}
