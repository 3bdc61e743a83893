package webhook_test

import (
	"context"
	"encoding/pem"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	admissionregistration "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/portcullis-dev/portcullis/test/apiserver"
	"github.com/portcullis-dev/portcullis/webhook"
)

// gate is a judge that the test opens and shuts, and which remembers whom it judged.
type gate struct {
	mu      sync.Mutex
	verdict webhook.Verdict
	panics  bool
	last    webhook.Request
}

func (g *gate) Judge(_ context.Context, r webhook.Request) (webhook.Verdict, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = r
	if g.panics {
		panic("boom")
	}
	return g.verdict, nil
}

func (g *gate) set(v webhook.Verdict, panics bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.verdict, g.panics, g.last = v, panics, webhook.Request{}
}

// TestAgainstAPIServer has a real API server ask the webhook about real requests.
func TestAgainstAPIServer(t *testing.T) {
	server := apiserver.Start(t, apiserver.Options{WithoutCRDs: true})
	admin, err := kubernetes.NewForConfig(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{verdict: webhook.Verdict{Allowed: true}}
	h, _ := newHandler(t, g.Judge, func(o *webhook.Options) { o.Logger = slog.New(slog.DiscardHandler) })
	// One path is the webhook, the other answers with a failed call.
	mux := http.NewServeMux()
	mux.Handle("/admit", h)
	mux.HandleFunc("/broken", func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Content-Type", "text/plain")
		h.ServeHTTP(w, r)
	})
	_, url, certificate := serve(t, mux)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
	url = strings.TrimSuffix(url, "?timeout=5s")
	prepare(t, admin)
	register(t, admin, url, ca)

	for door, path := range map[string]string{
		"exec":        "exec?command=sh&command=-c&command=id&container=main&stdout=true&tty=true&stdin=true",
		"attach":      "attach?container=main&stdout=true",
		"portforward": "portforward",
	} {
		t.Run(door, func(t *testing.T) { testDoor(t, admin, g, door, path) })
	}
	t.Run("a failed call is allowed under Ignore", func(t *testing.T) {
		g.set(webhook.Verdict{Message: "shut"}, false)
		register(t, admin, strings.Replace(url, "/admit", "/broken", 1), ca)
		await(t, "the request passes although the judge denies", func() bool {
			return passed(connect(t, admin, "portforward"))
		})
	})
}

func testDoor(t *testing.T, admin *kubernetes.Clientset, g *gate, door, path string) {
	g.set(webhook.Verdict{Message: "quarantined\nask somebody"}, false)
	// The API server takes a moment to notice the configuration.
	var err error
	await(t, "the request is denied", func() bool {
		err = connect(t, admin, path)
		return apierrors.IsForbidden(err)
	})
	if !strings.Contains(err.Error(), "quarantined\nask somebody") {
		t.Errorf("who is denied reads %q", err)
	}
	r := g.last
	if r.Door != door || r.Namespace != "shop" || r.Pod != "web-0" || r.Operation != "CONNECT" || r.User != "test-admin" {
		t.Errorf("judged %+v", r)
	}
	if door == "exec" && (strings.Join(r.Command, " ") != "sh -c id" || r.Container != "main" || !r.TTY || !r.Stdin) {
		t.Errorf("judged %+v", r)
	}
	for _, panics := range []bool{false, true} {
		g.set(webhook.Verdict{Allowed: true}, panics)
		if err := connect(t, admin, path); !passed(err) || g.last.Door != door {
			t.Errorf("panics %v: %v, judged %+v", panics, err, g.last)
		}
	}
}

// passed reports that the request got past admission: the pod runs nowhere.
func passed(err error) bool {
	return apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "does not have a host assigned")
}

func connect(t *testing.T, admin *kubernetes.Clientset, path string) error {
	t.Helper()
	sub, query, _ := strings.Cut(path, "?")
	req := admin.CoreV1().RESTClient().Post().AbsPath("/api/v1/namespaces/shop/pods/web-0", sub)
	for pair := range strings.SplitSeq(query, "&") {
		if key, value, ok := strings.Cut(pair, "="); ok {
			req = req.Param(key, value)
		}
	}
	return req.Do(t.Context()).Error()
}

func prepare(t *testing.T, admin *kubernetes.Clientset) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	if _, err := admin.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-0"}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "main", Image: "busybox:1"}},
	}}
	if _, err := admin.CoreV1().Pods("shop").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// register points the API server's doors at the url.
func register(t *testing.T, admin *kubernetes.Clientset, url string, ca []byte) {
	t.Helper()
	ignore, none, timeout := admissionregistration.Ignore, admissionregistration.SideEffectClassNone, int32(5)
	config := &admissionregistration.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "portcullis"},
		Webhooks: []admissionregistration.ValidatingWebhook{{
			Name: "exec.portcullis.dev", AdmissionReviewVersions: []string{"v1"},
			ClientConfig:  admissionregistration.WebhookClientConfig{URL: &url, CABundle: ca},
			FailurePolicy: &ignore, SideEffects: &none, TimeoutSeconds: &timeout,
			Rules: []admissionregistration.RuleWithOperations{{
				Operations: []admissionregistration.OperationType{admissionregistration.Connect},
				Rule: admissionregistration.Rule{
					APIGroups: []string{""}, APIVersions: []string{"v1"},
					Resources: []string{"pods/exec", "pods/attach", "pods/portforward"},
				},
			}},
		}},
	}
	configs := admin.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	err := configs.Delete(t.Context(), config.Name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	if _, err := configs.Create(t.Context(), config, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// await asks until the answer is yes: nothing tells when a configuration is in effect.
func await(t *testing.T, what string, ask func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ask() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
