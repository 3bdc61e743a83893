package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/backlog/backlogtest"
	"github.com/portcullis-dev/portcullis/event"
)

// fails is a sink that is away.
func fails(context.Context, Document) error { return errors.New("away") }

func TestWhatWasNotDeliveredIsSentAfterARestart(t *testing.T) {
	store := backlogtest.NewDisk()
	away, there := &sink{send: fails}, &sink{}
	fanning(t, FanoutOptions{Store: store, Sinks: map[string]Sink{"away": away, "there": there}}, func(f *Fanout, _ func()) {
		for _, d := range detections(3) {
			send(t, f, d)
		}
		synctest.Wait()
		if store.Len() != 3 {
			t.Errorf("%d are stored, want those of the sink that is away", store.Len())
		}
	})
	back := &sink{}
	fanning(t, FanoutOptions{Store: store, Sinks: map[string]Sink{"away": back, "there": there}}, func(f *Fanout, _ func()) {
		synctest.Wait()
		send(t, f, &event.Detection{ID: "d3"})
		synctest.Wait()
	})
	if !slices.Equal(back.ids(), []string{"d0", "d1", "d2", "d3"}) || !slices.Equal(there.ids(), []string{"d0", "d1", "d2", "d3"}) {
		t.Errorf("%v and %v", back.ids(), there.ids())
	}
	if store.Len() != 0 {
		t.Errorf("%d are left", store.Len())
	}
}

// The detection is found again after the restart, while what was told of it still waits.
func TestWhatWaitsIsNotQueuedAgain(t *testing.T) {
	store := backlogtest.NewDisk()
	told := &event.Detection{ID: "d", State: event.Provisional}
	fanning(t, FanoutOptions{Store: store, Sinks: map[string]Sink{"s": &sink{send: fails}}}, func(f *Fanout, _ func()) {
		send(t, f, told)
	})
	s := &sink{}
	fanning(t, FanoutOptions{Store: store, Sinks: map[string]Sink{"s": s}}, func(f *Fanout, _ func()) {
		send(t, f, told)
		send(t, f, &event.Detection{ID: "d", State: event.Superseded})
		synctest.Wait()
		send(t, f, told) // It has been reinstated.
		synctest.Wait()
	})
	if !slices.Equal(s.ids(), []string{"d", "d", "d"}) {
		t.Errorf("got %v, want one for each of three changes", s.ids())
	}
}

func TestSinkThatIsGoneLeavesNothing(t *testing.T) {
	store := backlogtest.NewDisk()
	fanning(t, FanoutOptions{Store: store, Sinks: map[string]Sink{"a/b": &sink{send: fails}}}, func(f *Fanout, _ func()) {
		send(t, f, &event.Detection{ID: "d"})
	})
	fanning(t, FanoutOptions{Store: store}, func(*Fanout, func()) { synctest.Wait() })
	if store.Len() != 0 {
		t.Errorf("%d are left", store.Len())
	}
}

func TestFullOutboxDropsTheOldest(t *testing.T) {
	for name, o := range map[string]FanoutOptions{"by number": {Queue: 3}, "by size": {QueueBytes: 1}} {
		t.Run(name, func(t *testing.T) {
			store := backlogtest.NewDisk()
			o.Store, o.Sinks = store, map[string]Sink{"s": &sink{send: fails}}
			fanning(t, o, func(f *Fanout, _ func()) {
				for _, d := range detections(10) {
					send(t, f, d)
				}
				synctest.Wait()
				if left := f.lanes["s"].len(); f.counted("s", resultDropped) != 10-left || store.Len() != left {
					t.Errorf("%d wait, %d stored, %d counted as dropped", left, store.Len(), f.counted("s", resultDropped))
				}
				if m := f.lanes["s"].first(); m.id == "d0" {
					t.Error("the oldest is still there")
				}
			})
		})
	}
}

func TestWithoutTheStoreDetectionsAreToldAllTheSame(t *testing.T) {
	store, s := backlogtest.NewDisk(), &sink{}
	store.SetGate(backlogtest.Fails(errors.New("no")))
	fanning(t, FanoutOptions{Store: store, Sinks: map[string]Sink{"s": s}}, func(f *Fanout, _ func()) {
		if err := f.Send(t.Context(), &event.Detection{ID: "d"}); err == nil {
			t.Error("what is not stored is said to be")
		}
		synctest.Wait()
		if !slices.Equal(s.ids(), []string{"d"}) {
			t.Errorf("got %v", s.ids())
		}
		store.SetGate(nil)
		time.Sleep(time.Minute)
	})
	if store.Len() != 0 {
		t.Errorf("%d are left of what was delivered", store.Len())
	}
}

func TestWhatCannotBeReadIsLeftAlone(t *testing.T) {
	store := backlogtest.NewDisk()
	for key, value := range map[string]string{"s/1": "", "s/2": "\x02", "s/zz": "\x01\xff", "s/3": "\x01\xa1\x03\x41\xff"} {
		if err := store.Put(t.Context(), key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	s := &sink{}
	fanning(t, FanoutOptions{Store: store, Sinks: map[string]Sink{"s": s}}, func(f *Fanout, _ func()) {
		send(t, f, &event.Detection{ID: "d"})
		synctest.Wait()
		if f.counted("s", resultDropped) != 3 || f.counted("s", resultRejected) != 1 {
			t.Errorf("%d dropped, %d rejected", f.counted("s", resultDropped), f.counted("s", resultRejected))
		}
	})
	if !slices.Equal(s.ids(), []string{"d"}) || store.Len() != 3 {
		t.Errorf("got %v, %d are stored", s.ids(), store.Len())
	}
}

// TestEachIsDeliveredWheneverItIsKilled kills the process at random writes to the store. A kill is a
// store that takes nothing more; what was delivered before that was delivered.
func TestEachIsDeliveredWheneverItIsKilled(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 1))
		store, s := backlogtest.NewDisk(), &sink{}
		var left atomic.Int32
		store.SetGate(func(context.Context, string) error {
			if left.Add(-1) < 0 {
				return errors.New("killed")
			}
			return nil
		})
		dead := func() bool { return left.Load() <= 0 }
		var queue []*event.Detection // what the process is told once more after a restart
		queue = append(queue, detections(10)...)
		kills := 0
		for len(queue) > 0 || store.Len() > 0 {
			left.Store(1 + rng.Int32N(8))
			if kills > 20 {
				left.Store(1 << 20)
			}
			fanning(t, FanoutOptions{Store: store, Sinks: map[string]Sink{"s": s}}, func(f *Fanout, _ func()) {
				for len(queue) > 0 && !dead() {
					if err := f.Send(t.Context(), queue[0]); err == nil {
						queue = queue[1:]
					}
					if rng.IntN(2) == 0 {
						synctest.Wait()
					}
				}
				synctest.Wait()
			})
			if dead() {
				kills++
			}
		}
		count := map[string]int{}
		for _, id := range s.ids() {
			count[id]++
		}
		for i := range 10 {
			if n := count[fmt.Sprint("d", i)]; n < 1 || n > kills+1 {
				t.Fatalf("seed %d: d%d arrived %d times, with %d kills", seed, i, n, kills)
			}
		}
	}
}

func TestDocumentTellsStateCoverageAndQuarantines(t *testing.T) {
	d := stolenToken()
	d.State, d.SupersededBy = event.Superseded, "d2"
	d.Pod.Confidence, d.Pod.Candidates = event.Ambiguous, []string{"u1", "u2"}
	d.Coverage = event.Coverage{Known: true, Holes: []event.Hole{
		{Source: "agent/node-1", From: noon, To: noon.Add(time.Second), Cause: "kernel-ring-full", Lost: 7},
		{Source: "audit/cp-1", From: noon, Cause: "audit-stream-silent"},
	}}
	body, err := NewEncoder("").Encode(d,
		Quarantine{Name: "pod-u1", Subject: "shop/web-0", Expires: noon.Add(time.Hour)}, Quarantine{Name: "pod-u2", Subject: "shop/web-0", Ended: "released"})
	if err != nil {
		t.Fatal(err)
	}
	var pretty bytes.Buffer
	var doc struct {
		Portcullis struct{ Detection map[string]json.RawMessage }
	}
	if err = json.Unmarshal(body, &doc); err != nil {
		t.Fatal(err)
	}
	delete(doc.Portcullis.Detection, "events")
	if err = json.NewEncoder(&pretty).Encode(doc.Portcullis.Detection); err != nil {
		t.Fatal(err)
	}
	var indented bytes.Buffer
	if err = json.Indent(&indented, pretty.Bytes(), "", "  "); err != nil {
		t.Fatal(err)
	}
	golden(t, filepath.Join("testdata", "superseded.json"), indented.Bytes())
	d.Coverage.Holes = nil
	if body, err = NewEncoder("").Encode(d); err != nil || !strings.Contains(string(body), `"coverage":{"status":"complete"}`) {
		t.Errorf("%v: %s", err, body)
	}
}

func TestFanoutOptions(t *testing.T) {
	good := FanoutOptions{Encoder: NewEncoder(""), Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewPedanticRegistry()}
	for want, change := range map[string]func(*FanoutOptions){
		"Encoder":    func(o *FanoutOptions) { o.Encoder = nil },
		"Logger":     func(o *FanoutOptions) { o.Logger = nil },
		"Registerer": func(o *FanoutOptions) { o.Registerer = nil },
		"Queue":      func(o *FanoutOptions) { o.Queue = -1 },
		`"s"`:        func(o *FanoutOptions) { o.Sinks = map[string]Sink{"s": nil} },
	} {
		o := good
		change(&o)
		if _, err := NewFanout(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v", want, err)
		}
	}
}
