package identity_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	authnv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/portcullis-dev/portcullis/auditsink"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/identity"
	"github.com/portcullis-dev/portcullis/jetstream"
	"github.com/portcullis-dev/portcullis/test/apiserver"
)

// mortal is a Store that a process loses when it is killed.
type mortal struct {
	identity.Store
	dead   atomic.Bool
	stored chan string
}

var errKilled = errors.New("killed")

func (m *mortal) Put(ctx context.Context, key string, value []byte) error {
	if m.dead.Load() {
		return errKilled
	}
	err := m.Store.Put(ctx, key, value)
	select {
	case m.stored <- key:
	default:
	}
	return err
}

func (m *mortal) Delete(ctx context.Context, key string) error {
	if m.dead.Load() {
		return errKilled
	}
	return m.Store.Delete(ctx, key)
}

func openBucket(t *testing.T) *jetstream.Bucket {
	t.Helper()
	store, err := jetstream.Open(t.Context(), jetstream.Options{
		Directory: t.TempDir(), MaxBytes: 256 << 20, Clock: time.Now,
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewPedanticRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if closing := store.Close(); closing != nil {
			t.Error(closing)
		}
	})
	bucket, err := store.Bucket(t.Context(), jetstream.BucketOptions{Name: "identity", TTL: identity.StoreTTL, MaxBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return bucket
}

// auditLog is where the API server of the test writes its audit events.
type auditLog string

func startWithAuditLog(t *testing.T) (*cluster, *apiserver.Server, auditLog) {
	t.Helper()
	dir := t.TempDir()
	policy, log := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "audit.log")
	if err := os.WriteFile(policy, []byte(`{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c, server := startCluster(t, apiserver.Options{WithoutCRDs: true, Args: []string{
		"--audit-policy-file=" + policy, "--audit-log-path=" + log, "--audit-log-mode=blocking",
	}})
	return c, server, auditLog(log)
}

// completed returns the last stage of the request with that user agent.
func (l auditLog) completed(t *testing.T, agent string) *event.Event {
	t.Helper()
	file, err := os.Open(string(l))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	var found *event.Event
	for lines.Scan() {
		e, err := auditsink.NewDecoder().DecodeEvent(lines.Bytes(), auditsink.Delivery{APIServer: "cp-1", Received: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		if e.Audit.UserAgent == agent && e.Audit.Stage == "ResponseComplete" {
			found = e
		}
	}
	if found == nil {
		t.Fatalf("the request of %s is not in the audit log", agent)
	}
	return found
}

// as is a client with a token that is bound to the pod.
func (c *cluster) as(p *corev1.Pod, server *apiserver.Server, agent string) *kubernetes.Clientset {
	c.t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := c.client.CoreV1().ServiceAccounts("shop").Create(c.t.Context(), account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		c.t.Fatal(err)
	}
	token, err := c.client.CoreV1().ServiceAccounts("shop").CreateToken(c.t.Context(), "default", &authnv1.TokenRequest{
		Spec: authnv1.TokenRequestSpec{BoundObjectRef: &authnv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: p.Name, UID: p.UID}},
	}, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(server.Config)
	config.BearerToken, config.UserAgent = token.Status.Token, agent
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		c.t.Fatal(err)
	}
	return client
}

// act has the pod ask for secrets, and somebody ask for its log.
func (c *cluster) act(p *corev1.Pod, server *apiserver.Server, agent string) {
	c.t.Helper()
	_, err := c.as(p, server, agent).CoreV1().Secrets("shop").List(c.t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) {
		c.t.Fatalf("the pod's request: %v", err)
	}
	config := rest.CopyConfig(server.Config)
	config.UserAgent = agent + "-log"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		c.t.Fatal(err)
	}
	// There is no kubelet to get it from: that it was asked for is enough.
	_ = client.CoreV1().Pods("shop").GetLogs(p.Name, &corev1.PodLogOptions{}).Do(c.t.Context()).Error()
}

func (c *cluster) run(p *corev1.Pod, id string) {
	c.t.Helper()
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", Image: "busybox:1", ContainerID: "containerd://" + id}}
	if _, err := c.client.CoreV1().Pods("shop").UpdateStatus(c.t.Context(), p, metav1.UpdateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// apart lets so much time pass that two moments cannot be taken for one: creation times have a resolution of one
// second, and the tolerance is one more.
func apart() { time.Sleep(2100 * time.Millisecond) }

// TestLateBatchAfterARestart: web-0 acts as its first incarnation, the server is killed, web-0 is made
// anew, the server starts, and only then what the first one did arrives.
func TestLateBatchAfterARestart(t *testing.T) {
	c, server, log := startWithAuditLog(t)
	bucket := openBucket(t)
	store := &mortal{Store: bucket, stored: make(chan string, 1000)}
	c.start(store)

	first := c.create("web-0")
	c.run(first, "c1")
	c.wait(string(first.UID), "c1")
	apart()
	c.act(first, server, "first")
	telemetry := &event.Event{Time: time.Now(), Pod: event.Pod{UID: string(first.UID), Node: "node-1"}, Container: &event.Container{ID: "c1"}}
	for key := range store.stored { // of the watch, after which the pods are there
		if key == "watch" {
			break
		}
	}
	store.dead.Store(true)
	c.stop()

	apart()
	c.delete("web-0")
	meanwhile := c.create("web-1", func(p *corev1.Pod) { p.Labels = map[string]string{"app": "short-lived"} })
	c.delete("web-1")
	apart()
	second := c.create("web-0")
	apart()
	c.act(second, server, "second")
	c.start(bucket)

	t.Run("the caller", func(t *testing.T) {
		for agent, want := range map[string]*corev1.Pod{"first": first, "second": second} {
			e := log.completed(t, agent)
			if claimed := e.Audit.Caller.UID; claimed != string(want.UID) {
				t.Fatalf("the API server says that %q made the request", claimed)
			}
			c.resolver.Complete(e)
			if got := e.Audit.Caller; got.UID != string(want.UID) || got.Confidence != event.Exact || got.Node != "node-1" || got.Labels["app"] != "web-0" {
				t.Errorf("%s: the caller is %+v", agent, got)
			}
		}
	})
	t.Run("the target", func(t *testing.T) {
		for agent, want := range map[string]*corev1.Pod{"first-log": first, "second-log": second} {
			e := log.completed(t, agent)
			c.resolver.Complete(e)
			if got := e.Audit.Target; got.UID != string(want.UID) || got.Confidence != event.ByName {
				t.Errorf("%s: the target is %+v, want %s", agent, got, want.UID)
			}
		}
	})
	t.Run("telemetry", func(t *testing.T) {
		passed := false
		c.hold.Submit(telemetry, func(e *event.Event, _ bool) {
			passed = true
			if e.Pod.Name != "web-0" || e.Pod.UID != string(first.UID) || e.Container.Name != "main" {
				t.Errorf("telemetry of %+v, %+v", e.Pod, e.Container)
			}
		})
		if !passed {
			t.Error("telemetry of a pod that an earlier process knew waits")
		}
	})
	t.Run("who came and went while nobody watched", func(t *testing.T) {
		if got, ok := c.resolver.Pod(string(meanwhile.UID)); !ok || got.Name != "web-1" || got.Labels["app"] != "short-lived" {
			t.Errorf("known of it is %+v", got)
		}
		if alive, known := c.resolver.Alive(string(meanwhile.UID)); alive || !known {
			t.Errorf("it is alive: %v, known: %v", alive, known)
		}
	})
	t.Run("a pod that never was", func(t *testing.T) {
		forged := base64.RawStdEncoding.EncodeToString([]byte("forged"))
		e := log.completed(t, "first")
		e.Audit.Caller.UID = forged
		c.resolver.Complete(e)
		if got := e.Audit.Caller; got.Confidence != event.Ambiguous || strings.Join(got.Candidates, " ") != forged+" "+string(first.UID) {
			t.Errorf("a UID that nobody ever heard of under a name that somebody had: %+v", got)
		}
	})
}
