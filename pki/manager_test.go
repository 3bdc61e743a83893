package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sorted(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}

func newTestManager(t testing.TB, c Client, now func() time.Time) *Manager {
	t.Helper()
	m, err := NewManager(Options{
		Store:          newTestStore(t, c, now),
		Names:          func(context.Context) ([]string, error) { return []string{"portcullis.svc", "127.0.0.1"}, nil },
		TrustConfigMap: trustMap, WebhookConfiguration: webhookName,
		CheckInterval: 5 * time.Millisecond,
		Logger:        slog.New(slog.DiscardHandler),
		Registerer:    prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatalf("new manager: %v", err)
	}
	return m
}

func ensure(t testing.TB, m *Manager) {
	t.Helper()
	if err := m.Ensure(context.Background()); err != nil {
		t.Fatalf("ensure: %v", err)
	}
}

func trustOf(t testing.TB, c client.Client) (string, [][]byte) {
	t.Helper()
	var cm corev1.ConfigMap
	if err := c.Get(context.Background(), client.ObjectKey{Namespace: testNamespace, Name: trustMap}, &cm); err != nil {
		t.Fatal(err)
	}
	var config admissionv1.ValidatingWebhookConfiguration
	if err := c.Get(context.Background(), client.ObjectKey{Name: webhookName}, &config); err != nil {
		t.Fatal(err)
	}
	bundles := make([][]byte, 0, len(config.Webhooks))
	for _, w := range config.Webhooks {
		bundles = append(bundles, w.ClientConfig.CABundle)
	}
	return cm.Data["ca.crt"], bundles
}

func TestPublish(t *testing.T) {
	c := installed(t)
	m := newTestManager(t, c, (&clock{now: start}).Now)
	if err := m.Publish(context.Background()); !errors.Is(err, errNotReady) {
		t.Errorf("publish before ensure: %v", err)
	}
	ensure(t, m)
	for range 2 {
		if err := m.Publish(context.Background()); err != nil {
			t.Fatalf("publish: %v", err)
		}
	}
	want := string(m.ServingTrust().PEM())
	text, bundles := trustOf(t, c)
	if text != want {
		t.Errorf("the ConfigMap holds %.60q", text)
	}
	if len(bundles) != 2 || string(bundles[0]) != want || string(bundles[1]) != want {
		t.Errorf("the webhooks hold %.200q", bundles)
	}
	if got := testutil.ToFloat64(m.metrics.repaired.WithLabelValues("webhook_configuration")); got != 1 {
		t.Errorf("wrote the webhook configuration %v times, want once", got)
	}
}

// countingClient tells when a whole check has passed.
type countingClient struct {
	client.Client
	checks chan struct{}
	fail   atomic.Bool
}

func (c *countingClient) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if c.fail.Load() {
		return errors.New("the API server is away")
	}
	err := c.Client.Get(ctx, key, obj, opts...)
	if _, last := obj.(*admissionv1.ValidatingWebhookConfiguration); last {
		select {
		case c.checks <- struct{}{}:
		default:
		}
	}
	return err
}

func TestRunRepairs(t *testing.T) {
	c := &countingClient{Client: installed(t), checks: make(chan struct{})}
	now := &clock{now: start}
	m := newTestManager(t, c, now.Now)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- m.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}()

	pass := func() { <-c.checks; <-c.checks } // the second one began after the first ended
	pass()
	first, err := m.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}

	var cm corev1.ConfigMap
	if err = c.Client.Get(ctx, client.ObjectKey{Namespace: testNamespace, Name: trustMap}, &cm); err != nil {
		t.Fatal(err)
	}
	cm.Data = map[string]string{"other": "stays"}
	if err = c.Update(ctx, &cm); err != nil {
		t.Fatal(err)
	}
	now.advance(70 * 24 * time.Hour)
	pass()
	text, _ := trustOf(t, c.Client)
	if text != string(m.ServingTrust().PEM()) {
		t.Errorf("the trust was not put back: %.60q", text)
	}
	second, err := m.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if first.Leaf.Equal(second.Leaf) {
		t.Error("the certificate was not renewed")
	}
}

func TestFailedCheckKeepsWhatIsInForce(t *testing.T) {
	c := &countingClient{Client: installed(t), checks: make(chan struct{})}
	m := newTestManager(t, c, (&clock{now: start}).Now)
	ensure(t, m)
	c.fail.Store(true)
	if err := m.check(context.Background()); err == nil || !strings.Contains(err.Error(), "the API server is away") {
		t.Errorf("check: %v", err)
	}
	if _, err := m.GetCertificate(nil); err != nil {
		t.Errorf("the certificate is gone: %v", err)
	}
}

func TestSinkHandshake(t *testing.T) {
	c, now := installed(t), time.Now()
	m := newTestManager(t, c, func() time.Time { return now })
	if _, err := m.GetCertificate(nil); !errors.Is(err, errNotReady) {
		t.Errorf("before ensure: %v", err)
	}
	ensure(t, m)
	issue := func(ca *CA, now time.Time) tls.Certificate {
		t.Helper()
		pair, err := ca.IssueClient("apiserver:cp-1", now, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		out, err := pair.TLS()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	s := secretData(t, c, sinkSecret)
	sinkCA, err := ParseCA(s.Data[KeyCACertificate], s.Data[KeyCAKey])
	if err != nil {
		t.Fatal(err)
	}
	s = secretData(t, c, servingSecret)
	servingCA, err := ParseCA(s.Data[KeyCACertificate], s.Data[KeyCAKey])
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := NewCA(sinkCAName, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	roots, others := m.SinkTrust().Pool(), m.ServingTrust().Pool()
	for name, tc := range map[string]struct {
		client []tls.Certificate
		roots  *x509.CertPool
		ok     bool
	}{
		"right":                      {[]tls.Certificate{issue(sinkCA, now)}, roots, true},
		"no certificate":             {nil, roots, false},
		"expired":                    {[]tls.Certificate{issue(sinkCA, now.Add(-2*time.Hour))}, roots, false},
		"of a CA of the same name":   {[]tls.Certificate{issue(foreign, now)}, roots, false},
		"of the serving CA":          {[]tls.Certificate{issue(servingCA, now)}, roots, false},
		"client trusts someone else": {[]tls.Certificate{issue(sinkCA, now)}, others, false},
	} {
		err := handshake(t, m.SinkTLS(), &tls.Config{RootCAs: tc.roots, Certificates: tc.client, ServerName: "127.0.0.1"})
		if (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := handshake(t, m.ServerTLS(), &tls.Config{RootCAs: others, ServerName: "portcullis.svc"}); err != nil {
		t.Errorf("plain server endpoint: %v", err)
	}
	if err := handshake(t, m.ServerTLS(), &tls.Config{RootCAs: others, ServerName: "example.com"}); err == nil {
		t.Error("the certificate is good for any name")
	}
}

// handshake connects over loopback and reads one byte, since with TLS 1.3 a
// client learns only then that its certificate was refused.
func handshake(t testing.TB, server, dial *tls.Config) error {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		accepted, failed := lis.Accept()
		if failed != nil {
			return
		}
		defer accepted.Close()
		_, _ = tls.Server(accepted, server).Write([]byte{1})
	}()
	defer func() { <-served }()
	conn, err := tls.Dial("tcp", lis.Addr().String(), dial)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err
}

func TestNewManagerNamesTheField(t *testing.T) {
	full := Options{
		Store:          newTestStore(t, installed(t), time.Now),
		Names:          func(context.Context) ([]string, error) { return nil, nil },
		TrustConfigMap: "x", Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	}
	for field, empty := range map[string]func(*Options){
		"Store":          func(o *Options) { o.Store = nil },
		"Names":          func(o *Options) { o.Names = nil },
		"TrustConfigMap": func(o *Options) { o.TrustConfigMap = "" },
		"CheckInterval":  func(o *Options) { o.CheckInterval = -1 },
		"Logger":         func(o *Options) { o.Logger = nil },
		"Registerer":     func(o *Options) { o.Registerer = nil },
	} {
		o := full
		empty(&o)
		if _, err := NewManager(o); err == nil || !strings.Contains(err.Error(), "Options."+field) {
			t.Errorf("%s: got error %v", field, err)
		}
	}
}
