package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/portcullis-dev/portcullis/event"
)

// memory is a Store. It fails once it has taken as many writes as it is allowed.
type memory struct {
	values  map[string][]byte
	puts    map[string]int
	allowed int
	// refused are keys that cannot be put; a largest that is not 0 bounds the values.
	refused map[string]bool
	largest int
}

var errFull = errors.New("disk full")

func newMemory() *memory {
	return &memory{values: map[string][]byte{}, puts: map[string]int{}, allowed: 1 << 30}
}

func (m *memory) write() error {
	if m.allowed == 0 {
		return errFull
	}
	m.allowed--
	return nil
}

func (m *memory) Put(_ context.Context, key string, value []byte) error {
	if m.refused[key] || m.largest > 0 && len(value) > m.largest {
		return errFull
	}
	if err := m.write(); err != nil {
		return err
	}
	m.puts[key]++
	m.values[key] = bytes.Clone(value)
	return nil
}

func (m *memory) Delete(_ context.Context, key string) error {
	if err := m.write(); err != nil {
		return err
	}
	delete(m.values, key)
	return nil
}

func (m *memory) Range(_ context.Context, visit func(string, []byte, time.Time) error) error {
	for _, key := range slices.Sorted(maps.Keys(m.values)) {
		if err := visit(key, m.values[key], noon); err != nil {
			return err
		}
	}
	return nil
}

// storing is a Resolver with a Store, that the test feeds itself. It knows nothing yet.
func storing(t testing.TB, store Store, now func() time.Time) *Resolver {
	t.Helper()
	r, _ := newResolver(t, now)
	r.opts.Store = store
	r.history = newHistory(r.opts.Tolerance, r.opts.Retention, r.opts.MaxGone, r.opts.MaxGoneBytes)
	r.history.touched = func(uid string) { r.unstored.add(uid) }
	return r
}

func load(t testing.TB, r *Resolver) {
	t.Helper()
	if err := r.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestStoredPodIsTheSame(t *testing.T) {
	yes := true
	want := newRecord(pod("u1", "web-0", at(0), running("c2", "c1"), func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": "web"}
		p.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web-7d", Controller: &yes}}
		p.Spec.HostNetwork = true
	}))
	want.hash, want.claimed, want.released = "hash", at(1.5), at(55)
	want.learned, want.fresh, want.deleted, want.sure, want.removed = at(1.5), true, at(60), at(50), at(60.25)
	want.sole = "" // The watch tells it of every pod that still lives.
	text, err := json.Marshal(want.toStore())
	if err != nil {
		t.Fatal(err)
	}
	var s storedPod
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, s.record(), cmp.AllowUnexported(record{}, container{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("what comes back is another (-want +got):\n%s", diff)
	}
}

func TestHistoryOutlivesTheProcess(t *testing.T) {
	store := newMemory()
	now := at(0)
	clock := func() time.Time { return now }
	first := storing(t, store, clock)
	first.replace([]*record{newRecord(pod("u1", "web-0", at(-100), running("c1"))), newRecord(pod("other", "db-0", at(-100)))}, "10")
	now = at(30)
	first.connected()
	now = at(60)
	first.heard("20")
	first.remove("other")
	first.store(t.Context())

	now = at(120)
	second := storing(t, store, clock)
	load(t, second)
	if second.resourceVersion != "20" || !second.history.told.Equal(at(50)) || !second.history.begin.Equal(at(0)) {
		t.Errorf("of the watch is known: %q, %v, %v", second.resourceVersion, second.history.told, second.history.begin)
	}
	// Until the first list nothing is known of now, and everything of then.
	if got := second.At("shop", "web-0", at(40)); got.UID != "u1" {
		t.Errorf("then it was %+v", got)
	}
	if got := second.At("shop", "web-0", at(110)); got.Confidence != event.Ambiguous {
		t.Errorf("now it is %+v", got)
	}
	second.replace([]*record{newRecord(pod("u2", "web-0", at(100)))}, "30")

	e := &event.Event{Time: at(40), Pod: event.Pod{UID: "u1", Node: "node-1"}, Container: &event.Container{ID: "c1"}}
	if got := second.Complete(e); got != Completed || e.Pod.Name != "web-0" || e.Container.Name != "main" {
		t.Errorf("%v: %+v in %+v", got, e.Pod, e.Container)
	}
	a := &event.Event{Time: at(40), Audit: &event.Audit{Caller: event.Pod{UID: "u1", Namespace: "shop", Name: "web-0"}}}
	if second.Complete(a); a.Audit.Caller.Confidence != event.Exact || a.Audit.Caller.Node != "node-1" {
		t.Errorf("the caller is %+v", a.Audit.Caller)
	}
	if got := second.At("shop", "db-0", at(45)); got.UID != "other" {
		t.Errorf("the pod that was gone before is %+v", got)
	}
	if got := second.At("shop", "web-0", at(90)); got.Confidence != event.Ambiguous || !slices.Equal(got.Candidates, []string{"u1"}) {
		t.Errorf("when nobody watched it was %+v", got)
	}
	if got := second.At("shop", "web-0", at(110)); got.UID != "u2" {
		t.Errorf("after that it was %+v", got)
	}
}

// TestChangesAreStoredOnce: a pod that changes a thousand times costs one write, one that only says that it is
// still there costs none.
func TestChangesAreStoredOnce(t *testing.T) {
	store := newMemory()
	r := storing(t, store, fixed(at(60)))
	for i := range 1000 {
		r.put(newRecord(pod("busy", "web-0", at(0), running(fmt.Sprint("c", i)))))
		r.put(newRecord(pod("quiet", "web-1", at(0), running("q"))))
	}
	r.store(t.Context())
	for i := range 1000 {
		r.put(newRecord(pod("busy", "web-0", at(0), running(fmt.Sprint("d", i)))))
		r.put(newRecord(pod("quiet", "web-1", at(0), running("q"))))
	}
	r.store(t.Context())
	r.store(t.Context())
	if diff := cmp.Diff(map[string]int{"pod/busy": 2, "pod/quiet": 1, "watch": 1}, store.puts); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
}

func TestForgottenPodsAreRemovedFromTheStore(t *testing.T) {
	store := newMemory()
	now := at(0)
	r := storing(t, store, func() time.Time { return now })
	r.put(newRecord(pod("u1", "web-0", at(0))))
	r.remove("u1")
	r.store(t.Context())
	now = at(3600)
	r.expire()
	r.store(t.Context())
	if _, there := store.values["pod/u1"]; there || r.unstored.size() != 0 {
		t.Error("a pod beyond the retention stays in the store")
	}

	// Also if it went beyond it while nobody was there.
	r.put(newRecord(pod("u2", "web-0", at(3600))))
	r.remove("u2")
	r.store(t.Context())
	now = at(2 * 3600)
	next := storing(t, store, func() time.Time { return now })
	load(t, next)
	next.store(t.Context())
	if _, there := store.values["pod/u2"]; there || len(next.history.pods) != 0 {
		t.Error("a pod that went beyond the retention during a stop stays")
	}
}

func TestValuesAreRefreshed(t *testing.T) {
	store := newMemory()
	now := at(0)
	r := storing(t, store, func() time.Time { return now })
	r.put(newRecord(pod("u1", "web-0", at(0))))
	r.store(t.Context())
	for range int(2 * StoreTTL / time.Hour) {
		now = now.Add(time.Hour)
		r.refresh()
		r.store(t.Context())
	}
	if n := store.puts["pod/u1"]; n < 5 || n > 10 {
		t.Errorf("written %d times in two lifetimes", n)
	}
}

func TestFailedWritesAreTriedAgain(t *testing.T) {
	store := newMemory()
	r := storing(t, store, fixed(at(60)))
	var log bytes.Buffer
	r.opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	for i := range 5 {
		r.put(newRecord(pod(fmt.Sprint("u", i), fmt.Sprint("web-", i), at(0))))
	}
	r.heard("7")
	store.allowed = 2
	r.store(t.Context())
	r.store(t.Context())
	if len(store.values) != 2 || r.unstored.size() != 3 {
		t.Errorf("%d are stored and %d wait, want 2 and 3", len(store.values), r.unstored.size())
	}
	if _, there := store.values[watchKey]; there {
		t.Error("it is stored how far the watch had told, but not what")
	}
	if got := testutil.ToFloat64(r.metrics.stored.WithLabelValues(storedFailed)); got != 6 || strings.Count(log.String(), "disk full") != 1 {
		t.Errorf("%v failures, log:\n%s", got, log.String())
	}
	store.allowed = 100
	r.store(t.Context())
	if len(store.values) != 6 || r.unstored.size() != 0 {
		t.Errorf("%d are stored and %d wait", len(store.values), r.unstored.size())
	}
}

// TestPodsThatCannotBeStoredHoldUpNobody, but nothing is said to be known that is not stored.
func TestPodsThatCannotBeStoredHoldUpNobody(t *testing.T) {
	store := newMemory()
	now := at(0)
	r := storing(t, store, func() time.Time { return now })
	r.put(newRecord(pod("gone", "old", at(0))))
	r.remove("gone")
	r.heard("1")
	r.store(t.Context())
	marked := string(store.values[watchKey])

	now = at(3600)
	r.expire() // "gone" is to be removed from the store
	store.refused = map[string]bool{}
	for i := range maxFailures + 2 { // the first of all by their UIDs
		uid := fmt.Sprint("a", i)
		store.refused["pod/"+uid] = true
		r.put(newRecord(pod(uid, uid, at(3600))))
	}
	r.put(newRecord(pod("b", "web-0", at(3600))))
	r.heard("2")
	r.store(t.Context())
	if _, there := store.values["pod/gone"]; there {
		t.Error("a pod is not removed first, which makes room")
	}
	r.store(t.Context())
	r.store(t.Context())
	if _, there := store.values["pod/b"]; !there {
		t.Error("a pod is not stored because others cannot be")
	}
	if string(store.values[watchKey]) != marked || r.unstored.size() != maxFailures+2 {
		t.Errorf("the mark is %s, %d wait", store.values[watchKey], r.unstored.size())
	}
	store.refused = nil
	r.store(t.Context())
	if mark := string(store.values[watchKey]); !strings.Contains(mark, `"2"`) || r.unstored.size() != 0 {
		t.Errorf("the mark is %s, %d wait", mark, r.unstored.size())
	}
}

func TestStoredSizeIsBounded(t *testing.T) {
	store := newMemory()
	r := storing(t, store, fixed(at(60)))
	large := func(p *corev1.Pod) {
		for i := range maxContainers { // What is escaped takes six times the room.
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
				Name: "main", Image: strings.Repeat("<", 2*maxText), ContainerID: fmt.Sprint("c", i),
			})
		}
	}
	r.put(newRecord(pod("u1", "web-0", at(0), large)))
	// One that would do, but finds no room.
	store.largest = 4 << 10
	r.put(newRecord(pod("u2", "web-1", at(0), func(p *corev1.Pod) { p.Labels = labels(100, 100) })))
	r.heard("1")
	r.store(t.Context())
	for _, key := range []string{"pod/u1", "pod/u2", watchKey} {
		if n := len(store.values[key]); n == 0 || n > 4<<10 {
			t.Errorf("%s is stored with %d bytes", key, n)
		}
	}
	if n := testutil.ToFloat64(r.metrics.stored.WithLabelValues(storedTooLarge)); n != 2 {
		t.Errorf("%v are counted as too large", n)
	}
}

func TestWhatCannotBeReadIsLeftOut(t *testing.T) {
	store := newMemory()
	good := storing(t, store, fixed(at(60)))
	good.put(newRecord(pod("u1", "web-0", at(0))))
	good.store(t.Context())
	for key, value := range map[string]string{
		"pod/broken": "{", "pod/other": `{"uid":"another"}`, "pod/empty": `{}`, "clock/audit/x": "not ours", "": "",
	} {
		store.values[key] = []byte(value)
	}
	r := storing(t, store, fixed(at(60)))
	load(t, r)
	if len(r.history.pods) != 1 || r.history.alive != 1 {
		t.Errorf("%d pods were read", len(r.history.pods))
	}
	store.values[watchKey] = []byte("[]")
	again := storing(t, store, fixed(at(60)))
	load(t, again)
	again.replace(nil, "1")
	if got := again.At("shop", "web-0", at(90)); got.Confidence == event.ByName {
		t.Errorf("nobody knows when the watch told last, but it was %+v", got)
	}
}

// TestNeverSureAndWrongAfterACrash has the process die at any point of storing, and start again later.
func TestNeverSureAndWrongAfterACrash(t *testing.T) {
	sure := 0
	for seed := range uint64(1000) {
		rng := rand.New(rand.NewPCG(seed, 11))
		lives := randomLives(rng, []time.Duration{0})
		now := noon
		clock := func() time.Time { return now }
		store := newMemory()
		r := storing(t, store, clock)
		r.replace(nil, "1")
		r.history.begin, r.since = at(-1000), at(-1000)
		crash := at(rng.Float64() * 60)
		up := crash.Add(time.Duration(rng.Float64() * float64(40*time.Second)))
		flushed := now
		feed := func(from, to time.Time) {
			for _, c := range (&watchStory{lives: lives}).changes() {
				if c.at.Before(from) || !c.at.Before(to) {
					continue
				}
				now = c.at
				if now.Sub(flushed) > storeInterval {
					r.store(t.Context())
					flushed = now
				}
				if c.end {
					r.remove(c.life.uid)
				} else {
					r.put(newRecord(pod(c.life.uid, "web-0", c.life.stamp)))
				}
				r.heard("2")
			}
		}
		feed(noon, crash)
		now = crash
		store.allowed = rng.IntN(4) // it dies in the middle of storing
		r.store(t.Context())
		store.allowed = 1 << 30

		now = up
		r = storing(t, store, clock)
		r.since = at(-1000)
		load(t, r)
		var list []*record
		if uid := truth(lives, up); uid != "" {
			l := lives[slices.IndexFunc(lives, func(l life) bool { return l.uid == uid })]
			list = append(list, newRecord(pod(uid, "web-0", l.stamp)))
		}
		r.replace(list, "3")
		feed(up, at(10_000))
		now = at(240)
		r.heard("4")
		for range 50 {
			when := at(rng.Float64() * 120)
			got := r.At("shop", "web-0", when)
			if got.Confidence == event.ByName {
				sure++
			}
			if want := truth(lives, when); want != "" {
				check(t, seed, r.history, got, want, when)
			}
		}
	}
	if sure < 20_000 {
		t.Errorf("only %d of 50,000 answers were sure", sure)
	}
}
