package execsession

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/execsession/join"
)

func TestOptionsNameWhatIsMissing(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{}); err == nil {
		t.Error("options without anything were taken")
	}
}

// full is a Store that takes nothing for a while.
type full struct {
	mu       sync.Mutex
	failures int
	values   map[string][]byte
}

func (f *full) Put(_ context.Context, key string, value []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failures > 0 {
		f.failures--
		return errors.New("full")
	}
	f.values[key] = value
	return nil
}

func (f *full) Delete(context.Context, string) error { return nil }

func (f *full) Range(context.Context, func(string, []byte, time.Time) error) error { return nil }

// TestManySourcesAtOnce has all methods called at the same time, while sessions are judged and stored: whatever is known
// in the end is also stored.
func TestManySourcesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := &full{failures: 3, values: map[string][]byte{}}
		var mu sync.Mutex
		reported := 0
		tracker, err := New(Options{
			Pods: pods{sole: "main"}, Store: kept, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
			Registerer: prometheus.NewRegistry(), Join: join.Options{Begin: time.Now().Add(-time.Hour)},
			Report: func(*event.Event) {
				mu.Lock()
				defer mu.Unlock()
				reported++
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		changes := tracker.Follow(ctx, Filter{})
		var wg sync.WaitGroup
		wg.Go(func() { _ = tracker.Run(ctx) })
		var sources sync.WaitGroup
		for source := range 8 {
			sources.Go(func() {
				s := &scene{TB: t, tracker: tracker}
				for i := range 10 {
					s.play(fmt.Sprintf("%d-%d", source, i), source == 0)
				}
			})
		}
		sources.Wait()
		for range 60 {
			tracker.Advance(time.Now().Add(-time.Second), false)
			time.Sleep(time.Second)
		}
		exact := len(tracker.List(Filter{Attribution: event.AttributionExact}))
		cancel()
		wg.Wait()
		told := 0
		for range changes {
			told++
		}
		if exact != 70 || len(kept.values) != 80 || told < 80 || reported != 10 {
			t.Errorf("%d exact, %d stored, told %d times, %d reported", exact, len(kept.values), told, reported)
		}
	})
}

// play is an execution from its review to its end, at the time that it is; nobody asked for one that goes around.
func (s *scene) play(name string, around bool) {
	now := time.Now()
	ms := int(now.Sub(noon) / time.Millisecond)
	if !around {
		s.review(ms, "s-"+name, "user-"+name, "job", name)
		s.started(ms-10, ms+50, "s-"+name, "user-"+name, "command=job&command="+name)
	}
	s.exec(ms+100, name, name, "job", name)
	time.Sleep(10 * time.Second)
	s.exec(ms+9000, name, name+"-child", "sub")
	s.exit(ms+9900, name, name, 0)
	if !around {
		s.completed(ms-10, ms+9950, "s-"+name, "user-"+name, "command=job&command="+name)
	}
	s.tracker.Current("s-" + name)
	s.tracker.Firsts("s-"+name, func(string) bool { return true })
	s.tracker.Get("s-" + name)
}
