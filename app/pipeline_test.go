package app

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/event"
)

// taken is an ingester that keeps what it gets.
type taken struct {
	ids []string
	err error
}

func (i *taken) Ingest(_ context.Context, events []*event.Event) error {
	for _, e := range events {
		i.ids = append(i.ids, e.ID)
	}
	return i.err
}

// canaries takes out the events whose ID is "canary".
type canaries struct{}

func (canaries) Take(events []*event.Event) []*event.Event {
	return slices.DeleteFunc(slices.Clone(events), func(e *event.Event) bool { return e.ID == "canary" })
}

// keeper holds events whose pod has no name until let go.
type keeper struct{ held []func() }

func (k *keeper) Submit(e *event.Event, deliver func(*event.Event)) {
	if e.Pod.UID != "" && e.Pod.Name == "" {
		k.held = append(k.held, func() { deliver(e) })
		return
	}
	deliver(e)
}

func TestPipelinePassesCompleteEventsAtOnce(t *testing.T) {
	correlator := &taken{}
	p := newPipeline(canaries{}, &keeper{}, correlator, quiet(), prometheus.NewRegistry())
	if err := p.Ingest(t.Context(), []*event.Event{{ID: "a"}, {ID: "canary"}, {ID: "b"}}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b"}; !slices.Equal(correlator.ids, want) {
		t.Errorf("the correlator got %v, want %v", correlator.ids, want)
	}
}

func TestPipelineTellsTheSourceWhatTheCorrelatorSays(t *testing.T) {
	full := errors.New("full")
	p := newPipeline(canaries{}, &keeper{}, &taken{err: full}, quiet(), prometheus.NewRegistry())
	if err := p.Ingest(t.Context(), []*event.Event{{ID: "a"}}); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

func TestHeldEventsFollow(t *testing.T) {
	correlator, hold := &taken{}, &keeper{}
	p := newPipeline(canaries{}, hold, correlator, quiet(), prometheus.NewRegistry())
	unknown := &event.Event{ID: "unknown pod", Pod: event.Pod{UID: "1"}}
	if err := p.Ingest(t.Context(), []*event.Event{unknown, {ID: "a"}}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a"}; !slices.Equal(correlator.ids, want) {
		t.Fatalf("the correlator got %v, want %v", correlator.ids, want)
	}
	hold.held[0]()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // what is left is passed on all the same
	if err := p.run(ctx); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "unknown pod"}; !slices.Equal(correlator.ids, want) {
		t.Errorf("the correlator got %v, want %v", correlator.ids, want)
	}
}

func TestLostHeldEventsAreCounted(t *testing.T) {
	hold := &keeper{}
	p := newPipeline(canaries{}, hold, &taken{err: errors.New("gone")}, quiet(), prometheus.NewRegistry())
	_ = p.Ingest(t.Context(), []*event.Event{{Pod: event.Pod{UID: "1"}}})
	hold.held[0]()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.run(ctx); err != nil {
		t.Fatal(err)
	}
	if got := testutil.ToFloat64(p.dropped); got != 1 {
		t.Errorf("%v events are counted as dropped, want 1", got)
	}
}
