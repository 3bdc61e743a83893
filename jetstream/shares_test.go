package jetstream

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/event"
)

// requested is a request of a user that takes about this much room, compressed or not.
func requested(tb testing.TB, user string, n, bytes int) bus.Candidate {
	tb.Helper()
	return bus.Candidate{Rule: "r", Key: user, Stage: n, Event: &event.Event{
		ID: fmt.Sprintf("%s/%d", user, n), Audit: &event.Audit{User: event.AuditUser{Username: user}, RequestObject: noise(tb, bytes)},
	}}
}

// shared is a bus of 32 MiB, and what its Dropped is told.
func shared(tb testing.TB, s *Store) (b *Bus, dropped map[string]int) {
	tb.Helper()
	dropped = map[string]int{}
	b, err := s.Bus(tb.Context(), BusOptions{
		Retention: time.Hour, MaxBytes: 32 << 20, Dropped: func(owner string, n int) { dropped[owner] += n },
	})
	if err != nil {
		tb.Fatal(err)
	}
	return b, dropped
}

// flood publishes so many requests of one user, each in a delivery with one of others, and returns what was not dropped.
func flood(tb testing.TB, b *Bus, dropped map[string]int, user string, from, number int) (stored []string) {
	tb.Helper()
	for i := from; i < from+number; i++ {
		before := dropped[user]
		other := requested(tb, fmt.Sprint("other", i%20), i, 100)
		other.Key = user // They share their messages.
		publish(tb, b, requested(tb, user, i, maxObject), other)
		if dropped[user] == before {
			stored = append(stored, fmt.Sprintf("%s/%d", user, i))
		}
		stored = append(stored, fmt.Sprintf("%s/%d", user, i))
	}
	return stored
}

func TestOneOwnerCannotFillTheBus(t *testing.T) {
	t.Parallel()
	s := open(t, options(t.TempDir()))
	b, dropped := shared(t, s)
	const requests = 3000 // some 48 MiB
	stored := flood(t, b, dropped, "mallory", 0, requests)
	if diff := cmp.Diff(stored, consume(t, b, len(stored))); diff != "" {
		t.Error(diff)
	}
	if n := dropped["mallory"]; len(dropped) != 1 || n < requests/2 || len(stored) != 2*requests-n {
		t.Errorf("%v are dropped, %d stored", dropped, len(stored))
	}
	counted(t, "dropped candidates", s.metrics.overShare, float64(dropped["mallory"]))
	counted(t, "refused candidates", s.metrics.refused, 0)
	heldAt(t, s, time.Now())
	if held := testutil.ToFloat64(s.metrics.bytes.WithLabelValues(candidateStream)); held < 8<<20 || held > 12<<20 {
		t.Errorf("%v bytes are held, want a quarter of 32 MiB, and what is of others", held)
	}
}

func TestShareIsGivenBackWithWhatIsLetGo(t *testing.T) {
	t.Parallel()
	s := open(t, options(t.TempDir()))
	b, dropped := shared(t, s)
	s.stop() // Its time is the test's from here on.
	s.housekeeping.Wait()
	stored := flood(t, b, dropped, "mallory", 0, 1000)
	was := dropped["mallory"]
	if was == 0 {
		t.Fatal("nothing is dropped")
	}
	start := time.Now()
	heldAt(t, s, start.Add(30*time.Minute))
	consume(t, b, len(stored))
	heldAt(t, s, start.Add(time.Hour))
	heldAt(t, s, start.Add(2*time.Hour))
	flood(t, b, dropped, "mallory", 1000, 100)
	if now := dropped["mallory"]; now != was {
		t.Errorf("%d are dropped although the older ones are gone", now-was)
	}
}

func TestShareOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, options(dir))
	b, dropped := shared(t, s)
	stored := flood(t, b, dropped, "mallory", 0, 1000)
	shut(t, s)

	s = open(t, options(dir))
	b, dropped = shared(t, s)
	consume(t, b, len(stored))
	s.stop() // Its time is the test's from here on.
	s.housekeeping.Wait()
	flood(t, b, dropped, "mallory", 1000, 300)
	if n := dropped["mallory"]; n < 200 || len(dropped) != 1 {
		t.Errorf("%v are dropped after the start, want most of 300", dropped)
	}
	start := time.Now()
	heldAt(t, s, start.Add(30*time.Minute))
	consumeAll(t, b)
	heldAt(t, s, start.Add(2*time.Hour))
	b.shares.mu.Lock()
	defer b.shares.mu.Unlock()
	if diff := cmp.Diff(table{}, b.shares.total); diff != "" {
		t.Error("something is charged although nothing is left")
	}
}

func TestWhatIsNotStoredIsNotCharged(t *testing.T) {
	t.Parallel()
	s := open(t, options(t.TempDir()))
	b, dropped := shared(t, s)
	s.stop()
	s.housekeeping.Wait()
	e, err := s.current()
	if err != nil {
		t.Fatal(err)
	}
	e.conn.Close()
	for i := range 3000 {
		if err = b.Publish(t.Context(), requested(t, "unlucky", i, maxObject)); err == nil {
			t.Fatal("it is stored")
		}
	}
	if len(dropped) > 0 {
		t.Errorf("%v are dropped", dropped)
	}
}

// TestManyWhoTakeAllTheyCanDoNotFillTheBus: whoever takes his share leaves less to take.
func TestManyWhoTakeAllTheyCanDoNotFillTheBus(t *testing.T) {
	t.Parallel()
	const bound, message, hogs = 1 << 30, 64 << 10, partOfWhole - partOfFree - 1
	s := newShares(time.Now())
	s.begin(&natsjs.StreamInfo{Config: natsjs.StreamConfig{MaxBytes: bound}}, time.Now())
	for taken := true; taken; {
		taken = false
		for hog := range hogs {
			a := s.account(&event.Event{Pod: event.Pod{UID: fmt.Sprint(hog), Name: "hog"}})
			if !s.over(a) {
				s.claim([]account{a}, []int{1}, message)
				taken = true
			}
		}
	}
	if s.held > bound-bound/partOfWhole {
		t.Errorf("%d of %d bytes are taken by %d", s.held, bound, hogs)
	}
	if newcomer := s.account(&event.Event{Pod: event.Pod{UID: "new", Name: "new"}}); s.over(newcomer) {
		t.Error("who has nothing has too much")
	}
}

// TestSharesAreWhatIsStored compares the tables with an account of every message.
func TestSharesAreWhatIsStored(t *testing.T) {
	t.Parallel()
	const owners = 10
	type message struct {
		owner, bytes int64
		sequence     uint64
	}
	random := rand.New(rand.NewPCG(1, 2))
	now := time.Now()
	s := newShares(now)
	s.begin(&natsjs.StreamInfo{Config: natsjs.StreamConfig{MaxBytes: 1 << 40}}, now)
	accounts := make([]account, owners)
	for i := range accounts {
		accounts[i] = s.account(&event.Event{Source: fmt.Sprint(i)})
	}
	var stored []message
	state := natsjs.StreamState{FirstSeq: 1}
	for step := range 5000 {
		m := message{owner: random.Int64N(owners), bytes: random.Int64N(1000) + overhead}
		c := s.claim([]account{accounts[m.owner]}, []int{7}, int(m.bytes-overhead))
		if random.IntN(4) == 0 {
			c.undo()
		} else {
			state.LastSeq++
			m.sequence = state.LastSeq
			c.stored(m.sequence)
			stored = append(stored, m)
		}
		if random.IntN(10) == 0 {
			now = now.Add(time.Duration(random.IntN(100)) * time.Second)
		}
		if random.IntN(50) == 0 && len(stored) > 0 {
			state.FirstSeq = stored[random.IntN(len(stored))].sequence
		}
		s.measured(state, time.Hour, now)
		if len(s.generations) > maxGenerations {
			t.Fatalf("step %d: %d generations", step, len(s.generations))
		}
		// What was let go is forgotten by generation.
		oldest := uint64(0)
		for len(stored) > 0 && stored[0].sequence < state.FirstSeq {
			oldest, stored = stored[0].sequence, stored[1:]
		}
		var want [owners]int64
		for _, m := range stored {
			want[m.owner] += m.bytes
		}
		for owner, a := range accounts {
			if got := s.total.of(a); got < want[owner] {
				t.Fatalf("step %d: owner %d has %d, want %d (up to %d is gone)", step, owner, got, want[owner], oldest)
			}
		}
	}
	state.FirstSeq = state.LastSeq + 1
	s.measured(state, time.Hour, now.Add(time.Hour))
	if s.total != (table{}) || len(s.generations) != 1 {
		t.Error("something is charged although nothing is left")
	}
}
