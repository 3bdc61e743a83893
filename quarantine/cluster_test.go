package quarantine_test

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/quarantine"
	"github.com/portcullis-dev/portcullis/record"
	"github.com/portcullis-dev/portcullis/test/apiserver"
)

// TestMain fails when a goroutine outlives the tests.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// klog, which client-go logs through, never stops its flusher.
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

// cluster is a real API server.
type cluster struct {
	server *apiserver.Server
	client client.WithWatch
	gone   sync.Map // UIDs of pods that are gone
	nodes  sync.Map // the nodes of pods, by UID
	// mirrors are where the replicas that are started next mirror; nil for nowhere.
	mirrors corev1client.LimitRangeInterface
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	server := apiserver.Start(t, apiserver.Options{})
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.NewWithWatch(server.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{server: server, client: c}
}

// announcer counts what it is asked to tell.
type announcer struct {
	quarantined, created, would, released atomic.Int32
	lastRelease                           atomic.Value // of string
}

func (a *announcer) Quarantined(*event.Detection, *quarantine.Entry)   { a.quarantined.Add(1) }
func (a *announcer) Created(*quarantine.Entry)                         { a.created.Add(1) }
func (a *announcer) WouldQuarantine(*event.Detection, quarantine.Spec) { a.would.Add(1) }
func (a *announcer) Released(e *quarantine.Entry, by string, _ time.Time) {
	a.released.Add(1)
	a.lastRelease.Store(e.Name + " by " + by)
}
func (a *announcer) Denied(event.Pod, quarantine.Request, *quarantine.Entry) {}

// replica is a running Manager.
type replica struct {
	*quarantine.Manager
	index     *quarantine.Index
	announcer *announcer
	book      *record.Book
	stop      func()
}

// run starts a Manager whose requests go through the hooks, and waits until it has synced.
func (c *cluster) run(t *testing.T, hooks interceptor.Funcs) *replica {
	t.Helper()
	return c.runWith(t, nil, hooks)
}

// runWith is run with the records of an earlier process.
func (c *cluster) runWith(t *testing.T, book *record.Book, hooks interceptor.Funcs) *replica {
	t.Helper()
	r := &replica{index: &quarantine.Index{}, announcer: &announcer{}, book: book}
	var err error
	if r.book == nil {
		r.book, err = record.New(t.Context(), record.Options{
			Clock: time.Now, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewPedanticRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	r.Manager, err = quarantine.NewManager(quarantine.Options{
		Client: interceptor.NewClient(c.client, hooks), Index: r.index, Announcer: r.announcer, Record: r.book,
		PodGone:    func(uid string) bool { _, gone := c.gone.Load(uid); return gone },
		NodeOf:     func(uid string) string { n, _ := c.nodes.Load(uid); name, _ := n.(string); return name },
		Mirrors:    c.mirrors,
		Logger:     slog.New(slog.DiscardHandler),
		Registerer: prometheus.NewPedanticRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Run(ctx) })
	r.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(r.stop)
	wait, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if err := r.WaitSynced(wait); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *replica) denies(uid string) bool {
	return r.deniesSubject(v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: uid})
}

func (r *replica) deniesSubject(s v1alpha1.Subject) bool {
	return r.index.Denied(s, v1alpha1.OperationExec, time.Now())
}

func (r *replica) deniesUser(name string) bool {
	return r.deniesSubject(v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: name})
}

func (c *cluster) get(t *testing.T, name string) (*v1alpha1.Quarantine, bool) {
	t.Helper()
	q := &v1alpha1.Quarantine{}
	err := c.client.Get(t.Context(), client.ObjectKey{Name: name}, q)
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return q, err == nil
}

func (c *cluster) delete(t *testing.T, name string) {
	t.Helper()
	q := &v1alpha1.Quarantine{}
	q.Name = name
	if err := c.client.Delete(t.Context(), q); err != nil {
		t.Fatal(err)
	}
}

// eventually asks until the answer is yes: what a watch does is told to nobody else.
func eventually(t *testing.T, what string, ask func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ask() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// detect is a detection about the pod shop/<uid>.
func detect(id, uid string) *event.Detection {
	return &event.Detection{
		ID: id, Rule: event.DetectionRule{Name: "token-theft", Title: "Token read, then used"},
		Pod: event.Pod{UID: uid, Namespace: "shop", Name: uid, Confidence: event.Exact},
	}
}

func impose(t *testing.T, r *replica, id, uid string, ttl time.Duration) quarantine.Outcome {
	t.Helper()
	o, err := r.Quarantine(t.Context(), detect(id, uid), quarantine.Spec{Subject: v1alpha1.SubjectPod, TTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (c *cluster) create(t *testing.T, name string, spec v1alpha1.QuarantineSpec) *v1alpha1.Quarantine {
	t.Helper()
	q := &v1alpha1.Quarantine{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
	if err := c.client.Create(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	return q
}

// change changes the object, whatever its status is by now.
func (c *cluster) change(t *testing.T, q *v1alpha1.Quarantine, change func(*v1alpha1.Quarantine)) {
	t.Helper()
	before := q.DeepCopy()
	change(q)
	if err := c.client.Patch(t.Context(), q, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

// enforced waits until the status says so, and returns the object.
func (c *cluster) enforced(t *testing.T, name string, as metav1.ConditionStatus, also func(*v1alpha1.Quarantine) bool) *v1alpha1.Quarantine {
	t.Helper()
	var q *v1alpha1.Quarantine
	eventually(t, name+" is enforced: "+string(as), func() bool {
		q, _ = c.get(t, name)
		condition := meta.FindStatusCondition(q.Status.Conditions, v1alpha1.ConditionEnforced)
		return condition != nil && condition.Status == as && also(q)
	})
	return q
}

// drained is a filtered watch that ends when it is stopped: watch.Filter's
// goroutine waits for ever to hand over an event that nobody takes any more.
type drained struct{ watch.Interface }

func (d drained) Stop() {
	d.Interface.Stop()
	go func() {
		for range d.ResultChan() {
		}
	}()
}
