package app

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/jetstream"
	"github.com/portcullis-dev/portcullis/notify"
	"github.com/portcullis-dev/portcullis/quarantine"
	"github.com/portcullis-dev/portcullis/record"
)

// fused is a bucket of the real store that takes so many writes and then none.
type fused struct {
	*jetstream.Bucket
	fuse *fuse
}

func (b fused) Put(ctx context.Context, key string, value []byte) error {
	if err := b.fuse.step(); err != nil {
		return err
	}
	return b.Bucket.Put(ctx, key, value)
}

func (b fused) Delete(ctx context.Context, key string) error {
	if err := b.fuse.step(); err != nil {
		return err
	}
	return b.Bucket.Delete(ctx, key)
}

// prompt is a quarantiner whose objects are in the cluster at once.
type prompt struct {
	book  *record.Book
	fuse  *fuse
	times map[string]int
}

func (p *prompt) Quarantine(_ context.Context, d *event.Detection, _ quarantine.Spec) (quarantine.Outcome, error) {
	if err := p.fuse.step(); err != nil {
		return quarantine.OutcomeApplied, nil //nolint:nilerr // In force, in a process that is dead.
	}
	if written, _ := p.book.Fate(d.ID, "pod-u1"); written {
		return quarantine.OutcomeRepeated, nil
	}
	p.times[d.ID]++
	p.book.Written("pod-u1", d.ID)
	return quarantine.OutcomeApplied, nil
}

func (p *prompt) WouldQuarantine(*event.Detection, quarantine.Spec) {}

// TestKilledOnTheRealStore is TestKilledBetweenAnyTwoSteps with the store that the server uses, opened anew in each life.
func TestKilledOnTheRealStore(t *testing.T) {
	t.Parallel()
	const detections = 4
	dir := t.TempDir()
	f := &fuse{}
	people := &audience{fuse: f, got: map[string]int{}}
	acted := map[string]int{}
	life := func(steps int) (died bool) {
		f.set(steps)
		store, err := jetstream.Open(t.Context(), jetstream.Options{
			Directory: dir, MaxBytes: 1 << 30, Clock: time.Now, Logger: quiet(), Registerer: prometheus.NewRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if failed := store.Close(); failed != nil {
				t.Error(failed)
			}
		}()
		open := func(name string) fused {
			b, failed := store.Bucket(t.Context(), jetstream.BucketOptions{Name: name, TTL: time.Hour, MaxBytes: 64 << 20})
			if failed != nil {
				t.Fatal(failed)
			}
			return fused{b, f}
		}
		book, err := record.New(t.Context(), record.Options{
			Store: open("detections"), Timeout: time.Minute, Clock: time.Now, Logger: quiet(), Registerer: prometheus.NewRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
		out, err := notify.NewFanout(t.Context(), notify.FanoutOptions{
			Store: open("outbox"), Sinks: map[string]notify.Sink{"people": people}, Encoder: notify.NewEncoder(""),
			Logger: quiet(), Registerer: prometheus.NewRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
		r := &responder{
			sessions: silence{}, killer: silence{}, announcer: silence{},
			rules: someRules(t), quarantine: &prompt{book, f, acted}, record: book, notify: out, clock: time.Now, logger: quiet(),
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = book.Run(ctx) })
		wg.Go(func() { _ = out.Run(ctx) })
		for i := range detections {
			d := about("asks-pod", event.ActionQuarantine)
			if d.ID = fmt.Sprint("d", i); !book.Known(d.ID) && !f.dead() {
				r.Handle(t.Context(), d)
			}
		}
		cancel() // What still waits is stored and sent on the way out, or the fuse burns.
		wg.Wait()
		return f.dead()
	}
	kills := 0
	for steps := range 30 {
		if life(steps % 10) {
			kills++
		}
	}
	for range 2 {
		if life(unlimited) {
			t.Fatal("the last lives were not to end early")
		}
	}
	for i := range detections {
		id := fmt.Sprint("d", i)
		if n := people.got[id+" provisional"]; n < 1 || n > kills+1 {
			t.Errorf("%s arrived %d times, with %d kills", id, n, kills)
		}
		if acted[id] < 1 || acted[id] > kills+1 {
			t.Errorf("%s was acted on %d times", id, acted[id])
		}
	}
	t.Logf("%d kills, told %v, acted %v", kills, people.got, acted)
}
