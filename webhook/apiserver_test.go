package webhook_test

import (
	"context"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistration "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

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

	web := client{t, server.Config}
	for _, door := range realDoors() {
		t.Run(door.method+" "+door.path, func(t *testing.T) { testDoor(t, web, g, door) })
	}
	t.Run("paths of kubelets", func(t *testing.T) { testKubelet(t, web, admin, g) })
	t.Run("a failed call is allowed under Ignore", func(t *testing.T) {
		g.set(webhook.Verdict{Message: "shut"}, false)
		register(t, admin, strings.Replace(url, "/admit", "/broken", 1), ca)
		await(t, "the request passes although the judge denies", func() bool {
			return passed(connect(t, admin, "portforward"))
		})
	})
}

// realDoor is a request of a person, and what is to be judged of it.
type realDoor struct {
	method, path, body string
	want               webhook.Request
}

func realDoors() []realDoor {
	const shop = "/api/v1/namespaces/shop/"
	exec := func(change func(*webhook.Request)) webhook.Request {
		r := webhook.Request{Door: "exec", Operation: "CONNECT", Resource: "pods", Subresource: "exec", Namespace: "shop", Pod: "web-0", Name: "web-0"}
		change(&r)
		return r
	}
	command := func(r *webhook.Request) {
		r.Command, r.Container = []string{"sh", "-c", "id"}, "main"
		r.Stdin, r.Stdout, r.TTY = true, true, true
	}
	const execQuery = "command=sh&command=-c&command=id&container=main&stdout=true&tty=true&stdin=true"
	proxy := func(resource, name, path string, change func(*webhook.Request)) webhook.Request {
		return exec(func(r *webhook.Request) {
			r.Door, r.Resource, r.Subresource, r.Name, r.Path, r.Pod = "proxy", resource, "proxy", name, path, ""
			change(r)
		})
	}
	debug := exec(func(r *webhook.Request) {
		r.Door, r.Subresource, r.Operation = "ephemeralcontainers", "ephemeralcontainers", "UPDATE"
		r.Container, r.Command, r.Stdin, r.TTY, r.PodUID = "debugger", []string{"sh"}, true, true, "set"
		r.NewContainers = []webhook.NewContainer{{Name: "debugger", Image: "busybox:1", Command: []string{"sh"}, Target: "main", Stdin: true, TTY: true}}
	})
	return []realDoor{
		{"GET", shop + "pods/web-0/exec?" + execQuery, "", exec(command)},
		{"POST", shop + "pods/web-0/exec?" + execQuery, "", exec(command)},
		{"POST", shop + "pods/web-0/attach?container=main&stdout=true", "", exec(func(r *webhook.Request) {
			r.Door, r.Subresource, r.Container, r.Stdout = "attach", "attach", "main", true
		})},
		{"POST", shop + "pods/web-0/portforward?ports=80", "", exec(func(r *webhook.Request) {
			r.Door, r.Subresource, r.Ports = "portforward", "portforward", []int32{80}
		})},
		{"PATCH", shop + "pods/web-0/ephemeralcontainers", `{"spec":{"ephemeralContainers":[{"name":"debugger","image":"busybox:1","command":["sh"],` +
			`"stdin":true,"tty":true,"targetContainerName":"main"}]},"metadata":{"uid":""}}`, debug},
		{"GET", shop + "pods/https:web-0:8443/proxy/a//../b/?q", "", proxy("pods", "https:web-0:8443", "/a//../b/", func(r *webhook.Request) { r.Pod = "web-0" })},
		{"POST", shop + "pods/web-0/proxy", "", proxy("pods", "web-0", "", func(r *webhook.Request) { r.Pod = "web-0" })},
		{"GET", shop + "services/https:cart:web/proxy/x", "", proxy("services", "https:cart:web", "/x", func(r *webhook.Request) { r.Service = "cart" })},
		{"DELETE", "/api/v1/nodes/node1/proxy/metrics", "", proxy("nodes", "node1", "/metrics", func(r *webhook.Request) { r.Node, r.Namespace = "node1", "" })},
		{"POST", "/api/v1/nodes/https:node1:10250/proxy//%65xec/shop/web-0/main?command=id", "",
			proxy("nodes", "https:node1:10250", "/exec/shop/web-0/main", func(r *webhook.Request) {
				r.Node, r.Pod, r.Container, r.Door = "node1", "web-0", "main", "exec"
			})},
	}
}

// testDoor asks for the same again and again: nothing of it may depend on what the answer was before.
func testDoor(t *testing.T, web client, g *gate, door realDoor) {
	g.set(webhook.Verdict{Message: "quarantined\nask somebody", Warnings: []string{"mind the gap"}}, false)
	// The API server takes a moment to notice the configuration.
	var answer response
	await(t, "the request is denied", func() bool {
		answer = web.do(door.method, door.path, door.body)
		return answer.status == http.StatusForbidden
	})
	if !strings.Contains(answer.body, `quarantined\nask somebody`) || !strings.Contains(answer.warning, "mind the gap") {
		t.Errorf("who is denied reads %q, warned with %q", answer.body, answer.warning)
	}
	r, want := g.last, door.want
	if r.User != "test-admin" || !slices.Contains(r.Groups, "system:masters") || (r.PodUID == "") != (want.PodUID == "") {
		t.Errorf("judged %+v", r)
	}
	want.ID, want.Session, want.User, want.UserUID, want.Groups, want.Extra = r.ID, r.Session, r.User, r.UserUID, r.Groups, r.Extra
	want.Credentials, want.PodUID = r.Credentials, r.PodUID
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("judged (-want +got):\n%s", diff)
	}
	for _, panics := range []bool{true, false} {
		g.set(webhook.Verdict{Allowed: true}, panics)
		answer := web.do(door.method, door.path, door.body)
		if strings.Contains(answer.body, "denied the request") || g.last.Subresource != want.Subresource {
			t.Errorf("panics %v: %+v, judged %+v", panics, answer, g.last)
		}
	}
}

// client asks an API server exactly as it is told: client-go cleans paths.
type client struct {
	t      *testing.T
	config *rest.Config
}

type response struct {
	status        int
	body, warning string
}

func (c client) do(method, path, body string) response {
	c.t.Helper()
	web, err := rest.HTTPClientFor(c.config)
	if err != nil {
		c.t.Fatal(err)
	}
	web.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.config.Host+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/strategic-merge-patch+json")
	resp, err := web.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return response{resp.StatusCode, string(text), resp.Header.Get("Warning")}
}

// testKubelet has the API server call a kubelet, and compares where that led with what was judged.
func testKubelet(t *testing.T, web client, admin *kubernetes.Clientset, g *gate) {
	address := hostAddress(t)
	var at atomic.Pointer[reached]
	kubelet := httptest.NewUnstartedServer(newKubelet(func(r reached) { at.Store(&r) }))
	kubelet.Listener.Close()
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Skipf("nothing can listen on %s: %v", address, err)
	}
	kubelet.Listener = listener
	kubelet.StartTLS()
	defer kubelet.Close()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1"}}
	if node, err = admin.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(listener.Addr().(*net.TCPAddr).Port)
	if _, err = admin.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	doors := 0
	for _, path := range []string{
		"/exec/shop/web-0/main", "/exec/shop/web-0/0f1e/main/", "//run//shop/web-0/main", "/metrics/../attach/shop/web-0/main",
		"/../../portForward/shop/web-0", "/%65xec/shop/web-0/main", "/exec%2Fshop%2Fweb-0%2Fmain", "/logs/%2e%2e/run/shop/web-0/main",
		"/containerLogs/shop/web-0/main", "/exec/./shop/web-0/main?path=/metrics", "/metrics", "/pods", "/exec/../metrics", "/%2565xec/shop/web-0/main",
		"/EXEC/shop/web-0/main", "/exec/shop/web-0", "/portforward/shop/web-0", "/logs/exec/shop/web-0/main", "/exec;x/shop/web-0/main", "/metrics?/../exec/a/b/c",
	} {
		for _, method := range []string{http.MethodPost, http.MethodGet} {
			at.Store(nil)
			g.set(webhook.Verdict{Allowed: true}, false)
			answer := web.do(method, "/api/v1/nodes/node1/proxy"+path, "")
			led, judged := at.Load(), g.last
			if answer.status >= http.StatusInternalServerError {
				t.Fatalf("%s %s: %+v", method, path, answer)
			}
			if led == nil {
				continue
			}
			doors++
			if got := (reached{judged.Door, judged.Namespace, judged.Pod, judged.Container}); got != *led {
				t.Errorf("%s %s led the kubelet to %+v, and was judged as %+v", method, path, *led, got)
			}
		}
	}
	if doors < 16 {
		t.Errorf("only %d requests reached a pod", doors)
	}
}

// hostAddress is an address of this machine that an API server takes for a node's.
func hostAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	t.Skip("the machine has only loopback addresses, and API servers call no kubelet there")
	return ""
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
			Rules: []admissionregistration.RuleWithOperations{
				guard(admissionregistration.Connect, "pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "services/proxy", "nodes/proxy"),
				guard(admissionregistration.Update, "pods/ephemeralcontainers"),
			},
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

func guard(operation admissionregistration.OperationType, resources ...string) admissionregistration.RuleWithOperations {
	return admissionregistration.RuleWithOperations{
		Operations: []admissionregistration.OperationType{operation},
		Rule:       admissionregistration.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: resources},
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
