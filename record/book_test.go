package record

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/portcullis-dev/portcullis/backlog/backlogtest"
	"github.com/portcullis-dev/portcullis/event"
)

// TestMain fails when a goroutine outlives the tests.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func open(t testing.TB, o Options) *Book {
	t.Helper()
	o.Logger, o.Registerer = slog.New(slog.DiscardHandler), prometheus.NewPedanticRegistry()
	if o.Clock == nil {
		o.Clock = func() time.Time { return noon }
	}
	b, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEndedByCompletesWhatEndedLeftOpen(t *testing.T) {
	b := open(t, Options{})
	begin := func(id string) {
		b.Note(id, func(r *Record) { r.Begun, r.Quarantines = noon, []Quarantine{{Object: "pod-u1", Written: true}} })
	}
	at := noon.Add(time.Minute)
	begin("released")
	b.Ended("pod-u1", "released", "", "released")
	begin("expired")
	b.Ended("pod-u1", "expired", "portcullis", "expired")
	begin("standing")
	before, _ := b.Get("released")
	b.EndedBy("pod-u1", "carol", at, "released", "expired", "standing", "nobody knows")
	b.EndedBy("pod-u1", "mallory", at.Add(time.Hour), "released")
	b.EndedBy("pod-u2", "mallory", at, "released")
	for id, want := range map[string]*End{
		"released": {Why: "released", By: "carol", At: at}, "expired": {Why: "expired", By: "portcullis", At: noon}, "standing": nil,
	} {
		r, _ := b.Get(id)
		if diff := cmp.Diff(want, r.Quarantines[0].Ended); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
	}
	if _, known := b.Get("nobody knows"); known || before.Quarantines[0].Ended.By != "" {
		t.Error("it changes what somebody holds, or makes records")
	}
}

func TestSinceVisitsWhatLedToQuarantines(t *testing.T) {
	b := open(t, Options{})
	for id, r := range map[string]Record{
		"old":   {Begun: noon.Add(-time.Second), Quarantines: []Quarantine{{Object: "pod-u1"}}},
		"new":   {Begun: noon, Quarantines: []Quarantine{{Object: "pod-u2"}}},
		"plain": {Begun: noon.Add(time.Second)},
	} {
		b.Note(id, func(own *Record) { *own = r })
	}
	var got []string
	b.Since(noon, func(id string, r Record) { got = append(got, id+" "+r.Quarantines[0].Object) })
	if diff := cmp.Diff([]string{"new pod-u2"}, got); diff != "" {
		t.Errorf("visited (-want +got):\n%s", diff)
	}
}

// running runs a Book on a disk, in a time of its own, and stops it.
func running(t *testing.T, o Options, test func(t *testing.T, b *Book)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o.Clock = time.Now
		b := open(t, o)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = b.Run(ctx) })
		defer func() { cancel(); wg.Wait() }()
		test(t, b)
	})
}

// full is a record with everything in it.
func full() Record {
	return Record{
		Rule: "token-theft", State: event.Superseded, SupersededBy: "d2", Action: event.ActionQuarantine, Why: "because",
		Quarantines: []Quarantine{
			{Object: "pod-u1", Whom: "shop/web-0", Expires: noon.Add(time.Hour), Written: true},
			{Object: "pod-u2", Whom: "shop/web-0", Ended: &End{Why: "released", By: "alice", At: noon.Add(time.Minute)}},
		},
		Told: 1 << 63, Begun: noon.Add(123 * time.Millisecond),
	}
}

func TestRecordsOutliveTheProcess(t *testing.T) {
	d := backlogtest.NewDisk()
	want := full()
	if got := open(t, Options{Store: d}).Change(t.Context(), "d1", func(r *Record) { *r = full() }); !cmp.Equal(want, got) {
		t.Errorf("it was changed to something else:\n%s", cmp.Diff(want, got))
	}
	b := open(t, Options{Store: d})
	got, ok := b.Get("d1")
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
	if _, ok := b.Get("d2"); ok || b.Known("d2") || b.Len() != 1 {
		t.Error("there is a record that nobody made")
	}
}

func TestKnownIsWhatIsDone(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Record)
		known  bool
	}{
		"everything":                     {func(*Record) {}, true},
		"nothing was told":               {func(r *Record) { r.Told = 0 }, false},
		"a quarantine is on its way":     {func(r *Record) { r.Quarantines[0].Written = false }, false},
		"there is no quarantine":         {func(r *Record) { r.Quarantines = nil }, true},
		"only that a quarantine is over": {func(r *Record) { r.Begun = time.Time{} }, false},
	} {
		b := open(t, Options{})
		b.Note("d", func(r *Record) { *r = full(); tt.change(r) })
		if got := b.Known("d"); got != tt.known {
			t.Errorf("%s: known %v", name, got)
		}
	}
}

func TestFateOfQuarantines(t *testing.T) {
	b := open(t, Options{})
	fate := func(id, object string, written, ended bool) {
		t.Helper()
		if w, e := b.Fate(id, object); w != written || e != ended {
			t.Errorf("%s of %s: written %v, ended %v", object, id, w, e)
		}
	}
	b.Written("pod-u1", "unknown")
	fate("unknown", "pod-u1", false, false)
	b.Note("d", func(r *Record) {
		r.Begun, r.Quarantines = noon, []Quarantine{{Object: "pod-u1"}, {Object: "pod-u2", Expires: noon.Add(time.Hour)}}
	})
	fate("d", "pod-u1", false, false)
	b.Written("pod-u2", "d")
	b.Ended("pod-u1", "released", "", "d", "other")
	b.Ended("pod-u1", "expired", "portcullis", "d")
	b.Ended("pod-u3", "released", "", "d") // Nobody extends what is recorded.
	fate("d", "pod-u1", false, true)
	fate("d", "pod-u2", true, false)
	fate("d", "pod-u3", false, false)
	fate("other", "pod-u1", false, true)
	if r, _ := b.Get("d"); r.Quarantines[0].Ended.Why != "released" || !r.Settled() {
		t.Errorf("the record is %+v", r)
	}
	var standing []string
	b.Standing(func(detection, object string, expires time.Time) {
		standing = append(standing, fmt.Sprint(detection, " ", object, " ", expires.Sub(noon)))
		b.Ended(object, "released", "", detection)
	})
	if diff := cmp.Diff([]string{"d pod-u2 1h0m0s"}, standing); diff != "" {
		t.Error(diff)
	}
	b.Standing(func(detection, object string, _ time.Time) { t.Errorf("%s of %s still stands", object, detection) })
}

func TestAStoreThatFailsHoldsUpNobodyAndIsCaughtUpWith(t *testing.T) {
	d := backlogtest.NewDisk()
	running(t, Options{Store: d}, func(t *testing.T, b *Book) {
		d.SetGate(backlogtest.Fails(errors.New("no")))
		begin := time.Now()
		for i := range 100 {
			b.Change(t.Context(), fmt.Sprint(i%10), func(r *Record) { r.Rule = fmt.Sprint(i) })
		}
		if held := time.Since(begin); held != 0 || b.Len() != 10 || d.Len() != 0 {
			t.Errorf("held up for %s, %d records, %d stored", held, b.Len(), d.Len())
		}
		d.SetGate(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
	})
	b := open(t, Options{Store: d})
	for i := range 10 {
		if r, _ := b.Get(fmt.Sprint(i)); r.Rule != fmt.Sprint(90+i) {
			t.Errorf("%d has %q", i, r.Rule)
		}
	}
}

// A flood of detections takes the room of those that nothing was done about, oldest first.
func TestFloodIsBoundedAndSparesQuarantines(t *testing.T) {
	d := backlogtest.NewDisk()
	running(t, Options{Store: d, MaxBytes: minMaxBytes}, func(t *testing.T, b *Book) {
		for i := range 10 {
			b.Change(t.Context(), fmt.Sprint("quarantined", i), func(r *Record) { *r = full() })
		}
		for i := range 10_000 {
			b.Change(t.Context(), fmt.Sprint("noise", i), func(r *Record) { r.Rule, r.Begun, r.Told = strings.Repeat("x", 100), noon, 1 })
		}
		synctest.Wait()
		for i := range 10 {
			if !b.Known(fmt.Sprint("quarantined", i)) {
				t.Errorf("the record of quarantine %d has gone", i)
			}
		}
		if b.Known("noise0") || !b.Known("noise9999") || b.size > minMaxBytes {
			t.Errorf("first %v, last %v, %d bytes", b.Known("noise0"), b.Known("noise9999"), b.size)
		}
		if n := testutil.ToFloat64(b.metrics.forgotten.WithLabelValues(forgottenForRoom)); int(n) != 10_010-b.Len() {
			t.Errorf("%d records are left, %v counted as forgotten", b.Len(), n)
		}
		if b.Len() != d.Len() {
			t.Errorf("%d records, %d of them stored", b.Len(), d.Len())
		}
	})
	if b := open(t, Options{Store: d, MaxBytes: minMaxBytes}); b.Len() != d.Len() {
		t.Errorf("%d of %d records are there after a restart", b.Len(), d.Len())
	}
}

func TestOldRecordsGo(t *testing.T) {
	d := backlogtest.NewDisk()
	running(t, Options{Store: d, Keep: 24 * time.Hour}, func(t *testing.T, b *Book) {
		b.Note("old", func(r *Record) { r.Rule = "x" })
		time.Sleep(23 * time.Hour)
		b.Note("new", func(r *Record) { *r = full() })
		if b.Len() != 2 {
			t.Errorf("%d records, want both", b.Len())
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if _, ok := b.Get("old"); ok || b.Len() != 1 || d.Len() != 1 {
			t.Errorf("%d records, %d stored, want the new one", b.Len(), d.Len())
		}
	})
}

func TestWhatCannotBeReadIsCountedAndLeftAlone(t *testing.T) {
	d := backlogtest.NewDisk()
	for i, value := range [][]byte{nil, {0}, {encoding + 1, 0xa0}, {encoding}, {encoding, 0xff}, bytes.Repeat([]byte{encoding}, maxValue+1)} {
		if err := d.Put(t.Context(), fmt.Sprint(i), value); err != nil {
			t.Fatal(err)
		}
	}
	b := open(t, Options{Store: d})
	if n := testutil.ToFloat64(b.metrics.undecodable); n != 6 || b.Len() != 0 || d.Len() != 6 {
		t.Errorf("%v counted, %d records, %d values", n, b.Len(), d.Len())
	}
}

func TestAStoreThatCannotBeReadIsAnError(t *testing.T) {
	want := errors.New("no")
	_, err := New(t.Context(), Options{
		Store: broken{want}, Clock: time.Now, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewPedanticRegistry(),
	})
	if !errors.Is(err, want) {
		t.Errorf("error is %v", err)
	}
}

type broken struct{ err error }

func (b broken) Put(context.Context, string, []byte) error { return b.err }
func (b broken) Delete(context.Context, string) error      { return b.err }
func (b broken) Range(context.Context, func(string, []byte, time.Time) error) error {
	return b.err
}

func TestOptions(t *testing.T) {
	good := Options{Clock: time.Now, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewPedanticRegistry()}
	for want, change := range map[string]func(*Options){
		"Clock":      func(o *Options) { o.Clock = nil },
		"Logger":     func(o *Options) { o.Logger = nil },
		"Registerer": func(o *Options) { o.Registerer = nil },
		"MaxBytes":   func(o *Options) { o.MaxBytes = 1 },
		"Keep":       func(o *Options) { o.Keep = -1 },
	} {
		o := good
		change(&o)
		if _, err := New(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v", want, err)
		}
	}
}

// TestTheStoreSaysWhatTheBookSays changes few records from many sides at once.
func TestTheStoreSaysWhatTheBookSays(t *testing.T) {
	d := backlogtest.NewDisk()
	running(t, Options{Store: d}, func(t *testing.T, b *Book) {
		var wg sync.WaitGroup
		for caller := range 8 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(caller), 1))
				for range 500 {
					id := fmt.Sprint(rng.IntN(3))
					switch rng.IntN(4) {
					case 0:
						b.Ended("o", "released", "", id)
					case 1:
						b.Written("o", id)
					case 2:
						b.Note(id, func(r *Record) { r.Told++ })
					default:
						b.Change(t.Context(), id, func(r *Record) { r.Told++ })
					}
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		after := open(t, Options{Store: d})
		for i := range 3 {
			want, _ := b.Get(fmt.Sprint(i))
			got, _ := after.Get(fmt.Sprint(i))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the store says something else (-book +store):\n%s", diff)
			}
		}
	})
}

func TestARecordIsSmall(t *testing.T) {
	c, err := newCodec()
	if err != nil {
		t.Fatal(err)
	}
	r := Record{
		Rule: "service-account-token-read-then-used", State: event.Final, Action: event.ActionQuarantine, Told: 1 << 63, Begun: noon,
		Quarantines: []Quarantine{{Object: "pod-d6cf43d9-2859-4e33-8fbe-bc4380d71ed6", Whom: "shop/cart-0", Expires: noon, Written: true}},
	}
	value, err := c.marshal(&r)
	if err != nil {
		t.Fatal(err)
	}
	if len(value) > 150 {
		t.Errorf("an ordinary record takes %d bytes", len(value))
	}
	r.Rule, r.Why = strings.Repeat("ä", 1000), strings.Repeat("w", 10_000)
	for range 1000 {
		r.Quarantines = append(r.Quarantines, r.Quarantines[0])
	}
	if value, err = c.marshal(&r); err != nil || len(value) > maxValue {
		t.Errorf("a record of unusual size takes %d bytes, %v", len(value), err)
	}
	if _, err := c.unmarshal(value); err != nil {
		t.Error(err)
	}
}

func FuzzUnmarshal(f *testing.F) {
	c, err := newCodec()
	if err != nil {
		f.Fatal(err)
	}
	r := full()
	value, err := c.marshal(&r)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	f.Fuzz(func(t *testing.T, value []byte) {
		r, err := c.unmarshal(value)
		if err != nil {
			return
		}
		again, err := c.marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.unmarshal(again); err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
	})
}
