package backlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/portcullis-dev/portcullis/backlog/backlogtest"
)

// TestMain fails when a goroutine outlives the tests.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errDisk = errors.New("the disk says no")
	always  = backlogtest.Fails(errDisk)
)

// bubble runs a Backlog on a disk, in a time of its own.
func bubble(t *testing.T, o Options, test func(t *testing.T, b *Backlog, d *backlogtest.Disk, stop func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := backlogtest.NewDisk()
		o.Name, o.Store, o.Logger, o.Registerer = "test", d, slog.New(slog.DiscardHandler), prometheus.NewPedanticRegistry()
		b, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = b.Run(ctx) })
		stop := func() { cancel(); wg.Wait() }
		defer stop()
		test(t, b, d, stop)
	})
}

func (b *Backlog) counted(result string) float64 {
	return testutil.ToFloat64(b.writes.WithLabelValues(result))
}

func TestPutStoresAtOnce(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *Backlog, d *backlogtest.Disk, _ func()) {
		for _, value := range []string{"1", "2", ""} {
			if err := b.Put(t.Context(), "k", []byte(value)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string]string{"k": value}, d.Values()); diff != "" {
				t.Fatal(diff)
			}
		}
		b.DeleteLater("k")
		b.PutLater("l", []byte("3"))
		synctest.Wait()
		if diff := cmp.Diff(map[string]string{"l": "3"}, d.Values()); diff != "" || b.Len() != 0 {
			t.Errorf("%d wait, stored:\n%s", b.Len(), diff)
		}
	})
}

func TestWhatFailsIsStoredWhenTheStoreIsBack(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *Backlog, d *backlogtest.Disk, _ func()) {
		if err := d.Put(t.Context(), "gone", nil); err != nil {
			t.Fatal(err)
		}
		var tries atomic.Int32
		d.SetGate(func(context.Context, string) error { tries.Add(1); return errDisk })
		for i := range 10 {
			if err := b.Put(t.Context(), fmt.Sprint(i%3), fmt.Append(nil, i)); !errors.Is(err, ErrLater) {
				t.Fatalf("error is %v", err)
			}
		}
		b.DeleteLater("gone")
		synctest.Wait()
		if n := tries.Load(); n > 2 {
			t.Errorf("a store that fails was tried %d times within no time", n)
		}
		if b.Len() != 4 {
			t.Errorf("%d values wait, want the newest of each key", b.Len())
		}
		d.SetGate(nil)
		time.Sleep(DefaultRetry)
		synctest.Wait()
		if diff := cmp.Diff(map[string]string{"0": "9", "1": "7", "2": "8"}, d.Values()); diff != "" || b.Len() != 0 {
			t.Errorf("%d wait, stored:\n%s", b.Len(), diff)
		}
		if err := b.Put(t.Context(), "k", nil); err != nil {
			t.Errorf("a store that is back: %v", err)
		}
	})
}

func TestADiskThatHangsHoldsUpOneCallerForAMoment(t *testing.T) {
	bubble(t, Options{Timeout: time.Second}, func(t *testing.T, b *Backlog, d *backlogtest.Disk, stop func()) {
		d.SetGate(func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() })
		begin := time.Now()
		for i := range 100 {
			if err := b.Put(t.Context(), fmt.Sprint(i), nil); !errors.Is(err, ErrLater) {
				t.Fatalf("error is %v", err)
			}
		}
		if held := time.Since(begin); held != time.Second {
			t.Errorf("a hundred callers were held up for %s together", held)
		}
		begin = time.Now()
		stop()
		if took := time.Since(begin); took > drainTimeout {
			t.Errorf("stopping took %s", took)
		}
	})
}

// A store that is full takes nothing, until something goes.
func TestRemovalsMakeRoom(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *Backlog, d *backlogtest.Disk, _ func()) {
		if err := d.Put(t.Context(), "old", nil); err != nil {
			t.Fatal(err)
		}
		d.SetGate(func(_ context.Context, key string) error {
			if _, full := d.Values()["old"]; full && key != "old" {
				return errDisk
			}
			return nil
		})
		_ = b.Put(t.Context(), "new", []byte("1"))
		b.DeleteLater("old")
		time.Sleep(2 * DefaultRetry)
		synctest.Wait()
		if diff := cmp.Diff(map[string]string{"new": "1"}, d.Values()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAValueThatIsNeverTakenHoldsUpNoOther(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *Backlog, d *backlogtest.Disk, _ func()) {
		d.SetGate(func(_ context.Context, key string) error {
			if key == "huge" {
				return errDisk
			}
			return nil
		})
		b.PutLater("huge", nil)
		b.PutLater("small", []byte("1"))
		time.Sleep(3 * DefaultRetry)
		synctest.Wait()
		if diff := cmp.Diff(map[string]string{"small": "1"}, d.Values()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestStoppingWritesWhatIsLeft(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *Backlog, d *backlogtest.Disk, stop func()) {
		d.SetGate(always)
		_ = b.Put(t.Context(), "k", []byte("1"))
		synctest.Wait()
		d.SetGate(nil)
		stop()
		if diff := cmp.Diff(map[string]string{"k": "1"}, d.Values()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWhatWaitsIsBounded(t *testing.T) {
	bubble(t, Options{MaxWaiting: 10}, func(t *testing.T, b *Backlog, d *backlogtest.Disk, _ func()) {
		d.SetGate(always)
		for i := range 100 {
			_ = b.Put(t.Context(), fmt.Sprint(i), nil)
		}
		if b.Len() != 10 || b.counted(resultDropped) != 90 {
			t.Errorf("%d wait, %v are counted as dropped", b.Len(), b.counted(resultDropped))
		}
	})
}

func TestWithoutStoreEverythingSucceeds(t *testing.T) {
	b, err := New(Options{Name: "test", Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewPedanticRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	b.PutLater("k", nil)
	b.DeleteLater("k")
	if err := b.Put(t.Context(), "k", nil); err != nil || b.Len() != 0 {
		t.Errorf("%v, %d wait", err, b.Len())
	}
}

// TestTheNewestValueWins has several callers write the same few keys through a disk that fails
// now and then.
func TestTheNewestValueWins(t *testing.T) {
	for seed := range uint64(50) {
		bubble(t, Options{}, func(t *testing.T, b *Backlog, d *backlogtest.Disk, _ func()) {
			var wg sync.WaitGroup
			for caller := range 4 { // each with keys of its own, so that there is a newest
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(seed, uint64(caller)))
					for i := range 100 {
						key := fmt.Sprint(caller, "/", rng.IntN(3))
						switch rng.IntN(4) {
						case 0:
							b.PutLater(key, fmt.Append(nil, i))
						case 1:
							b.DeleteLater(key)
						case 2:
							d.SetGate(always)
							time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
							d.SetGate(nil)
						default:
							_ = b.Put(t.Context(), key, fmt.Append(nil, i))
						}
					}
					for n := range 3 {
						b.PutLater(fmt.Sprint(caller, "/", n), []byte("last"))
					}
				})
			}
			wg.Wait()
			time.Sleep(10 * DefaultRetry)
			synctest.Wait()
			for key, value := range d.Values() {
				if value != "last" {
					t.Errorf("seed %d: %s is %s", seed, key, value)
				}
			}
			if d.Len() != 12 || b.Len() != 0 {
				t.Errorf("seed %d: %d stored, %d wait", seed, d.Len(), b.Len())
			}
		})
	}
}

func TestOptions(t *testing.T) {
	good := Options{Name: "n", Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewPedanticRegistry()}
	for name, change := range map[string]func(*Options){
		"Name":       func(o *Options) { o.Name = "" },
		"Logger":     func(o *Options) { o.Logger = nil },
		"Registerer": func(o *Options) { o.Registerer = nil },
		"Timeout":    func(o *Options) { o.Timeout = -1 },
		"MaxWaiting": func(o *Options) { o.MaxWaiting = -1 },
	} {
		o := good
		change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
	if _, err := New(good); err == nil {
		t.Error("two of one name share their metrics")
	}
}
