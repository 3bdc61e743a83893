package quarantine_test

import (
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
	corev1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/quarantine"
	"github.com/portcullis-dev/portcullis/record"
)

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
