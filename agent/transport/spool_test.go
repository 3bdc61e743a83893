package transport

import (
	"errors"
	"strings"
	"sync"
	"testing"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

func newSpool(t testing.TB, opts SpoolOptions) *Spool {
	t.Helper()
	s, err := NewSpool(opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// event is one that can be told from others by its pid.
func event(pid uint32) *telemetryv1.Event {
	return &telemetryv1.Event{Process: &telemetryv1.Process{Pid: pid}}
}

func pids(b *telemetryv1.Batch) []uint32 {
	pids := make([]uint32, 0, len(b.GetEvents()))
	for _, e := range b.GetEvents() {
		pids = append(pids, e.GetProcess().GetPid())
	}
	return pids
}

func TestSpoolNumbersWithoutHoles(t *testing.T) {
	s := newSpool(t, SpoolOptions{BatchEvents: 3})
	for pid := range uint32(7) {
		s.Push(event(pid + 1))
	}
	var sequence uint64
	for n := uint64(1); n <= 3; n++ {
		b := s.next(false)
		if b.GetSequence() != n {
			t.Errorf("batch %d has the number %d", n, b.GetSequence())
		}
		for _, e := range b.GetEvents() {
			sequence++
			if e.GetSequence() != sequence || uint64(e.GetProcess().GetPid()) != sequence {
				t.Errorf("event %d has the number %d", e.GetProcess().GetPid(), e.GetSequence())
			}
		}
	}
	if b := s.next(false); b != nil || sequence != 7 {
		t.Errorf("after %d of 7 events the next batch is %v", sequence, b)
	}
}

func TestSpoolDropsTheOldestThatWereNotSent(t *testing.T) {
	one := cost(event(1))
	s := newSpool(t, SpoolOptions{MaxBytes: 4 * one, BatchEvents: 1})
	s.Push(event(1))
	sent := s.next(false)
	for pid := range uint32(9) {
		s.Push(event(pid + 2))
	}

	stats := s.Stats()
	if stats.Dropped != 6 || stats.Pending != 3 || stats.Bytes > 4*one {
		t.Errorf("stats are %+v, want 6 dropped and 3 pending", stats)
	}
	if again := s.unacknowledged(); len(again) != 1 || again[0] != sent {
		t.Errorf("a batch that was sent is lost: %v", again)
	}
	if b := s.next(false); pids(b)[0] != 8 || b.GetSequence() != 2 || b.GetEvents()[0].GetSequence() != 2 {
		t.Errorf("the next batch is %v, want event 8 with the number 2", b)
	}
}

func TestSpoolAcknowledges(t *testing.T) {
	s := newSpool(t, SpoolOptions{BatchEvents: 1, Window: 2})
	for pid := range uint32(4) {
		s.Push(event(pid + 1))
	}
	s.next(false)
	s.next(false)
	if b := s.next(false); b != nil {
		t.Errorf("a batch beyond the window: %v", b)
	}
	if err := s.acknowledge(3); !errors.Is(err, errAck) {
		t.Errorf("acknowledging what was never sent: %v, want %v", err, errAck)
	}
	if err := s.acknowledge(2); err != nil {
		t.Fatal(err)
	}
	if err := s.acknowledge(1); err != nil {
		t.Errorf("a late acknowledgement: %v", err)
	}
	if stats := s.Stats(); stats.Flight != 0 || stats.Acked != 2 || stats.Pending != 2 {
		t.Errorf("stats are %+v", stats)
	}
	if b := s.next(false); b.GetSequence() != 3 {
		t.Errorf("the next batch is %v, want number 3", b)
	}
	if err := s.acknowledge(3); err != nil {
		t.Fatal(err)
	}
	s.next(false)
	s.Close()
	if err := s.acknowledge(4); err != nil {
		t.Fatal(err)
	}
	if _, drained := s.inFlight(); !drained {
		t.Error("a closed and empty spool is not drained")
	}
	if s.Stats().Bytes != 0 {
		t.Errorf("an empty spool takes %d bytes", s.Stats().Bytes)
	}
	s.Push(event(9))
	if stats := s.Stats(); stats.Pending != 0 || stats.Dropped != 1 {
		t.Errorf("an event after the end: %+v, want it dropped and counted", stats)
	}
}

func TestSpoolBoundsBatches(t *testing.T) {
	large := func(pid uint32) *telemetryv1.Event {
		e := event(pid)
		e.Process.Args = []string{strings.Repeat("x", 10_000)}
		return e
	}
	s := newSpool(t, SpoolOptions{BatchBytes: 25_000})
	for pid := range uint32(3) {
		s.Push(large(pid))
	}
	if b := s.next(false); len(b.GetEvents()) != 2 {
		t.Errorf("%d events of 10,000 bytes in a batch of 25,000", len(b.GetEvents()))
	}
	small := newSpool(t, SpoolOptions{BatchBytes: 10})
	small.Push(large(1))
	if b := small.next(false); len(b.GetEvents()) != 1 {
		t.Error("an event larger than a batch is never sent")
	}
	if b := small.next(true); b == nil || len(b.GetEvents()) != 0 || b.GetSequence() != 2 {
		t.Errorf("a heartbeat is %v", b)
	}
}

// TestSpoolUnderLoad: whatever is pushed is sent in order, or counted.
func TestSpoolUnderLoad(t *testing.T) {
	s := newSpool(t, SpoolOptions{MaxBytes: 50 * cost(event(1)), BatchEvents: 7})
	const n = 20_000
	var group sync.WaitGroup
	group.Go(func() {
		for pid := range uint32(n) {
			s.Push(event(pid + 1))
		}
		s.Close()
	})
	var last uint32
	var got uint64
	for {
		b := s.next(false)
		if b == nil {
			if _, drained := s.inFlight(); drained {
				break
			}
			<-s.ready
			continue
		}
		for _, pid := range pids(b) {
			if pid <= last {
				t.Fatalf("event %d came after %d", pid, last)
			}
			last = pid
			got++
		}
		if err := s.acknowledge(b.GetSequence()); err != nil {
			t.Fatal(err)
		}
	}
	group.Wait()
	if dropped := s.Stats().Dropped; got+dropped != n {
		t.Errorf("%d events came and %d were counted as dropped, of %d", got, dropped, n)
	}
}

func TestSpoolOptionsAreChecked(t *testing.T) {
	if _, err := NewSpool(SpoolOptions{Window: -1}); err == nil || !strings.Contains(err.Error(), "Window") {
		t.Errorf("a negative window: %v", err)
	}
}

func BenchmarkPush(b *testing.B) {
	s := newSpool(b, SpoolOptions{})
	e := event(1)
	e.Process.Args = []string{"/bin/sh", "-c", "true"}
	for b.Loop() {
		s.Push(e)
		if len(s.pending) == 512 {
			if err := s.acknowledge(s.next(false).GetSequence()); err != nil {
				b.Fatal(err)
			}
		}
	}
}
