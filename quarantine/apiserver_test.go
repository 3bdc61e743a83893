package quarantine_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
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

func TestAgainstAPIServer(t *testing.T) {
	c := startCluster(t)
	t.Run("life of a quarantine", func(t *testing.T) { testLife(t, c) })
	t.Run("made by hand", func(t *testing.T) { testByHand(t, c) })
	t.Run("released while it is created", func(t *testing.T) { testReleaseInFlight(t, c) })
	t.Run("API server does not take it at first", func(t *testing.T) { testRetry(t, c) })
	t.Run("written on the way out", func(t *testing.T) { testDrain(t, c) })
	t.Run("expiry and pods that are gone", func(t *testing.T) { testEnd(t, c) })
	t.Run("restarts", func(t *testing.T) { testRestart(t, c) })
	t.Run("the CRD refuses nonsense", func(t *testing.T) { testCRD(t, c) })
	t.Run("names belong to their subjects", func(t *testing.T) { testNames(t, c) })
	t.Run("name taken by another subject", func(t *testing.T) { testTakenName(t, c) })
	t.Run("every kind of subject", func(t *testing.T) { testKinds(t, c) })
	t.Run("status", func(t *testing.T) { testStatus(t, c) })
	t.Run("mirrors", func(t *testing.T) { testMirrors(t, c) })
	t.Run("who released it", func(t *testing.T) { testReleased(t, c) })
	t.Run("endpoints of a service", func(t *testing.T) { testEndpoints(t, c) })
	t.Run("Events on the pod and the quarantine", func(t *testing.T) { testEvents(t, c) })
}

func testLife(t *testing.T, c *cluster) {
	r := c.run(t, interceptor.Funcs{})
	if impose(t, r, "d1", "u1", time.Hour) != quarantine.OutcomeApplied || !r.denies("u1") {
		t.Fatal("not in force at once")
	}
	eventually(t, "the object exists", func() bool { _, ok := c.get(t, "pod-u1"); return ok })
	q, _ := c.get(t, "pod-u1")
	if q.Spec.Detection.ID != "d1" || q.Spec.Detection.Rule != "token-theft" || q.Spec.Reason != "Token read, then used" ||
		q.Spec.Subject != (v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: "u1", Namespace: "shop", Name: "u1"}) {
		t.Errorf("the object says %+v", q.Spec)
	}

	if impose(t, r, "d1", "u1", time.Hour) != quarantine.OutcomeRepeated || impose(t, r, "d2", "u1", 2*time.Hour) != quarantine.OutcomeProlonged {
		t.Error("repeats are taken for new")
	}
	eventually(t, "the object is prolonged", func() bool { q, _ := c.get(t, "pod-u1"); return q.Spec.Detection.ID == "d2" })
	list := &v1alpha1.QuarantineList{}
	if err := c.client.List(t.Context(), list); err != nil || len(list.Items) != 1 {
		t.Errorf("%d objects for one subject, %v", len(list.Items), err)
	}

	other := c.run(t, interceptor.Funcs{})
	if !other.denies("u1") {
		t.Error("a replica that starts is ready before it knows the quarantine")
	}
	c.delete(t, "pod-u1")
	eventually(t, "both released it", func() bool { return !r.denies("u1") && !other.denies("u1") })
	for _, id := range []string{"d1", "d2"} {
		if impose(t, r, id, "u1", time.Hour) != quarantine.OutcomeReleased || r.denies("u1") {
			t.Errorf("%s undid the release", id)
		}
	}
	if impose(t, r, "d3", "u1", time.Hour) != quarantine.OutcomeApplied {
		t.Error("a new detection after the release does nothing")
	}
	eventually(t, "the other replica has it too", func() bool { return other.denies("u1") })
	if n := r.announcer.quarantined.Load(); n != 3 {
		t.Errorf("told %d times, want for d1, d2 and d3", n)
	}
}

func testByHand(t *testing.T, c *cluster) {
	r := c.run(t, interceptor.Funcs{})
	q := &v1alpha1.Quarantine{ObjectMeta: metav1.ObjectMeta{Name: "case-4711"}, Spec: v1alpha1.QuarantineSpec{
		Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "mallory"}, Reason: "see case 4711",
	}}
	if err := c.client.Create(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	denied := func() bool { return r.deniesUser("mallory") }
	eventually(t, "it is in force", denied)
	c.change(t, q, func(q *v1alpha1.Quarantine) { q.Spec.ExpiresAt = &metav1.Time{Time: time.Now().Add(-time.Second)} })
	eventually(t, "ended by its new expiry", func() bool { return !denied() })
}

// testMirrors: the API server takes what is written, and mirrors follow from one process to the next.
func testMirrors(t *testing.T, c *cluster) {
	set, err := kubernetes.NewForConfig(c.server.Config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = set.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "mirrors"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.mirrors = set.CoreV1().LimitRanges("mirrors")
	defer func() { c.mirrors = nil }()
	// mirrored is whether the mirrors of the objects of these names, and no others, say what those do.
	mirrored := func(names ...string) bool {
		list, err := c.mirrors.List(t.Context(), metav1.ListOptions{LabelSelector: "portcullis.dev/quarantine=true"})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != len(names) {
			return false
		}
		for _, name := range names {
			q, exists := c.get(t, name)
			want := quarantine.MirrorOf(q)
			if !exists || !slices.ContainsFunc(list.Items, func(m corev1.LimitRange) bool {
				return m.Name == want.Name && maps.Equal(m.Annotations, want.Annotations) && slices.Equal(m.OwnerReferences, want.OwnerReferences)
			}) {
				return false
			}
		}
		return true
	}
	others := &v1alpha1.QuarantineList{}
	if err := c.client.List(t.Context(), others); err != nil {
		t.Fatal(err)
	}
	for _, q := range others.Items {
		c.delete(t, q.Name)
	}
	r := c.run(t, interceptor.Funcs{})
	c.nodes.Store("mirrored", "node-1")
	impose(t, r, "mirror-1", "mirrored", time.Hour)
	byHand := &v1alpha1.Quarantine{ObjectMeta: metav1.ObjectMeta{Name: "case-1"}, Spec: v1alpha1.QuarantineSpec{
		Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "mallory"}, Reason: "see case 1",
	}}
	if err := c.client.Create(t.Context(), byHand); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are mirrored", func() bool { return mirrored("pod-mirrored", "case-1") })
	impose(t, r, "mirror-2", "mirrored", 2*time.Hour)
	eventually(t, "the status says where it runs", func() bool { q, _ := c.get(t, "pod-mirrored"); return q.Status.NodeName == "node-1" })
	eventually(t, "the mirror is prolonged and says so too", func() bool { return mirrored("pod-mirrored", "case-1") })
	c.delete(t, "pod-mirrored")
	eventually(t, "released in the mirror too", func() bool { return mirrored("case-1") })
	r.stop()
	c.delete(t, "case-1")
	c.run(t, interceptor.Funcs{})
	eventually(t, "what was released meanwhile has no mirror any more", func() bool { return mirrored() })
}

// testReleaseInFlight holds the answer to the creation back until somebody has
// deleted the object.
func testReleaseInFlight(t *testing.T, c *cluster) {
	created, answer := make(chan struct{}), make(chan struct{})
	var creates atomic.Int32
	r := c.run(t, interceptor.Funcs{
		Create: func(ctx context.Context, cl client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			err := cl.Create(ctx, obj, opts...)
			if creates.Add(1) == 1 {
				close(created)
				<-answer
				return errors.New("the connection broke")
			}
			return err
		},
	})
	impose(t, r, "flight-1", "u2", time.Hour)
	<-created
	c.delete(t, "pod-u2")
	eventually(t, "released", func() bool { return !r.denies("u2") })
	close(answer)
	// A write of another quarantine by the same queue comes after the retry.
	impose(t, r, "flight-2", "u2b", time.Hour)
	eventually(t, "the next is written", func() bool { _, ok := c.get(t, "pod-u2b"); return ok })
	r.stop()
	if _, exists := c.get(t, "pod-u2"); exists || r.denies("u2") || creates.Load() != 2 {
		t.Errorf("the released one exists %v, denied %v after %d creations", exists, r.denies("u2"), creates.Load())
	}
}

func testRetry(t *testing.T, c *cluster) {
	var tries atomic.Int32
	r := c.run(t, interceptor.Funcs{
		Create: func(ctx context.Context, cl client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			if tries.Add(1) <= 3 {
				return apierrors.NewServiceUnavailable("etcd has no leader")
			}
			return cl.Create(ctx, obj, opts...)
		},
	})
	impose(t, r, "retry-1", "u3", time.Hour)
	eventually(t, "it is written at last", func() bool {
		if !r.denies("u3") {
			t.Fatal("not in force while it waits to be written")
		}
		_, ok := c.get(t, "pod-u3")
		return ok
	})
}

func testDrain(t *testing.T, c *cluster) {
	r := c.run(t, interceptor.Funcs{})
	for _, uid := range []string{"u4a", "u4b", "u4c", "u4d", "u4e", "u4f"} {
		impose(t, r, "drain-"+uid, uid, time.Hour)
	}
	r.stop()
	for _, uid := range []string{"u4a", "u4f"} {
		if _, ok := c.get(t, "pod-"+uid); !ok {
			t.Errorf("%s was in force and is not written", uid)
		}
	}
}

func testEnd(t *testing.T, c *cluster) {
	r := c.run(t, interceptor.Funcs{})
	impose(t, r, "end-1", "u5", time.Second)
	impose(t, r, "end-2", "u6", 0)
	eventually(t, "both are written", func() bool {
		_, one := c.get(t, "pod-u5")
		_, two := c.get(t, "pod-u6")
		return one && two
	})
	c.gone.Store("u6", true)
	eventually(t, "both are deleted", func() bool {
		_, one := c.get(t, "pod-u5")
		_, two := c.get(t, "pod-u6")
		return !one && !two
	})
	eventually(t, "neither is in force", func() bool { return !r.denies("u5") && !r.denies("u6") })
	// The index goes by the clock: the news that the object of u5 is deleted may come later still.
	eventually(t, "a replay of an expired detection is taken for one", func() bool {
		outcome := impose(t, r, "end-1", "u5", time.Hour)
		if r.denies("u5") || outcome != quarantine.OutcomeReleased && outcome != quarantine.OutcomeRepeated {
			t.Fatalf("a replay of an expired detection is %s", outcome)
		}
		return outcome == quarantine.OutcomeReleased
	})
}

// testRestart has people release quarantines while the server runs and while it is down.
func testRestart(t *testing.T, c *cluster) {
	r := c.run(t, interceptor.Funcs{})
	uids := []string{"r1", "r2", "r3"}
	for _, uid := range uids {
		r.book.Change(t.Context(), "restart-"+uid, func(rec *record.Record) {
			rec.Begun, rec.Quarantines = time.Now(), []record.Quarantine{{Object: "pod-" + uid}}
		})
		impose(t, r, "restart-"+uid, uid, time.Hour)
	}
	eventually(t, "all are recorded as written", func() bool {
		return !slices.ContainsFunc(uids, func(uid string) bool { written, _ := r.book.Fate("restart-"+uid, "pod-"+uid); return !written })
	})
	c.delete(t, "pod-r1")
	eventually(t, "the release is recorded", func() bool { _, ended := r.book.Fate("restart-r1", "pod-r1"); return ended })
	r.stop()
	c.delete(t, "pod-r2")

	again := c.runWith(t, r.book, interceptor.Funcs{})
	for uid, want := range map[string]quarantine.Outcome{
		"r1": quarantine.OutcomeReleased, "r2": quarantine.OutcomeReleased, "r3": quarantine.OutcomeRepeated,
	} {
		if outcome := impose(t, again, "restart-"+uid, uid, time.Hour); outcome != want || again.denies(uid) != (uid == "r3") {
			t.Errorf("%s is %s, denied %v", uid, outcome, again.denies(uid))
		}
	}
	again.stop()
	for _, uid := range uids {
		if _, exists := c.get(t, "pod-"+uid); exists != (uid == "r3") {
			t.Errorf("%s exists %v", uid, exists)
		}
	}
}

func testCRD(t *testing.T, c *cluster) {
	pod := v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: "u7", Namespace: "shop", Name: "web-0"}
	for name, q := range map[string]v1alpha1.QuarantineSpec{
		"a pod without uid":      {Reason: "r", Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectPod, Namespace: "shop", Name: "web-0"}},
		"a user with uid":        {Reason: "r", Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, UID: "x", Name: "alice"}},
		"a user without name":    {Reason: "r", Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser}},
		"an unknown kind":        {Reason: "r", Subject: v1alpha1.Subject{Kind: "Cluster", Name: "x"}},
		"a user in a namespace":  {Reason: "r", Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Namespace: "shop", Name: "alice"}},
		"a node of a node":       {Reason: "r", Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectNode, Name: "node-1", NodeName: "node-1"}},
		"a namespace in one":     {Reason: "r", Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectNamespace, Namespace: "shop", Name: "shop"}},
		"a long namespace":       {Reason: "r", Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectNamespace, Name: strings.Repeat("x", 64)}},
		"an account of nowhere":  {Reason: "r", Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Name: "web"}},
		"a group without name":   {Reason: "r", Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectGroup}},
		"an unknown operation":   {Reason: "r", Subject: pod, Operations: []v1alpha1.Operation{"logs"}},
		"an operation twice":     {Reason: "r", Subject: pod, Operations: []v1alpha1.Operation{"exec", "exec"}},
		"no reason":              {Subject: pod},
		"a reason without bound": {Subject: pod, Reason: strings.Repeat("x", 1025)},
	} {
		obj := &v1alpha1.Quarantine{ObjectMeta: metav1.ObjectMeta{Name: "nonsense"}, Spec: q}
		if err := c.client.Create(t.Context(), obj); !apierrors.IsInvalid(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	q := &v1alpha1.Quarantine{ObjectMeta: metav1.ObjectMeta{Name: "fixed"}, Spec: v1alpha1.QuarantineSpec{Subject: pod, Reason: "r"}}
	if err := c.client.Create(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	for _, change := range []func(*v1alpha1.Subject){
		func(s *v1alpha1.Subject) { s.UID = "u8" }, func(s *v1alpha1.Subject) { s.NodeName = "node-1" },
	} {
		changed := q.DeepCopy()
		change(&changed.Spec.Subject)
		if err := c.client.Update(t.Context(), changed); !apierrors.IsInvalid(err) {
			t.Errorf("the subject can be changed: %v", err)
		}
	}
	q.Spec.Operations = []v1alpha1.Operation{v1alpha1.OperationExec, v1alpha1.OperationProxy}
	if err := c.client.Update(t.Context(), q); err != nil {
		t.Errorf("the operations cannot be changed: %v", err)
	}
}

func testNames(t *testing.T, c *cluster) {
	pod := v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: "n1", Namespace: "shop", Name: "web-0"}
	user := v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "n1"}
	odd := pod
	odd.UID = "Odd"
	for _, tt := range []struct {
		name    string
		subject v1alpha1.Subject
		ok      bool
	}{
		{"pod-n1", pod, true},
		{"pod-n2", pod, false},
		{"pod-n1-2", pod, false},
		{"pod-", pod, false},
		{"pod-n1", user, false},
		{"user-n1", user, true},
		{"user-n2", pod, false},
		{quarantine.ObjectName(user), user, true},
		{quarantine.ObjectName(odd), odd, true},
		{"portcullis-1-pod-n1", pod, true},
		{"group-x", v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: "devs"}, true},
		{"group-x", user, false},
		{"credential-x", v1alpha1.Subject{Kind: v1alpha1.SubjectCredential, Name: "JTI=1"}, true},
		{"credential-x", user, false},
		{"serviceaccount-shop.web", v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "shop", Name: "web"}, true},
		{"serviceaccount-shop.web", v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "shop", Name: "db"}, false},
		{"serviceaccount-shop.web", user, false},
		{"node-node-1", v1alpha1.Subject{Kind: v1alpha1.SubjectNode, Name: "node-1"}, true},
		{"node-node-2", v1alpha1.Subject{Kind: v1alpha1.SubjectNode, Name: "node-1"}, false},
		{"node-node-1", user, false},
		{"namespace-shop", v1alpha1.Subject{Kind: v1alpha1.SubjectNamespace, Name: "shop"}, true},
		{"namespace-shop", v1alpha1.Subject{Kind: v1alpha1.SubjectNamespace, Name: "shop2"}, false},
		{"namespace-shop", pod, false},
		{"case-1", pod, true},
		{"case-2", user, true},
		{"podium", user, true},
	} {
		q := &v1alpha1.Quarantine{ObjectMeta: metav1.ObjectMeta{Name: tt.name}, Spec: v1alpha1.QuarantineSpec{Subject: tt.subject, Reason: "r"}}
		err := c.client.Create(t.Context(), q)
		if tt.ok && err != nil || !tt.ok && !apierrors.IsInvalid(err) {
			t.Errorf("%s for %+v: %v", tt.name, tt.subject, err)
		}
		if err == nil {
			c.delete(t, tt.name)
		}
	}
}

// testTakenName has somebody give the name of a user's quarantine to another user, which
// the CRD cannot see: before the detection, and between it and the write.
func testTakenName(t *testing.T, c *cluster) {
	squat := func(user string) error {
		name := quarantine.ObjectName(v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: user})
		q := &v1alpha1.Quarantine{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.QuarantineSpec{
			Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "not-" + user}, Reason: "r",
		}}
		return c.client.Create(context.Background(), q)
	}
	var once sync.Once
	written := make(chan struct{}) // until then the watch does not tell of the first squatter
	r := c.run(t, interceptor.Funcs{
		Watch: func(ctx context.Context, cl client.WithWatch, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
			w, err := cl.Watch(ctx, list, opts...)
			if err != nil {
				return nil, err
			}
			return drained{watch.Filter(w, func(e watch.Event) (watch.Event, bool) {
				if q, ok := e.Object.(*v1alpha1.Quarantine); ok && q.Spec.Subject.Name == "not-late" {
					<-written
				}
				return e, true
			})}, nil
		},
		Create: func(ctx context.Context, cl client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			once.Do(func() {
				if err := squat("late"); err != nil {
					t.Errorf("take the name: %v", err)
				}
			})
			return cl.Create(ctx, obj, opts...)
		},
	})
	denied := r.deniesUser
	detect := func(user string) {
		t.Helper()
		d := detect("taken-"+user, "u10")
		d.User = user
		if o, err := r.Quarantine(t.Context(), d, quarantine.Spec{Subject: v1alpha1.SubjectUser, TTL: time.Hour}); err != nil || o != quarantine.OutcomeApplied {
			t.Fatalf("%s: %v, %v", user, o, err)
		}
		spare := "portcullis-1-" + quarantine.ObjectName(v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: user})
		eventually(t, user+"'s own object exists", func() bool {
			if !denied(user) {
				t.Errorf("%s is not denied", user)
				return true
			}
			q, ok := c.get(t, spare)
			return ok && q.Spec.Subject.Name == user
		})
	}
	detect("late")
	close(written)
	eventually(t, "the object that took the name is in force", func() bool { return denied("not-late") })
	if err := squat("early"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the object that took the name is in force", func() bool { return denied("not-early") })
	detect("early")
}

func testEvents(t *testing.T, c *cluster) {
	kube, err := kubernetes.NewForConfig(c.server.Config)
	if err != nil {
		t.Fatal(err)
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	if _, err = kube.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	e, err := quarantine.NewEvents(quarantine.EventsOptions{
		Client: kube, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewPedanticRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = e.Run(ctx) })
	defer func() { cancel(); wg.Wait() }()

	d := detect("d-events", "u9")
	entry := &quarantine.Entry{
		Name: "pod-u9", UID: "q9", Reason: "Token read\x1b[2J", Rule: "token-theft", Detection: "d-events",
		Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: "u9", Namespace: "shop", Name: "u9"},
	}
	r := quarantine.Request{Namespace: "shop", Pod: "u9", Door: "exec", User: "alice", Command: []string{"curl", "-H", "secret"}}
	want := map[string]string{
		"PortcullisQuarantined":     "pod shop/u9 is quarantined until it is released by rule token-theft",
		"PortcullisReleased":        `pod shop/u9 was released from quarantine pod-u9 by user "carol" at 2026-03-04 12:00:00 UTC`,
		"PortcullisWouldQuarantine": "pod shop/u9 would be quarantined by rule token-theft if it were enforced",
		"PortcullisDenied":          `exec into shop/u9 by user "alice" was denied`,
		"PortcullisBreakGlass":      "let through as a member of sre",
	}
	// Events from before the broadcaster runs are dropped: tell until the first has arrived.
	eventually(t, "Events arrive", func() bool {
		e.Quarantined(d, entry)
		all, listErr := kube.CoreV1().Events("shop").List(t.Context(), metav1.ListOptions{})
		return listErr == nil && len(all.Items) > 0
	})
	e.WouldQuarantine(d, quarantine.Spec{Subject: v1alpha1.SubjectPod})
	e.Denied(d.Pod, r, entry)
	e.BreakGlass(d.Pod, r, entry, "sre")
	e.Created(entry)
	e.Released(entry, "carol", time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC))
	checkEvents(t, kube, "shop", corev1.ObjectReference{Kind: "Pod", Name: "u9", UID: "u9"}, want)
	delete(want, "PortcullisWouldQuarantine") // which has no object
	checkEvents(t, kube, "default", corev1.ObjectReference{Kind: "Quarantine", Name: "pod-u9", UID: "q9"}, want)
}

// checkEvents checks that the object has an Event for each reason.
func checkEvents(t *testing.T, kube kubernetes.Interface, namespace string, on corev1.ObjectReference, want map[string]string) {
	t.Helper()
	var list *corev1.EventList
	eventually(t, "all arrive", func() bool {
		var err error
		list, err = kube.CoreV1().Events(namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(on.UID)})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.Items) >= len(want)
	})
	for _, ev := range list.Items {
		if !strings.Contains(ev.Message, want[ev.Reason]) || ev.InvolvedObject.Name != on.Name || ev.InvolvedObject.Kind != on.Kind ||
			(ev.Type == corev1.EventTypeWarning) != (ev.Reason != "PortcullisReleased") {
			t.Errorf("%s on %s says %q", ev.Reason, ev.InvolvedObject.Name, ev.Message)
		}
		if strings.ContainsAny(ev.Message, "\x1b") || strings.Contains(ev.Message, "secret") {
			t.Errorf("%s shows what it must not: %q", ev.Reason, ev.Message)
		}
	}
	if len(list.Items) != len(want) {
		t.Errorf("%d Events, want one for each reason", len(list.Items))
	}
}

// testKinds has detections put a subject of each kind into quarantine, and people as well.
func testKinds(t *testing.T, c *cluster) {
	r := c.run(t, interceptor.Funcs{})
	audit := &event.Audit{User: event.AuditUser{
		Username: "system:serviceaccount:kinds:web", Extra: map[string][]string{event.ExtraCredentialID: {"JTI=k1"}},
	}}
	for kind, name := range map[v1alpha1.SubjectKind]string{
		v1alpha1.SubjectPod: "pod-k1", v1alpha1.SubjectUser: "", v1alpha1.SubjectServiceAccount: "serviceaccount-kinds.web",
		v1alpha1.SubjectCredential: "", v1alpha1.SubjectNode: "node-kinds-node", v1alpha1.SubjectNamespace: "namespace-kinds",
	} {
		d := detect("kinds-"+string(kind), "k1")
		d.Pod.Namespace, d.Pod.Node, d.User = "kinds", "kinds-node", "system:serviceaccount:kinds:web"
		d.Events = []*event.Event{{Audit: audit}}
		spec := quarantine.Spec{Subject: kind, TTL: time.Hour, Operations: quarantine.OperationsOf(v1alpha1.OperationExec)}
		if o, err := r.Quarantine(t.Context(), d, spec); err != nil || o != quarantine.OutcomeApplied {
			t.Fatalf("%s: %v, %v", kind, o, err)
		}
		subjects, err := quarantine.Subjects(d, spec)
		if err != nil {
			t.Fatal(err)
		}
		name = cmp.Or(name, quarantine.ObjectName(subjects[0]))
		eventually(t, name+" exists", func() bool { _, ok := c.get(t, name); return ok })
		q, _ := c.get(t, name)
		if q.Spec.Subject != subjects[0] || !slices.Equal(q.Spec.Operations, []v1alpha1.Operation{v1alpha1.OperationExec}) {
			t.Errorf("%s says %+v", name, q.Spec)
		}
		if !r.deniesSubject(subjects[0]) || r.index.Denied(subjects[0], v1alpha1.OperationAttach, time.Now()) {
			t.Errorf("%s: exec is denied %v", name, r.deniesSubject(subjects[0]))
		}
		c.delete(t, name)
		eventually(t, name+" is released", func() bool { return !r.deniesSubject(subjects[0]) })
	}
	group := v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: "interns"}
	c.create(t, "by-hand-group", v1alpha1.QuarantineSpec{Subject: group, Reason: "r"})
	eventually(t, "the group is denied", func() bool { return r.deniesSubject(group) })
	c.delete(t, "by-hand-group")
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

// testStatus has two replicas agree on the status of what people made, and of what rules did.
func testStatus(t *testing.T, c *cluster) {
	r := c.run(t, interceptor.Funcs{})
	other := c.run(t, interceptor.Funcs{})
	c.nodes.Store("s1", "status-node")
	q := c.create(t, "status-1", v1alpha1.QuarantineSpec{
		Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: "s1", Namespace: "shop", Name: "web-0"}, Reason: "r",
		Operations: []v1alpha1.Operation{v1alpha1.OperationExec},
	})
	q = c.enforced(t, q.Name, metav1.ConditionTrue, func(q *v1alpha1.Quarantine) bool { return q.Status.NodeName == "status-node" })
	condition := meta.FindStatusCondition(q.Status.Conditions, v1alpha1.ConditionEnforced)
	if want := "exec into pod shop/web-0, with its token, and through the kubelet of its node, is denied until it is released"; condition.Message != want || condition.Reason != v1alpha1.ReasonInForce {
		t.Errorf("it says %s, %q, want %q", condition.Reason, condition.Message, want)
	}
	if q.Status.ObservedGeneration != q.Generation || q.Status.LastDenied != nil {
		t.Errorf("the status is %+v of generation %d", q.Status, q.Generation)
	}

	at := time.Now().Add(-time.Minute)
	entry, _ := r.index.Get(q.Name)
	r.Denied(entry, at)
	q = c.enforced(t, q.Name, metav1.ConditionTrue, func(q *v1alpha1.Quarantine) bool { return q.Status.LastDenied != nil })
	if !q.Status.LastDenied.Time.Equal(at.Truncate(time.Second)) {
		t.Errorf("last denied at %v, want %v", q.Status.LastDenied, at)
	}
	c.change(t, q, func(q *v1alpha1.Quarantine) { q.Spec.Operations = nil })
	q = c.enforced(t, q.Name, metav1.ConditionTrue, func(q *v1alpha1.Quarantine) bool { return q.Status.ObservedGeneration == q.Generation })
	r.stop()
	other.stop()
	if again, _ := c.get(t, q.Name); again.ResourceVersion != q.ResourceVersion {
		t.Errorf("the replicas went on writing it: %+v, then %+v", q.Status, again.Status)
	}
	c.delete(t, q.Name)
}

// testReleased has the audit stream tell who deleted an object, after and before the watch tells that it is gone.
func testReleased(t *testing.T, c *cluster) {
	r := c.run(t, interceptor.Funcs{})
	for _, auditFirst := range []bool{false, true} {
		uid := fmt.Sprintf("rel-%v", auditFirst)
		r.book.Change(t.Context(), uid, func(rec *record.Record) {
			rec.Begun, rec.Quarantines = time.Now(), []record.Quarantine{{Object: "pod-" + uid}}
		})
		impose(t, r, uid, uid, time.Hour)
		eventually(t, "it is written", func() bool { written, _ := r.book.Fate(uid, "pod-"+uid); return written })
		at := time.Now().Truncate(time.Second).UTC()
		if auditFirst {
			r.Released("pod-"+uid, "carol", at)
		}
		c.delete(t, "pod-"+uid)
		eventually(t, "it is released", func() bool { _, ended := r.book.Fate(uid, "pod-"+uid); return ended })
		if !auditFirst {
			r.Released("pod-"+uid, "carol", at)
			r.Released("pod-"+uid, "carol", at) // delivered twice
		}
		eventually(t, "it is known by whom", func() bool { rec, _ := r.book.Get(uid); return rec.Quarantines[0].Ended.By == "carol" })
		if rec, _ := r.book.Get(uid); !rec.Quarantines[0].Ended.At.Equal(at) || rec.Quarantines[0].Ended.Why != "released" {
			t.Errorf("the record says %+v, want at %v", rec.Quarantines[0].Ended, at)
		}
		eventually(t, "it is told", func() bool { return r.announcer.lastRelease.Load() == "pod-"+uid+" by carol" })
	}
	if n := r.announcer.released.Load(); n != 2 || r.announcer.created.Load() != 2 {
		t.Errorf("%d releases are told, %d creations, want 2", n, r.announcer.created.Load())
	}
}

func testEndpoints(t *testing.T, c *cluster) {
	kube, err := kubernetes.NewForConfig(c.server.Config)
	if err != nil {
		t.Fatal(err)
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "endpoints"}}
	if _, err = kube.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	to := func(name string) *corev1.ObjectReference {
		return &corev1.ObjectReference{Kind: "Pod", Namespace: ns.Name, Name: name, UID: "a-lie"}
	}
	slice := &discovery.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "web-1", Labels: map[string]string{discovery.LabelServiceName: "web"}},
		AddressType: discovery.AddressTypeIPv4,
		Endpoints: []discovery.Endpoint{
			{Addresses: []string{"10.0.0.1"}, TargetRef: to("web-0")}, {Addresses: []string{"10.0.0.2"}},
		},
	}
	other := slice.DeepCopy()
	other.Name, other.Labels[discovery.LabelServiceName], other.Endpoints[0].TargetRef = "db-1", "db", to("db-0")
	for _, s := range []*discovery.EndpointSlice{slice, other} {
		if _, err = kube.DiscoveryV1().EndpointSlices(ns.Name).Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	old := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Subsets: []corev1.EndpointSubset{{ //nolint:staticcheck // see PodsOf
		Addresses:         []corev1.EndpointAddress{{IP: "10.0.0.3", TargetRef: to("web-1")}},
		NotReadyAddresses: []corev1.EndpointAddress{{IP: "10.0.0.4", TargetRef: to("web-2")}},
	}}}
	if _, err = kube.CoreV1().Endpoints(ns.Name).Create(t.Context(), old, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	lists, err := quarantine.NewEndpointLists(kube)
	if err != nil {
		t.Fatal(err)
	}
	for service, want := range map[string][]string{"web": {"web-0", "web-1", "web-2"}, "db": {"db-0"}, "nothing": nil} {
		if got, failed := lists.PodsOf(t.Context(), ns.Name, service); failed != nil || !slices.Equal(got, want) {
			t.Errorf("%s leads to %v, %v, want %v", service, got, failed, want)
		}
	}
	late, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = lists.PodsOf(late, ns.Name, "web"); !errors.Is(err, context.Canceled) {
		t.Errorf("after the deadline: %v", err)
	}
	if _, err = lists.PodsOf(t.Context(), ns.Name, "web"); err != nil {
		t.Errorf("after somebody else gave up: %v", err)
	}
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
