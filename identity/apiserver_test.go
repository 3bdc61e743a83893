package identity_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

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
	t        *testing.T
	client   *kubernetes.Clientset
	resolver *identity.Resolver
	hold     *identity.Hold
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	server := apiserver.Start(t, apiserver.Options{})
	client, err := kubernetes.NewForConfig(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewPedanticRegistry()
	resolver, err := identity.New(identity.Options{Client: client, Logger: slog.New(slog.DiscardHandler), Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	hold, err := identity.NewHold(identity.HoldOptions{Resolver: resolver, Max: time.Minute, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = resolver.Run(ctx) })
	wg.Go(func() { _ = hold.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	wait, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if err := resolver.WaitSynced(wait); err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, client: client, resolver: resolver, hold: hold}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cluster) create(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	c.t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			NodeName:   "node-1",
			Containers: []corev1.Container{{Name: "main", Image: "busybox:1"}},
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
	}, func(e *event.Event) { done <- e })
	return <-done
}

// eventually asks until the answer is yes. The watch tells nobody outside when it has told us.
func (c *cluster) eventually(what string, ask func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ask() {
		if time.Now().After(deadline) {
			c.t.Fatalf("still not: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestAgainstAPIServer(t *testing.T) {
	c := startCluster(t)
	c.t = t

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
		p := c.create("named")
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", Image: "busybox:1", ContainerID: "containerd://abc"}}
		if _, err := c.client.CoreV1().Pods("shop").UpdateStatus(t.Context(), p, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		c.eventually("the container has its name", func() bool {
			return c.wait(string(p.UID), "abc").Container.Name == "main"
		})
	})

	t.Run("one name, two pods", func(t *testing.T) {
		first := c.create("web-0")
		c.wait(string(first.UID), "")
		between := time.Now()
		// The creation time has a resolution of one second, and the tolerance is one more.
		time.Sleep(2100 * time.Millisecond)
		c.delete("web-0")
		time.Sleep(2100 * time.Millisecond)
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
		c.hold.Submit(&event.Event{Time: time.Now(), Pod: event.Pod{UID: hash, Node: "node-1"}}, func(e *event.Event) { done <- e })
		p := c.create("etcd-node-1", func(p *corev1.Pod) {
			p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: hash}
		})
		if e := <-done; e.Pod.UID != string(p.UID) || e.Pod.Name != "etcd-node-1" {
			t.Errorf("the static pod is %+v", e.Pod)
		}
	})
}
