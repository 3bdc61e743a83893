package jetstream

import (
	"context"
	"errors"
	"testing"

	"github.com/portcullis-dev/portcullis/bus"
)

func TestHandledWaitsForTheConsumer(t *testing.T) {
	t.Parallel()
	b := openBus(t, open(t, options(t.TempDir())))
	if err := b.Handled(t.Context()); err != nil {
		t.Errorf("nothing is stored: %v", err)
	}
	publish(t, b, candidates("k", 3)...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Handled(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v although nobody has consumed", err)
	}
	consuming, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	handled := make(chan bus.Candidate, 3)
	go func() {
		done <- b.Consume(consuming, func(_ context.Context, c bus.Candidate) error {
			handled <- c
			return nil
		})
	}()
	if err := b.Handled(t.Context()); err != nil || len(handled) != 3 {
		t.Errorf("got %v when %d of 3 are handled", err, len(handled))
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
