package tunnel

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/portcullis-dev/portcullis/ctl/cluster"
	"github.com/portcullis-dev/portcullis/pki"
)

// world is an API server, as far as a tunnel asks it, with the server behind it.
type world struct {
	t      *testing.T
	api    *httptest.Server
	server *httptest.Server

	mutex sync.Mutex
	pods  []corev1.Pod
	trust map[string]string
	// refuse answers a request whose path ends so with a status.
	refuse map[string]metav1.Status
	// asked are the paths that were asked for.
	asked []string
	// away: nobody listens in the pod.
	away bool
}

const (
	namespace  = "security"
	serverName = "portcullis.security.svc"
)

// newWorld has a server whose certificate is for a name.
func newWorld(t *testing.T, name string) *world {
	t.Helper()
	w := &world{t: t, refuse: map[string]metav1.Status{}}
	now := time.Now()
	ca, err := pki.NewCA("test", now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.IssueServer("portcullis", []string{name}, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	w.server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			http.Redirect(rw, r, "https://example.com/", http.StatusFound)
			return
		}
		_, _ = io.WriteString(rw, r.Proto+" "+r.Host+" "+r.Header.Get("Authorization"))
	}))
	w.server.EnableHTTP2 = true
	w.server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13}
	w.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	w.server.StartTLS()
	t.Cleanup(w.server.Close)
	w.trust = map[string]string{"ca.crt": string(ca.Bundle().PEM())}
	w.pods = []corev1.Pod{pod("portcullis-1", true), pod("portcullis-0", true)}
	w.api = httptest.NewTLSServer(http.HandlerFunc(w.serve))
	t.Cleanup(w.api.Close)
	return w
}

func pod(name string, ready bool) corev1.Pod {
	p := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "audit", ContainerPort: 1}, {Name: "metrics", ContainerPort: 8080}}}}},
		Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}},
	}
	if ready {
		p.Status.Conditions[0].Status = corev1.ConditionTrue
	}
	return p
}

// serve answers as an API server that knows SPDY alone.
func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/"+namespace+"/")
	w.mutex.Lock()
	w.asked = append(w.asked, r.Method+" "+path)
	refusal, refused := w.refuse[path]
	pods, trust := w.pods, w.trust
	w.mutex.Unlock()
	switch {
	case r.Header.Get("Sec-WebSocket-Version") != "":
		http.Error(rw, "no websockets here", http.StatusBadRequest)
	case refused:
		answer(rw, int(refusal.Code), refusal)
	case path == "pods" && r.URL.Query().Get("labelSelector") == "app.kubernetes.io/component=server,app.kubernetes.io/name=portcullis":
		answer(rw, http.StatusOK, corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: pods})
	case path == "configmaps/portcullis-trust":
		answer(rw, http.StatusOK, corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, Data: trust})
	case path == "serviceaccounts/portcullis-reader/token":
		var request authenticationv1.TokenRequest
		body, _ := io.ReadAll(r.Body)
		if _, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, &request); err != nil {
			w.t.Error(err)
		}
		if request.Spec.ExpirationSeconds == nil || *request.Spec.ExpirationSeconds != 600 {
			w.t.Errorf("asked for a token of %v", request.Spec)
		}
		request.Status.Token = "the-token"
		answer(rw, http.StatusCreated, request)
	case path == "pods/portcullis-0/portforward":
		w.forward(rw, r)
	default:
		http.NotFound(rw, r)
	}
}

func answer(rw http.ResponseWriter, status int, v any) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(v)
}

// forward is what a kubelet does.
func (w *world) forward(rw http.ResponseWriter, r *http.Request) {
	if _, err := httpstream.Handshake(r, rw, []string{portforward.PortForwardProtocolV1Name}); err != nil {
		return
	}
	streams := make(chan httpstream.Stream, 10)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(rw, r, func(s httpstream.Stream, _ <-chan struct{}) error {
		streams <- s
		return nil
	})
	if conn == nil {
		return
	}
	defer conn.Close()
	for {
		select {
		case <-conn.CloseChan():
			return
		case failed := <-streams: // the stream for errors comes first
			data := <-streams
			if data.Headers().Get(corev1.PortHeader) != "8080" {
				w.t.Errorf("forwards port %v", data.Headers())
			}
			go w.connect(failed, data)
		}
	}
}

func (w *world) connect(failed, data httpstream.Stream) {
	defer failed.Close()
	defer data.Close()
	w.mutex.Lock()
	away := w.away
	w.mutex.Unlock()
	if away {
		_, _ = io.WriteString(failed, "dial tcp 127.0.0.1:8080: connection refused")
		return
	}
	c, err := net.Dial("tcp", w.server.Listener.Addr().String())
	if err != nil {
		w.t.Error(err)
		return
	}
	defer c.Close()
	go func() {
		_, _ = io.Copy(c, data)
		c.Close()
	}()
	_, _ = io.Copy(data, c)
}

func (w *world) open(ctx context.Context) (*Tunnel, error) {
	config := &rest.Config{Host: w.api.URL, TLSClientConfig: rest.TLSClientConfig{
		CAData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.api.Certificate().Raw}),
	}}
	c, err := cluster.NewClient(config, "test", io.Discard)
	if err != nil {
		w.t.Fatal(err)
	}
	return Open(ctx, Options{Config: config, Client: c, Namespace: namespace})
}

func (w *world) mustOpen() *Tunnel {
	w.t.Helper()
	tunnel, err := w.open(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(tunnel.Close)
	return tunnel
}

// get asks the server through the tunnel.
func (w *world) get(tunnel *Tunnel, path string) (status int, text string, err error) {
	w.t.Helper()
	resp, err := tunnel.HTTP.Get(tunnel.URL + path)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func TestTunnel(t *testing.T) {
	w := newWorld(t, serverName)
	tunnel := w.mustOpen()
	for range 3 {
		if _, text, err := w.get(tunnel, "/"); err != nil || text != "HTTP/2.0 portcullis.security.svc:8080 Bearer the-token" {
			t.Fatalf("the server was told %q, %v", text, err)
		}
	}
	if status, _, err := w.get(tunnel, "/elsewhere"); err != nil || status != http.StatusFound {
		t.Errorf("a redirect was followed: %d, %v", status, err)
	}
}

// TestTheServerIsVerified: one that the cluster's trust does not vouch for learns no token.
func TestTheServerIsVerified(t *testing.T) {
	w := newWorld(t, "portcullis.elsewhere.svc")
	if _, text, err := w.get(w.mustOpen(), "/"); err == nil || !strings.Contains(err.Error(), serverName) {
		t.Errorf("a certificate of another name: %q, %v", text, err)
	}
	w = newWorld(t, serverName)
	w.trust = newWorld(t, serverName).trust
	if _, text, err := w.get(w.mustOpen(), "/"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of another authority: %q, %v", text, err)
	}
}

func TestACallSaysWhyTheTunnelFailed(t *testing.T) {
	w := newWorld(t, serverName)
	tunnel := w.mustOpen()
	w.mutex.Lock()
	w.away = true
	w.mutex.Unlock()
	if _, _, err := w.get(tunnel, "/"); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	forbidden := metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: "it is forbidden: you may not"}
	denied := metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: "admission webhook denied the request: under investigation"}
	absent := metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound, Message: "not found"}
	for name, tc := range map[string]struct {
		change func(*world)
		want   []string
	}{
		"not installed":            {func(w *world) { w.pods = nil }, []string{"no pod of Portcullis' server in the namespace security", "--portcullis-namespace"}},
		"not ready":                {func(w *world) { w.pods = []corev1.Pod{pod("portcullis-0", false)} }, []string{"security/portcullis-0 is not ready", "portcullisctl doctor"}},
		"another chart":            {func(w *world) { w.pods[1].Spec.Containers = nil }, []string{`no port "metrics"`}},
		"no trust yet":             {func(w *world) { w.trust = nil }, []string{"portcullis-trust has no certificate"}},
		"no account":               {func(w *world) { w.refuse["serviceaccounts/portcullis-reader/token"] = absent }, []string{"portcullis-reader", "helm upgrade"}},
		"no right to list pods":    {func(w *world) { w.refuse["pods"] = forbidden }, []string{"you may not", "--role=portcullis-sessions"}},
		"no right to the trust":    {func(w *world) { w.refuse["configmaps/portcullis-trust"] = forbidden }, []string{"you may not", "-n security create rolebinding"}},
		"no right to a token":      {func(w *world) { w.refuse["serviceaccounts/portcullis-reader/token"] = forbidden }, []string{"you may not", "--role=portcullis-sessions"}},
		"no right to port-forward": {func(w *world) { w.refuse["pods/portcullis-0/portforward"] = forbidden }, []string{"forward a port to pod security/portcullis-0", "you may not", "--role=portcullis-sessions"}},
		"denied":                   {func(w *world) { w.refuse["pods/portcullis-0/portforward"] = denied }, []string{"under investigation"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, serverName)
			tc.change(w)
			tunnel, err := w.open(t.Context())
			if err == nil {
				tunnel.Close()
				t.Fatal("no error")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is missing in %q", want, err)
				}
			}
			if name == "denied" && strings.Contains(err.Error(), "rolebinding") {
				t.Errorf("a role helps nobody who is denied: %q", err)
			}
		})
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	w := newWorld(t, serverName)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.open(ctx); err == nil {
		t.Error("no error")
	}
}
