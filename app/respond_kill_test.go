package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/backlog/backlogtest"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/notify"
	"github.com/portcullis-dev/portcullis/quarantine"
	"github.com/portcullis-dev/portcullis/record"
)

// errKilled is what a process is told that is dead, and does not know it yet.
var errKilled = errors.New("killed")

// fuse counts the steps that a process takes into the world that outlives it: what
// it stores, what it writes to the cluster, what it sends. When it has burnt, nothing that
// the process does has an effect any more: that is what a kill looks like from outside.
type fuse struct {
	mu    sync.Mutex
	left  int
	burnt bool
}

func (f *fuse) step() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left <= 0 {
		f.burnt = true
		return errKilled
	}
	f.left--
	return nil
}

func (f *fuse) set(steps int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.burnt = steps, false
}

// taken is how many steps of those that were set were taken.
func (f *fuse) taken(set int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return set - f.left
}

func (f *fuse) dead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.burnt
}

// cluster is an API server that knows Quarantines.
type cluster struct {
	client.WithWatch
	fuse *fuse

	mu       sync.Mutex
	version  uint64
	objects  map[string]*v1alpha1.Quarantine
	watchers []*watch.FakeWatcher
	// created counts creations by name.
	created map[string]int
}

func (c *cluster) IsWatchListSemanticsUnSupported() bool { return true }

// Status takes no statuses.
func (c *cluster) Status() client.SubResourceWriter { return noStatus{} }

type noStatus struct{ client.SubResourceWriter }

func (noStatus) Patch(context.Context, client.Object, client.Patch, ...client.SubResourcePatchOption) error {
	return errors.New("no statuses here")
}

func (c *cluster) stamp() string {
	c.version++
	return strconv.FormatUint(c.version, 10)
}

func (c *cluster) tell(kind watch.EventType, q *v1alpha1.Quarantine) {
	for _, w := range c.watchers {
		w.Action(kind, q.DeepCopy())
	}
}

func missing(name string) error {
	return apierrors.NewNotFound(schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "quarantines"}, name)
}

func (c *cluster) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := list.(*v1alpha1.QuarantineList)
	out.ResourceVersion = strconv.FormatUint(c.version, 10)
	for _, q := range c.objects {
		out.Items = append(out.Items, *q.DeepCopy())
	}
	return nil
}

func (c *cluster) Watch(context.Context, client.ObjectList, ...client.ListOption) (watch.Interface, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := watch.NewFakeWithChanSize(10_000, false)
	c.watchers = append(c.watchers, w)
	return w, nil
}

func (c *cluster) Get(_ context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.objects[key.Name]
	if q == nil {
		return missing(key.Name)
	}
	q.DeepCopyInto(obj.(*v1alpha1.Quarantine))
	return nil
}

func (c *cluster) Create(_ context.Context, obj client.Object, _ ...client.CreateOption) error {
	if err := c.fuse.step(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	q := obj.(*v1alpha1.Quarantine)
	if c.objects[q.Name] != nil {
		return apierrors.NewAlreadyExists(schema.GroupResource{Resource: "quarantines"}, q.Name)
	}
	q.ResourceVersion = c.stamp()
	q.UID = types.UID("object-" + q.ResourceVersion)
	c.objects[q.Name] = q.DeepCopy()
	c.created[q.Name]++
	c.tell(watch.Added, q)
	return nil
}

func (c *cluster) Update(_ context.Context, obj client.Object, _ ...client.UpdateOption) error {
	if err := c.fuse.step(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	q := obj.(*v1alpha1.Quarantine)
	if c.objects[q.Name] == nil {
		return missing(q.Name)
	}
	q.ResourceVersion = c.stamp()
	c.objects[q.Name] = q.DeepCopy()
	c.tell(watch.Modified, q)
	return nil
}

func (c *cluster) Delete(_ context.Context, obj client.Object, opts ...client.DeleteOption) error {
	if err := c.fuse.step(); err != nil {
		return err
	}
	var o client.DeleteOptions
	o.ApplyOptions(opts)
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.objects[obj.GetName()]
	if q == nil || o.Preconditions != nil && o.Preconditions.UID != nil && *o.Preconditions.UID != q.UID {
		return missing(obj.GetName())
	}
	c.remove(q)
	return nil
}

func (c *cluster) remove(q *v1alpha1.Quarantine) {
	delete(c.objects, q.Name)
	q = q.DeepCopy()
	q.ResourceVersion = c.stamp()
	c.tell(watch.Deleted, q)
}

// release is what a person does with kubectl.
func (c *cluster) release(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.objects[name]
	if q != nil {
		c.remove(q)
	}
	return q != nil
}

func (c *cluster) has(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.objects[name] != nil
}

// audience is who is told.
type audience struct {
	fuse *fuse
	mu   sync.Mutex
	// got counts documents by the detection's ID and its state.
	got map[string]int
}

func (e *audience) Send(_ context.Context, doc notify.Document) error {
	if err := e.fuse.step(); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	_, rest, _ := strings.Cut(string(doc.Body), `"state":"`)
	state, _, _ := strings.Cut(rest, `"`)
	e.got[doc.ID+" "+state]++
	return nil
}

// world is what outlives the processes in it.
type world struct {
	fuse    *fuse
	records *backlogtest.Disk
	outbox  *backlogtest.Disk
	cluster *cluster
	people  *audience
	rules   fixedRules
	// history are the changes that the join concludes, each time from the beginning.
	history  []*event.Detection
	released map[string]bool
	kills    int
}

func newWorld(t *testing.T, history []*event.Detection) *world {
	f := &fuse{}
	records, outbox := backlogtest.NewDisk(), backlogtest.NewDisk()
	for _, d := range []*backlogtest.Disk{records, outbox} {
		d.SetGate(func(context.Context, string) error { return f.step() })
	}
	return &world{
		fuse: f, records: records, outbox: outbox,
		cluster: &cluster{fuse: f, objects: map[string]*v1alpha1.Quarantine{}, created: map[string]int{}},
		people:  &audience{fuse: f, got: map[string]int{}},
		rules:   someRules(t), history: history, released: map[string]bool{},
	}
}

// story are three detections: one that becomes final, one that is superseded, and one of an
// ambiguous pod that is final at once.
func story() []*event.Detection {
	of := func(id, ruleName, uid string) *event.Detection {
		d := about(ruleName, event.ActionQuarantine)
		d.ID, d.Pod.UID = id, uid
		return d
	}
	as := func(d *event.Detection, state event.State, by string) *event.Detection {
		d.State, d.SupersededBy = state, by
		return d
	}
	twins := as(of("d3", "ambiguous", ""), event.Final, "")
	twins.Pod.Confidence, twins.Pod.Candidates = event.Ambiguous, []string{"u3", "u4"}
	return []*event.Detection{
		of("d1", "asks-pod", "u1"), of("d2", "asks-pod", "u2"), twins, as(of("d2", "asks-pod", "u2"), event.Superseded, "d1"),
		as(of("d1", "asks-pod", "u1"), event.Final, ""),
	}
}

// notified are the changes of the story that people are told.
func notified() []string {
	return []string{"d1 provisional", "d2 provisional", "d2 superseded", "d3 final"}
}

// life runs a process that dies after so many steps, unless it is done before. It is stopped when
// nothing moves any more.
func (w *world) life(t *testing.T, steps int, while func()) {
	t.Helper()
	w.fuse.set(steps)
	book, err := record.New(t.Context(), record.Options{Store: w.records, Clock: time.Now, Logger: quiet(), Registerer: prometheus.NewPedanticRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	out, err := notify.NewFanout(t.Context(), notify.FanoutOptions{
		Store: w.outbox, Sinks: map[string]notify.Sink{"people": w.people}, Encoder: notify.NewEncoder(""),
		Logger: quiet(), Registerer: prometheus.NewPedanticRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	manager, err := quarantine.NewManager(quarantine.Options{
		Client: w.cluster, Index: &quarantine.Index{}, Announcer: silent{}, PodGone: func(string) bool { return false }, Record: book,
		Logger: quiet(), Registerer: prometheus.NewPedanticRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{book.Run, out.Run, manager.Run} {
		wg.Go(func() { _ = run(ctx) })
	}
	w.replay(&responder{sessions: silence{}, killer: silence{}, announcer: silence{}, rules: w.rules, quarantine: manager, record: book, notify: out, clock: time.Now, logger: quiet()})
	time.Sleep(10 * time.Second)
	synctest.Wait()
	if while != nil && !w.fuse.dead() {
		while()
		time.Sleep(10 * time.Second)
		synctest.Wait()
	}
	if w.fuse.dead() {
		w.kills++
	}
	w.fuse.set(0) // Nothing is put in order on the way out.
	cancel()
	wg.Wait()
	w.cluster.watchers = nil
}

// replay tells what the join concludes, as the correlator does: what is told first of a
// detection that is known is not told again, the changes after that are.
func (w *world) replay(r *responder) {
	first := map[string]bool{}
	for _, d := range w.history {
		if w.fuse.dead() {
			return
		}
		suppressed := !first[d.ID] && r.record.Known(d.ID)
		first[d.ID] = true
		if !suppressed {
			r.Handle(context.Background(), d)
		}
	}
}

type silent struct{}

func (silent) Quarantined(*event.Detection, *quarantine.Entry)   {}
func (silent) WouldQuarantine(*event.Detection, quarantine.Spec) {}
func (silent) Created(*quarantine.Entry)                         {}
func (silent) Released(*quarantine.Entry, string, time.Time)     {}

// book is what is recorded, as the next process will find it.
func (w *world) book(t *testing.T) *record.Book {
	t.Helper()
	b, err := record.New(t.Context(), record.Options{Store: w.records, Clock: time.Now, Logger: quiet(), Registerer: prometheus.NewPedanticRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// check says what is not as if nobody had ever been killed.
func (w *world) check(t *testing.T, what string) {
	t.Helper()
	book := w.book(t)
	for _, id := range []string{"d1", "d2", "d3"} {
		rec, _ := book.Get(id)
		if rec.Phase() != record.Done {
			t.Errorf("%s: %s is not done: %+v", what, id, rec)
		}
		for _, q := range rec.Quarantines {
			want := !w.released[q.Object] && time.Now().Before(rec.Begun.Add(time.Hour))
			if got := w.cluster.has(q.Object); got != want {
				t.Errorf("%s: %s exists %v, want %v (released %v): %+v", what, q.Object, got, want, w.released[q.Object], q)
			}
			if (q.Ended == nil) != want {
				t.Errorf("%s: the record of %s says that it ended: %+v", what, q.Object, q.Ended)
			}
		}
	}
	if rec, _ := book.Get("d1"); rec.State != event.Final {
		t.Errorf("%s: d1 is %s", what, rec.State)
	}
	if rec, _ := book.Get("d2"); rec.State != event.Superseded || rec.SupersededBy != "d1" {
		t.Errorf("%s: d2 is %s by %s", what, rec.State, rec.SupersededBy)
	}
	for name, n := range w.cluster.created {
		if n > 1 {
			t.Errorf("%s: %s was created %d times", what, name, n)
		}
	}
	w.checkNotifications(t, what)
}

func (w *world) checkNotifications(t *testing.T, what string) {
	t.Helper()
	got := maps.Clone(w.people.got)
	for _, change := range notified() {
		if n := got[change]; n < 1 || n > w.kills+1 {
			t.Errorf("%s: %q arrived %d times, with %d kills", what, change, n, w.kills)
		}
		delete(got, change)
	}
	for change, n := range got {
		// A state that was interrupted between being recorded and being told is told as what was recorded.
		if n > w.kills {
			t.Errorf("%s: %q arrived %d times, and nobody was to be told", what, change, n)
		}
	}
	if left := w.outbox.Len(); left > 0 {
		t.Errorf("%s: %d documents are left", what, left)
	}
}

// unlimited are more steps than any life takes.
const unlimited = 1 << 30

// TestKilledBetweenAnyTwoSteps kills the process at each of its steps, and then, in a second life, at each of
// those that are left. It must end as if nothing had happened.
func TestKilledBetweenAnyTwoSteps(t *testing.T) {
	steps := 0
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, story())
		w.life(t, unlimited, func() { steps = w.fuse.taken(unlimited) })
		w.check(t, "never killed")
	})
	t.Logf("a life has %d steps", steps)
	for first := range steps + 1 {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, story())
			w.life(t, first, nil)
			w.life(t, unlimited, nil)
			w.check(t, fmt.Sprint("killed after step ", first))
		})
		for second := range steps/2 + 1 {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, story())
				w.life(t, first, nil)
				w.life(t, second, nil)
				w.life(t, unlimited, nil)
				w.check(t, fmt.Sprint("killed after step ", first, " and then after step ", second))
			})
		}
		if t.Failed() {
			return
		}
	}
}

// TestAReleaseIsNeverUndone plays a person who releases what is in quarantine, while the server runs or is
// down, and lets quarantines expire, between kills at random steps.
func TestAReleaseIsNeverUndone(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 7))
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, story())
			for range 1 + rng.IntN(4) {
				w.life(t, rng.IntN(45), func() {
					if rng.IntN(2) == 0 {
						w.release(t, rng)
					}
				})
				if rng.IntN(2) == 0 {
					w.release(t, rng)
				}
				if rng.IntN(6) == 0 {
					time.Sleep(2 * time.Hour)
				}
			}
			w.life(t, unlimited, nil)
			w.life(t, unlimited, nil) // and everything is found once more
			w.check(t, fmt.Sprint("seed ", seed))
		})
		if t.Failed() {
			return
		}
	}
}

// release releases one of the quarantines by hand, if it is recorded that it was written. Whether one
// that is not was ever seen by anybody, nobody can know.
func (w *world) release(t *testing.T, rng *rand.Rand) {
	t.Helper()
	object := fmt.Sprint("pod-u", 1+rng.IntN(4))
	book := w.book(t)
	for _, id := range []string{"d1", "d2", "d3"} {
		if written, ended := book.Fate(id, object); written && !ended && w.cluster.release(object) {
			w.released[object] = true
		}
	}
}
