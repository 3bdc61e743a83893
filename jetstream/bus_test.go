package jetstream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/event"
)

// counted fails the test unless a counter has a value.
func counted(tb testing.TB, what string, c prometheus.Collector, want float64) {
	tb.Helper()
	if got := testutil.ToFloat64(c); got != want {
		tb.Errorf("%v %s are counted, want %v", got, what, want)
	}
}

func isReplayed(b *Bus) bool {
	select {
	case <-b.Replayed():
		return true
	default:
		return false
	}
}

func TestEverythingStoredIsDeliveredAgainAfterAStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var stored []bus.Candidate
	for start := range 4 {
		s := open(t, options(dir))
		b := openBus(t, s)
		fresh := candidates("k", (start+1)*10)[start*10:]
		publish(t, b, fresh...)
		stored = append(stored, fresh...)
		if diff := cmp.Diff(names(stored), consume(t, b, len(stored))); diff != "" {
			t.Errorf("start %d: %s", start, diff)
		}
		shut(t, s)
	}
}

func TestReplayIsOverBetweenWhatWasStoredAndWhatIsNew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, options(dir))
	publish(t, openBus(t, s), candidates("k", 10)...)
	shut(t, s)

	s = open(t, options(dir))
	b := openBus(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := b.Consume(ctx, func(ctx context.Context, c bus.Candidate) error {
		if want := c.Stage >= 10; isReplayed(b) != want {
			t.Errorf("candidate %d: replayed is %v", c.Stage, !want)
		}
		switch c.Stage {
		case 0:
			return b.Publish(ctx, candidate("k", 10))
		case 10:
			cancel()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	counted(t, "replayed candidates", s.metrics.replayed, 10)
	counted(t, "delivered candidates", s.metrics.delivered, 11)
}

func TestReplayOfNothingIsOverAtOnce(t *testing.T) {
	t.Parallel()
	b := openBus(t, open(t, options(t.TempDir())))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Consume(ctx, func(context.Context, bus.Candidate) error { return nil }) }()
	<-b.Replayed()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestLaterConsumeOfAProcessGoesOnWhereTheLastStopped(t *testing.T) {
	t.Parallel()
	b := openBus(t, open(t, options(t.TempDir())))
	publish(t, b, candidates("k", 3)...)
	consume(t, b, 3)
	publish(t, b, candidate("k", 3))
	if diff := cmp.Diff([]string{"k/3"}, consume(t, b, 1)); diff != "" {
		t.Error(diff)
	}
}

func TestKeysKeepTheirOrderInWhateverPartition(t *testing.T) {
	t.Parallel()
	b := openBus(t, open(t, options(t.TempDir())))
	const keys, rounds = 20, 30
	for round := range rounds {
		all := make([]bus.Candidate, keys)
		for key := range all {
			all[key] = candidate(fmt.Sprint("key", key), round)
		}
		publish(t, b, all...)
	}
	next := map[string]int{}
	for _, name := range consume(t, b, keys*rounds) {
		key, number, _ := strings.Cut(name, "/")
		if number != fmt.Sprint(next[key]) {
			t.Fatalf("%s comes before %d", name, next[key])
		}
		next[key]++
	}
}

func TestSameDeliveryAgainIsNotStoredTwice(t *testing.T) {
	t.Parallel()
	s := open(t, options(t.TempDir()))
	b := openBus(t, s)
	first := candidates("k", 3)
	publish(t, b, first...)
	again := candidates("k", 3)
	again[0].Event.Received = time.Now()
	publish(t, b, again...)
	other := candidates("k", 3)
	other[2].Rule = "another"
	publish(t, b, other...)
	want := append(names(first), names(other)...)
	if diff := cmp.Diff(want, consume(t, b, len(want))); diff != "" {
		t.Error(diff)
	}
	counted(t, "repeated candidates", s.metrics.repeated, 3)
	counted(t, "published candidates", s.metrics.published, 9)
}

func TestRecentIsBounded(t *testing.T) {
	t.Parallel()
	r := newRecent()
	for i := range uint64(3 * remembered) {
		r.add(i)
		r.add(i)
	}
	if len(r.known) != remembered || !r.has(3*remembered-1) || r.has(2*remembered-1) {
		t.Errorf("%d are remembered", len(r.known))
	}
}

// noise is so many bytes that cannot be compressed.
func noise(tb testing.TB, bytes int) []byte {
	tb.Helper()
	noise := make([]byte, bytes)
	if _, err := rand.Read(noise); err != nil {
		tb.Fatal(err)
	}
	return noise
}

// filling is an event of a pod of its own that takes about this much room, compressed or not.
func filling(tb testing.TB, id string, bytes int) *event.Event {
	tb.Helper()
	return &event.Event{ID: id, Pod: event.Pod{UID: id, Name: id}, Process: &event.Process{Args: []string{string(noise(tb, bytes))}}}
}

func TestFullBusRefusesAndKeepsWhatItHas(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, options(dir))
	b, err := s.Bus(t.Context(), BusOptions{Retention: time.Hour, MaxBytes: minBytes})
	if err != nil {
		t.Fatal(err)
	}
	var acknowledged []string
	for i := 0; ; i++ {
		c := bus.Candidate{Rule: "r", Key: "k", Stage: i, Event: filling(t, fmt.Sprint(i), 3<<20)}
		if err = b.Publish(t.Context(), c); err != nil {
			break
		}
		acknowledged = append(acknowledged, fmt.Sprintf("k/%d", i))
	}
	if !errors.Is(err, ErrFull) {
		t.Fatalf("error is %v", err)
	}
	counted(t, "refused candidates", s.metrics.refused, 1)
	if n := len(acknowledged); n != 5 {
		t.Errorf("%d of 3 MiB fit in 16", n)
	}
	shut(t, s)
	s = open(t, options(dir))
	if b, err = s.Bus(t.Context(), BusOptions{Retention: time.Hour, MaxBytes: minBytes}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(acknowledged, consume(t, b, len(acknowledged))); diff != "" {
		t.Error(diff)
	}
}

func TestSmallerBoundPushesNothingOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, options(dir))
	b := openBus(t, s)
	for i := range 6 {
		publish(t, b, bus.Candidate{Key: "k", Stage: i, Event: filling(t, fmt.Sprint(i), 4<<20)})
	}
	shut(t, s)
	s = open(t, options(dir))
	b, err := s.Bus(t.Context(), BusOptions{Retention: time.Hour, MaxBytes: minBytes})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(names(candidates("k", 6)), consume(t, b, 6)); diff != "" {
		t.Error(diff)
	}
}

func TestRoomIsMadeByAgeAndOnlyOfWhatWasHandled(t *testing.T) {
	t.Parallel()
	s := open(t, options(t.TempDir()))
	b := openBus(t, s)
	publish(t, b, candidates("k", 3)...)
	publish(t, b, candidate("k", 3))
	now := time.Now()
	held := func(hours int) uint64 { return heldAt(t, s, now.Add(time.Duration(hours)*time.Hour)) }
	s.stop() // It would do the same every second.
	s.housekeeping.Wait()
	for hours := range 3 {
		if n := held(hours); n != 2 {
			t.Errorf("%d messages are left after %d hours, but none has been handled", n, hours)
		}
	}
	stop := errors.New("stop")
	err := b.Consume(t.Context(), func(_ context.Context, c bus.Candidate) error {
		if c.Stage == 3 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if n := held(3); n != 1 {
		t.Errorf("%d messages are left once the first is handled, want 1", n)
	}
	consume(t, b, 1)
	if n := held(3); n != 0 {
		t.Errorf("%d messages are left once all are handled, want none", n)
	}
	publish(t, b, candidate("k", 4))
	if n := held(3); n != 1 {
		t.Errorf("%d messages are left, but the last is new", n)
	}
	counted(t, "lost messages", s.metrics.lost, 0)
}

func TestLargeDeliveryIsDivided(t *testing.T) {
	t.Parallel()
	b := openBus(t, open(t, options(t.TempDir())))
	all := make([]bus.Candidate, 5)
	for i := range all {
		all[i] = bus.Candidate{Key: "k", Stage: i, Event: filling(t, fmt.Sprint(i), 700<<10)}
	}
	publish(t, b, all...)
	if diff := cmp.Diff(names(all), consume(t, b, len(all))); diff != "" {
		t.Error(diff)
	}
}

func TestCandidateThatCanNeverBeStoredIsDroppedAndCounted(t *testing.T) {
	t.Parallel()
	s := open(t, options(t.TempDir()))
	b := openBus(t, s)
	large := candidate("k", 0)
	large.Event.ID = string(noise(t, maxMessage))
	publish(t, b, large, candidate("k", 1))
	if diff := cmp.Diff([]string{"k/1"}, consume(t, b, 1)); diff != "" {
		t.Error(diff)
	}
	counted(t, "unstorable candidates", s.metrics.unstorable, 1)
}

func TestMessageThatCannotBeDecodedIsSetAsideAndBlocksNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	poison := []byte{encoding + 1, 1, 2, 3}
	for start := range 2 {
		s := open(t, options(dir))
		b := openBus(t, s)
		if start == 0 {
			publish(t, b, candidate("k", 0))
			e, err := s.current()
			if err != nil {
				t.Fatal(err)
			}
			if _, err = e.js.PublishMsg(t.Context(), &nats.Msg{Subject: candidateSubject + "0", Data: poison}); err != nil {
				t.Fatal(err)
			}
			publish(t, b, candidate("k", 1))
		}
		if diff := cmp.Diff([]string{"k/0", "k/1"}, consume(t, b, 2)); diff != "" {
			t.Error(diff)
		}
		counted(t, "unreadable messages", s.metrics.unreadable, 1)
		var kept [][]byte
		if err := s.setAside.Range(t.Context(), func(_ string, value []byte, _ time.Time) error {
			kept = append(kept, value)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([][]byte{poison}, kept); diff != "" {
			t.Error(diff)
		}
		shut(t, s)
	}
}

func TestDrainingEnds(t *testing.T) {
	t.Parallel()
	s := open(t, options(t.TempDir()))
	b, err := s.Bus(t.Context(), BusOptions{Retention: time.Hour, Drain: 10 * time.Millisecond, MaxBytes: minBytes})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, b, candidate("k", 0))
	publish(t, b, candidate("k", 1))
	publish(t, b, candidate("k", 2))
	ctx, cancel := context.WithCancel(t.Context())
	err = b.Consume(ctx, func(ctx context.Context, _ bus.Candidate) error {
		cancel()
		<-ctx.Done() // It hangs for as long as it may.
		return nil
	})
	if !errors.Is(err, bus.ErrLeft) || !strings.Contains(err.Error(), "left: 2 messages") {
		t.Errorf("error is %v", err)
	}
	counted(t, "left messages", s.metrics.left, 2)
}

func TestBusOutlivesAFailureOfTheServerInside(t *testing.T) {
	t.Parallel()
	s := open(t, options(t.TempDir()))
	b := openBus(t, s)
	const failures = 2
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	publish(t, b, candidate("k", 0))
	err := b.Consume(ctx, func(ctx context.Context, c bus.Candidate) error {
		got = append(got, fmt.Sprintf("%s/%d", c.Key, c.Stage))
		if c.Stage == failures {
			cancel()
			return nil
		}
		s.fail(errors.New("no space left on device"))
		err := b.Publish(ctx, candidate("k", c.Stage+1))
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("error is %v", err)
		}
		if _, err = s.await(ctx); err != nil {
			return err
		}
		return b.Publish(ctx, candidate("k", c.Stage+1))
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(names(candidates("k", failures+1)), got); diff != "" {
		t.Error(diff)
	}
	counted(t, "failures", s.metrics.failures, failures)
	counted(t, "stores available", s.metrics.available, 1)
}
