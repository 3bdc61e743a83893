package pki_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/portcullis-dev/portcullis/pki"
	"github.com/portcullis-dev/portcullis/test/apiserver"
)

// slowEnv has tests run that need minutes.
const slowEnv = "PORTCULLIS_SLOW_TESTS"

// reloadEvery is how often a client of Kubernetes 1.36 and later reads its file of CAs again (caRefreshDuration in
// k8s.io/client-go/transport). Before 1.36 it does that never: the API server has to be started again.
const reloadEvery = 5 * time.Minute

// TestSinkCAIsReplacedUnderARunningAPIServer takes minutes: that is how often API servers read the file.
func TestSinkCAIsReplacedUnderARunningAPIServer(t *testing.T) {
	if os.Getenv(slowEnv) == "" {
		t.Skipf("%s is not set: this takes %s", slowEnv, 2*reloadEvery)
	}
	s := newSink(t)
	s.mustHear("before", time.Minute)
	first := s.manager.SinkTrust()

	s.must(s.store.BeginSinkCA(t.Context()))
	s.check()
	s.writeTrust()
	s.mustHear("both are trusted by the sink", time.Minute)
	time.Sleep(reloadEvery) // nothing tells when the file is read again
	s.mustHear("both are trusted by the API server", time.Minute)
	s.must(s.store.FinishSinkCA(t.Context()))
	s.check()
	s.mustHear("the sink shows a certificate of the next CA, the API server one of the old", time.Minute)
	if s.shown().CheckSignatureFrom(first[0]) == nil {
		t.Error("the sink shows a certificate of the old CA")
	}
	s.writeClient()
	s.mustHear("both show certificates of the next CA", reloadEvery)
	// A client that ends a connection before it is used is no matter.
	if said := s.refused.String(); strings.Contains(said, "certificate") {
		t.Errorf("handshakes failed:\n%s", said)
	}
}

// sink is an audit sink with a real API server that reports to it.
type sink struct {
	t       *testing.T
	dir     string
	admin   *kubernetes.Clientset
	store   *pki.Store
	manager *pki.Manager
	heard   chan string
	refused locked
	server  *httptest.Server
}

func newSink(t *testing.T) *sink {
	t.Helper()
	in := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: namespace, Name: name} }
	s := &sink{t: t, dir: t.TempDir(), heard: make(chan string, 1000)}
	objects := fake.NewClientBuilder().WithObjects(
		&corev1.Secret{ObjectMeta: in("serving")}, &corev1.Secret{ObjectMeta: in("sink")}, &corev1.ConfigMap{ObjectMeta: in("trust")},
	).Build()
	s.newManager(objects)
	s.check()
	s.server = httptest.NewUnstartedServer(s)
	s.server.EnableHTTP2 = true
	s.server.TLS = s.manager.SinkTLS()
	s.server.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(&s.refused, nil), slog.LevelError)
	s.server.StartTLS()
	t.Cleanup(s.server.Close)
	s.writeTrust()
	s.writeClient()
	api := apiserver.Start(t, apiserver.Options{WithoutCRDs: true, Args: []string{
		"--audit-policy-file=" + s.write("policy.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"),
		"--audit-webhook-config-file=" + s.write("kubeconfig", fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: p,
clusters: [{name: p, cluster: {server: "https://%s/audit/cp-1", certificate-authority: %s/ca.crt}}],
users: [{name: p, user: {client-certificate: %s/client.crt, client-key: %s/client.key}}],
contexts: [{name: p, context: {cluster: p, user: p}}]}`, s.server.Listener.Addr().(*net.TCPAddr), s.dir, s.dir, s.dir)),
		"--audit-webhook-mode=batch", "--audit-webhook-batch-max-wait=100ms", "--audit-webhook-initial-backoff=1s",
	}})
	var err error
	if s.admin, err = kubernetes.NewForConfig(api.Config); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *sink) newManager(objects client.Client) {
	var err error
	s.store, err = pki.NewStore(pki.StoreOptions{
		Client: objects, Namespace: namespace, ServingSecret: "serving", SinkCASecret: "sink",
		Clock: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	s.must(err)
	s.manager, err = pki.NewManager(pki.Options{
		Store: s.store, Names: func(context.Context) ([]string, error) { return []string{"127.0.0.1"}, nil },
		TrustConfigMap: "trust", Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	s.must(err)
}

// ServeHTTP takes events, and has the next ones come over another connection.
func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.Header().Set("Connection", "close")
	select {
	case s.heard <- string(body):
	default:
	}
}

// mustHear asks the API server for something that nobody else does, and waits until the sink has heard of it, several times.
func (s *sink) mustHear(what string, within time.Duration) {
	s.t.Helper()
	timeout := time.After(within)
	for i := range 5 {
		path := fmt.Sprintf("/version/%d/%d", time.Now().UnixNano(), i)
		_ = s.admin.RESTClient().Get().AbsPath(path).Do(s.t.Context()).Error() // it is not found
		for heard := false; !heard; {
			select {
			case body := <-s.heard:
				heard = bytes.Contains([]byte(body), []byte(path))
			case <-timeout:
				s.t.Fatalf("%s: the sink hears nothing of %s; it says:\n%s", what, path, s.refused.String())
			}
		}
	}
}

func (s *sink) check() {
	s.t.Helper()
	s.must(pki.Check(s.t.Context(), s.manager))
}

func (s *sink) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *sink) write(name, text string) string {
	s.t.Helper()
	name = filepath.Join(s.dir, name)
	s.must(os.WriteFile(name+".new", []byte(text), 0o600))
	s.must(os.Rename(name+".new", name))
	return name
}

func (s *sink) writeTrust() { s.write("ca.crt", string(s.manager.SinkTrust().PEM())) }

func (s *sink) writeClient() {
	s.t.Helper()
	pair, err := s.store.IssueSinkClient(s.t.Context(), "cp-1", time.Hour)
	s.must(err)
	s.must(pair.WriteFiles(filepath.Join(s.dir, "client.crt"), filepath.Join(s.dir, "client.key")))
}

// shown is the certificate that the sink shows.
func (s *sink) shown() *x509.Certificate {
	s.t.Helper()
	config, err := s.manager.SinkTLS().GetConfigForClient(nil)
	s.must(err)
	return config.Certificates[0].Leaf
}

// locked is a buffer for several writers.
type locked struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
