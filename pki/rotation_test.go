package pki_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/pki"
	"github.com/portcullis-dev/portcullis/test/apiserver"
	"github.com/portcullis-dev/portcullis/webhook"
)

// The overlap passes on a clock of its own. All of them together must stay below what certificates are
// backdated by: the API server's clock is another.
const (
	overlap   = 20 * time.Second
	namespace = "portcullis"
	replicas  = 2
)

// TestNoAdmissionFailsWhileEverythingIsReplaced has a real API server ask two replicas, with
// failurePolicy Fail, while certificate, path and CA are replaced again and again.
func TestNoAdmissionFailsWhileEverythingIsReplaced(t *testing.T) {
	s := newSite(t)
	if err := s.ask(t.Context()); err == nil || !strings.Contains(err.Error(), "failed calling webhook") {
		t.Fatalf("a call that fails does not show: %v", err)
	}
	s.check(0, 1)
	s.seen()
	stop := s.load()
	for round := range 2 {
		s.replaceCertificate()
		s.replacePath()
		s.replaceCA()
		t.Logf("round %d: %d requests, %d handshakes", round, s.asked.Load(), s.handshakes.Load())
	}
	stop()
	if n := s.failed.Load(); n > 0 {
		t.Errorf("%d of %d admissions failed", n, s.asked.Load())
	}
	if s.asked.Load() < 100 || s.handshakes.Load() < 20 {
		t.Errorf("%d requests over %d connections show nothing", s.asked.Load(), s.handshakes.Load())
	}
}

// site is a cluster with some replicas of the server.
type site struct {
	t       *testing.T
	objects client.Client
	admin   *kubernetes.Clientset
	store   *pki.Store
	servers []*pki.Manager
	url     string

	ahead   atomic.Int64
	turn    atomic.Int64
	timeout int32
	told    sync.Map // of timeouts that the API server has sent

	asked, failed, handshakes atomic.Int64
}

func newSite(t *testing.T) *site {
	t.Helper()
	api := apiserver.Start(t, apiserver.Options{WithoutCRDs: true})
	s := &site{t: t, timeout: 5}
	var err error
	if s.objects, err = client.New(api.Config, client.Options{}); err != nil {
		t.Fatal(err)
	}
	if s.admin, err = kubernetes.NewForConfig(api.Config); err != nil {
		t.Fatal(err)
	}
	if s.store, err = pki.NewStore(pki.StoreOptions{
		Client: s.objects, Namespace: namespace, ServingSecret: "serving", SinkCASecret: "sink",
		Overlap: overlap, Clock: s.now, Logger: slog.New(slog.DiscardHandler),
	}); err != nil {
		t.Fatal(err)
	}
	for range replicas {
		m, err := pki.NewManager(pki.Options{
			Store: s.store, Names: func(context.Context) ([]string, error) { return []string{"127.0.0.1"}, nil },
			TrustConfigMap: "trust", WebhookConfiguration: "portcullis", CheckInterval: overlap / 4,
			Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
		s.servers = append(s.servers, m)
	}
	s.serve() // From here on somebody may ask.
	s.install()
	return s
}

func (s *site) now() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }

// next is the replica that a request or connection meets: each in turn, as behind a Service.
func (s *site) next() *pki.Manager { return s.servers[int(s.turn.Add(1))%replicas] }

// KnownAdmissionPath implements webhook.Callers.
func (s *site) KnownAdmissionPath(path string) bool { return s.next().KnownAdmissionPath(path) }

// serve runs the webhook of all replicas behind one address.
func (s *site) serve() {
	h, err := webhook.New(webhook.Options{
		Judge: s, Callers: s, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.told.Store(r.URL.Query().Get("timeout"), true)
		if s.turn.Load()%5 == 0 {
			w.Header().Set("Connection", "close") // the next request comes with another handshake
		}
		h.ServeHTTP(w, r)
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.TLS = &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			s.handshakes.Add(1)
			return s.next().WebhookTLS(), nil
		},
	}
	server.StartTLS()
	s.t.Cleanup(server.Close)
	s.url = "https://" + server.Listener.Addr().(*net.TCPAddr).String() + "/"
}

// Judge implements webhook.Judge.
func (s *site) Judge(context.Context, webhook.Request) (webhook.Verdict, error) {
	return webhook.Verdict{Allowed: true}, nil
}

// install makes the objects as the chart does.
func (s *site) install() {
	fail, none := admissionv1.Fail, admissionv1.SideEffectClassNone
	in := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: namespace, Name: name} }
	for _, obj := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		&corev1.Secret{ObjectMeta: in("serving")},
		&corev1.Secret{ObjectMeta: in("sink")},
		&corev1.ConfigMap{ObjectMeta: in("trust")},
		&corev1.Pod{ObjectMeta: in("web-0"), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "busybox:1"}}}},
		&admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "portcullis"}, Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "exec.portcullis.dev", AdmissionReviewVersions: []string{"v1"}, ClientConfig: admissionv1.WebhookClientConfig{URL: &s.url},
			FailurePolicy: &fail, SideEffects: &none, TimeoutSeconds: &s.timeout,
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Connect},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods/portforward"}},
			}},
		}}},
	} {
		if err := s.objects.Create(s.t.Context(), obj); err != nil {
			s.t.Fatal(err)
		}
	}
	deadline := time.Now().Add(30 * time.Second)
	for err := s.ask(s.t.Context()); err == nil; err = s.ask(s.t.Context()) {
		if time.Now().After(deadline) {
			s.t.Fatal("the API server does not notice its configuration")
		}
		time.Sleep(20 * time.Millisecond) // nothing tells when it does
	}
}

// ask asks for a port-forward; nil means that it was admitted.
func (s *site) ask(ctx context.Context) error {
	err := s.admin.CoreV1().RESTClient().Post().AbsPath("/api/v1/namespaces", namespace, "pods/web-0/portforward").Do(ctx).Error()
	if apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "does not have a host assigned") {
		return nil
	}
	return errors.Join(err, fmt.Errorf("not admitted"))
}

// load asks all the time, until stop.
func (s *site) load() (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for ctx.Err() == nil {
				err := s.ask(ctx)
				if ctx.Err() != nil {
					return
				}
				s.asked.Add(1)
				if err != nil && s.failed.Add(1) < 5 {
					s.t.Errorf("an admission failed: %v", err)
				}
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// check has replicas check, in that order.
func (s *site) check(which ...int) {
	s.t.Helper()
	for _, i := range which {
		if err := pki.Check(s.t.Context(), s.servers[i]); err != nil {
			s.t.Fatalf("replica %d: %v", i, err)
		}
	}
}

// seen waits until the API server acts by all that its configuration says now.
func (s *site) seen() {
	s.t.Helper()
	s.timeout++
	key := client.ObjectKey{Name: "portcullis"}
	var config admissionv1.ValidatingWebhookConfiguration
	if err := s.objects.Get(s.t.Context(), key, &config); err != nil {
		s.t.Fatal(err)
	}
	config.Webhooks[0].TimeoutSeconds = &s.timeout
	if err := s.objects.Update(s.t.Context(), &config); err != nil {
		s.t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for want := fmt.Sprintf("%ds", s.timeout); ; {
		if _, ok := s.told.Load(want); ok {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatal("the API server does not notice its configuration")
		}
		_ = s.ask(s.t.Context())
	}
}

// busy waits until the API server has asked some times more.
func (s *site) busy() {
	for until := s.asked.Load() + 30; s.asked.Load() < until && s.failed.Load() == 0; {
		_ = s.ask(s.t.Context())
	}
}

func (s *site) pass() { s.ahead.Add(int64(overlap)) }

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) replaceCertificate() {
	for i := range replicas {
		before := s.leaf(i)
		s.must(s.store.RotateCertificate(s.t.Context()))
		s.busy()
		s.check(i)
		s.busy() // one has the new one, the other the old one
		s.check(1 - i)
		if s.leaf(i) == before || s.leaf(i) != s.leaf(1-i) {
			s.t.Error("the certificate is not another one, at both")
		}
	}
}

func (s *site) leaf(replica int) string {
	cert, err := s.servers[replica].GetCertificate(nil)
	s.must(err)
	return cert.Leaf.SerialNumber.String()
}

func (s *site) replacePath() {
	old := s.path()
	s.must(s.store.RotateAdmissionPath(s.t.Context()))
	s.busy()
	s.check(0)
	s.check(1)
	if s.path() != old {
		s.t.Error("the API server is told a path that a replica may not know")
	}
	s.pass()
	s.check(0)
	s.busy()
	s.seen()
	s.check(1)
	if s.path() == old || !s.servers[0].KnownAdmissionPath(old) {
		s.t.Error("the old path ends before the API server can know")
	}
	s.pass()
	s.check(1, 0)
	s.check(0, 1)
	for i, server := range s.servers {
		if server.KnownAdmissionPath(old) || !server.KnownAdmissionPath(s.path()) {
			s.t.Errorf("replica %d knows the old path, or not the new one", i)
		}
	}
}

// path is what the API server is told.
func (s *site) path() string {
	var config admissionv1.ValidatingWebhookConfiguration
	s.must(s.objects.Get(s.t.Context(), client.ObjectKey{Name: "portcullis"}, &config))
	_, path, _ := strings.Cut(strings.TrimPrefix(*config.Webhooks[0].ClientConfig.URL, "https://"), "/")
	return "/" + path
}

func (s *site) replaceCA() {
	old := s.servers[0].ServingTrust()
	s.must(s.store.RotateServingCA(s.t.Context()))
	s.busy()
	before := s.leaf(0)
	s.check(0)
	s.seen()
	s.check(1)
	if len(s.servers[0].ServingTrust()) != len(old)+1 || s.leaf(0) != before {
		s.t.Error("the next CA is not only trusted")
	}
	s.pass()
	s.check(0)
	s.busy() // one shows a certificate of the new CA, the other of the old one
	if s.leaf(0) == before || s.leaf(1) != before {
		s.t.Error("the next CA does not sign")
	}
	s.check(1)
	s.seen()
	s.pass()
	s.check(1, 0)
	s.seen()
	if trust := s.servers[0].ServingTrust(); len(trust) != 1 || trust[0].Equal(old[0]) {
		s.t.Errorf("the old CA is trusted for ever: %d certificates", len(trust))
	}
	s.busy()
}
