package identity_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/identity"
	"github.com/portcullis-dev/portcullis/test/apiserver"
)

// TestMain fails when a goroutine outlives the tests.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// klog, which client-go logs through, never stops its flusher.
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

// cluster is a real API server with a running Resolver.
type cluster struct {
	t      *testing.T
	client *kubernetes.Clientset
	process
}

// process is what one process knows of the cluster.
type process struct {
	resolver *identity.Resolver
	hold     *identity.Hold
	stop     func()
}

func startCluster(t *testing.T, opts apiserver.Options) (*cluster, *apiserver.Server) {
	t.Helper()
	server := apiserver.Start(t, opts)
	client, err := kubernetes.NewForConfig(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, client: client}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return c, server
}

// start starts a process that knows all pods when start returns.
func (c *cluster) start(store identity.Store) {
	c.t.Helper()
	reg := prometheus.NewPedanticRegistry()
	resolver, err := identity.New(identity.Options{
		Client: c.client, Store: store, Logger: slog.New(slog.DiscardHandler), Registerer: reg,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	hold, err := identity.NewHold(identity.HoldOptions{Resolver: resolver, Max: time.Minute, Registerer: reg})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := resolver.Load(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = resolver.Run(ctx) })
	wg.Go(func() { _ = hold.Run(ctx) })
	c.process = process{resolver: resolver, hold: hold, stop: func() { cancel(); wg.Wait() }}
	c.t.Cleanup(c.stop)
	wait, stop := context.WithTimeout(c.t.Context(), time.Minute)
	defer stop()
	if err := resolver.WaitSynced(wait); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) create(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	c.t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			NodeName:           "node-1",
			ServiceAccountName: "default",
			Containers:         []corev1.Container{{Name: "main", Image: "busybox:1"}},
		},
	}
	for _, f := range change {
		f(p)
	}
	p, err := c.client.CoreV1().Pods("shop").Create(c.t.Context(), p, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

func (c *cluster) delete(name string) {
	c.t.Helper()
	now := int64(0)
	if err := c.client.CoreV1().Pods("shop").Delete(c.t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		c.t.Fatal(err)
	}
}

// wait submits telemetry of the pod and returns it as the Hold passes it on.
func (c *cluster) wait(uid, containerID string) *event.Event {
	c.t.Helper()
	done := make(chan *event.Event, 1)
	c.hold.Submit(&event.Event{
		Time: time.Now(), Pod: event.Pod{UID: uid, Confidence: event.Exact}, Container: &event.Container{ID: containerID},
	}, func(e *event.Event, _ bool) { done <- e })
	return <-done
}

func TestAgainstAPIServer(t *testing.T) {
	c, _ := startCluster(t, apiserver.Options{WithoutCRDs: true})
	c.start(nil)

	t.Run("telemetry waits for its pod", func(t *testing.T) {
		p := c.create("cart")
		e := c.wait(string(p.UID), "")
		if e.Pod.Name != "cart" || e.Pod.Namespace != "shop" || e.Pod.Node != "node-1" || e.Pod.Labels["app"] != "cart" {
			t.Errorf("the pod is %+v", e.Pod)
		}
		if runs, known := c.resolver.RunsOn(string(p.UID), "node-1"); !known || !runs {
			t.Errorf("RunsOn says %v, %v", runs, known)
		}
	})

	t.Run("containers by the status", func(t *testing.T) {
		p := c.create("named", func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "setup", Image: "busybox:1"}}
		})
		pods := c.client.CoreV1().Pods("shop")
		p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{
			EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "busybox:1", TerminationMessagePolicy: corev1.TerminationMessageReadFile},
		}}
		p, err := pods.UpdateEphemeralContainers(t.Context(), p.Name, p, metav1.UpdateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		// Their telemetry is here before the kubelet has written their status.
		names := make(chan string, 3)
		for _, id := range []string{"i1", "c1", "e1"} {
			c.hold.Submit(&event.Event{
				Time: time.Now(), Pod: event.Pod{UID: string(p.UID), Node: "node-1"}, Container: &event.Container{ID: id},
			}, func(e *event.Event, _ bool) { names <- e.Container.ID + " " + e.Container.Name })
		}
		running := func(name, id string) []corev1.ContainerStatus {
			return []corev1.ContainerStatus{{Name: name, Image: "busybox:1", ContainerID: "containerd://" + id}}
		}
		p.Status.InitContainerStatuses, p.Status.ContainerStatuses = running("setup", "i1"), running("main", "c1")
		p.Status.EphemeralContainerStatuses = running("debug", "e1")
		if _, err := pods.UpdateStatus(t.Context(), p, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		got := []string{<-names, <-names, <-names}
		slices.Sort(got)
		if diff := cmp.Diff([]string{"c1 main", "e1 debug", "i1 setup"}, got); diff != "" {
			t.Errorf("containers (-want +got):\n%s", diff)
		}
	})

	t.Run("one name, two pods", func(t *testing.T) {
		apart() // from the beginning of what is known
		first := c.create("web-0")
		c.wait(string(first.UID), "")
		between := time.Now()
		apart()
		c.delete("web-0")
		apart()
		second := c.create("web-0")
		c.wait(string(second.UID), "")

		if got := c.resolver.At("shop", "web-0", between); got.UID != string(first.UID) || got.Confidence != event.ByName {
			t.Errorf("before: %s, %v, want the first", got.UID, got.Confidence)
		}
		if got, ok := c.resolver.Current("shop", "web-0"); !ok || got.UID != string(second.UID) {
			t.Errorf("now: %s, want the second", got.UID)
		}
		if alive, known := c.resolver.Alive(string(first.UID)); alive || !known {
			t.Errorf("the first is alive: %v, known: %v", alive, known)
		}
		d, _ := c.resolver.Details(string(first.UID))
		if d.Deleted.Before(between) {
			t.Errorf("the first was deleted at %v, before it was seen alive", d.Deleted)
		}
	})

	t.Run("static pod by its hash", func(t *testing.T) {
		const hash = "3f2a9b7c0d1e4f5a6b7c8d9e0f1a2b3c"
		done := make(chan *event.Event, 1)
		c.hold.Submit(&event.Event{Time: time.Now(), Pod: event.Pod{UID: hash, Node: "node-1"}}, func(e *event.Event, _ bool) { done <- e })
		p := c.create("etcd-node-1", func(p *corev1.Pod) {
			p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: hash}
			yes := true
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "node-1", UID: "n1", Controller: &yes}}
		})
		if e := <-done; e.Pod.UID != string(p.UID) || e.Pod.Name != "etcd-node-1" {
			t.Errorf("the static pod is %+v", e.Pod)
		}
	})
}
