package collector

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/types/known/timestamppb"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// again is an event that an earlier process had sent under that number.
func again(sequence uint64, session string, first uint64) *telemetryv1.Event {
	e := exec(sequence, "here")
	e.First = &telemetryv1.Sent{SessionId: session, Sequence: first}
	return e
}

// TestWhatAnEarlierProcessHadSentCountsOnce: an agent stops with batches that are not acknowledged, of which some had
// arrived; the next one sends them all.
func TestWhatAnEarlierProcessHadSentCountsOnce(t *testing.T) {
	losses := newTold()
	r := newRig(t, func(o *Options) { o.Losses = losses })
	old := r.agent("node-1", "s-1")
	old.batch(batchOf(1, exec(1, "here"), exec(2, "here")))
	old.acked(1)
	before := r.pipeline.ids()

	young := r.agent("node-1", "s-2")
	young.batch(batchOf(1, again(1, "s-1", 2), again(2, "s-1", 3), exec(3, "here")))
	young.acked(1)
	ids := r.pipeline.ids()
	if len(ids) != 4 {
		t.Fatalf("%d events were handed on, want the two, the one that had not arrived, and a new one", len(ids))
	}
	if n := testutil.ToFloat64(r.server.metrics.repeated); n != 1 {
		t.Errorf("%v repeated events are counted, want 1", n)
	}
	for _, line := range losses.all() {
		if line == "lost node-1 refused 1" {
			t.Error("a repeated event is told to be lost")
		}
	}

	// A server that knows nothing of the earlier process gives it the ID that it had.
	other := newRig(t, nil)
	c := other.agent("node-1", "s-2")
	c.batch(batchOf(1, again(1, "s-1", 2)))
	c.acked(1)
	if got := other.pipeline.ids(); !slices.Equal(got, before[1:]) {
		t.Errorf("another server calls it %v, want %v", got, before[1:])
	}
}

// TestNobodySpeaksForAnotherNodesSessions: the number of another node's event hides nothing.
func TestNobodySpeaksForAnotherNodesSessions(t *testing.T) {
	r := newRig(t, nil)
	other := r.agent("node-2", "s-1")
	other.batch(batchOf(1, exec(1, "elsewhere")))
	other.acked(1)
	c := r.agent("node-1", "s-2")
	c.batch(batchOf(1, again(1, "s-1", 1)))
	c.acked(1)
	if ids := r.pipeline.ids(); len(ids) != 2 || ids[0] == ids[1] {
		t.Errorf("the events are %v, want two", ids)
	}
}

// memory is a Store.
type memory struct {
	mu     sync.Mutex
	values map[string][]byte
	err    error
}

func (m *memory) Put(_ context.Context, key string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.values[key] = value
	}
	return m.err
}

func (m *memory) Range(_ context.Context, f func(string, []byte, time.Time) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(m.values)) {
		if err := f(key, m.values[key], time.Now()); err != nil {
			return err
		}
	}
	return m.err
}

func (m *memory) keys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.values))
}

// timeOf has a new server, by what store knows, receive an event from an agent whose clock is ahead by so much, and returns
// the time that it gave it.
func timeOf(t *testing.T, store *memory, session string, ahead time.Duration) time.Time {
	t.Helper()
	r := newRig(t, func(o *Options) { o.Store = store })
	if err := r.server.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := r.agent("node-1", session)
	c.pong(0, timestamppb.New(time.Now().Add(ahead)))
	c.batch(batchOf(1, exec(1, "here")))
	c.acked(1)
	r.pipeline.mu.Lock()
	defer r.pipeline.mu.Unlock()
	if e := r.pipeline.events[0]; !e.Clock.Measured {
		t.Errorf("the event came before the clock was known: %+v", e.Clock)
	}
	return r.pipeline.events[0].Time
}

// TestAnEventHasOneTimeAcrossRestarts: one that is sent again would not be known again by another time.
func TestAnEventHasOneTimeAcrossRestarts(t *testing.T) {
	store := &memory{values: map[string][]byte{"clock/of somebody else": []byte("?"), clockKey + "broken": []byte("?")}}
	first := timeOf(t, store, "s-1", time.Hour)
	if again := timeOf(t, store, "s-1", time.Hour); !again.Equal(first) {
		t.Errorf("after a restart of the server the event is of %v, was of %v", again, first)
	}
	if again := timeOf(t, store, "s-2", time.Hour); !again.Equal(first) {
		t.Errorf("after a restart of both the event is of %v, was of %v", again, first)
	}
	if set := timeOf(t, store, "s-1", 2*time.Hour); first.Sub(set) < time.Hour/2 {
		t.Errorf("by a clock that somebody has set the event is of %v, was of %v", set, first)
	}
}

func TestAClockThatMayAgreeIsNotStored(t *testing.T) {
	store := &memory{values: map[string][]byte{}}
	if at := timeOf(t, store, "s-1", 0); !at.Equal(happened) {
		t.Errorf("the time was corrected to %v", at)
	}
	if keys := store.keys(); len(keys) != 0 {
		t.Errorf("stored are %v", keys)
	}
}

func TestAStoreThatFails(t *testing.T) {
	store := &memory{values: map[string][]byte{}, err: errors.New("the disk is full")}
	r := newRig(t, func(o *Options) { o.Store = store })
	if err := r.server.Load(t.Context()); !errors.Is(err, store.err) {
		t.Errorf("what cannot be read is no error: %v", err)
	}
	c := r.agent("node-1", "s-1")
	c.pong(0, timestamppb.New(time.Now().Add(time.Hour)))
	c.batch(batchOf(1, exec(1, "here")))
	c.acked(1)
	if log := r.log.String(); !strings.Contains(log, "the disk is full") {
		t.Errorf("the log is %s", log)
	}
}
