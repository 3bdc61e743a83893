package pki

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/portcullis-dev/portcullis/test/apiserver"
)

const (
	testNamespace = "portcullis"
	servingSecret = "portcullis-serving"
	sinkSecret    = "portcullis-sink-ca"
	trustMap      = "portcullis-trust"
	webhookName   = "portcullis"
)

// clock is a settable wall clock.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// installed is a cluster as the chart leaves it: all objects exist, empty.
func installed(t testing.TB) client.Client {
	t.Helper()
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: testNamespace, Name: name} }
	return fake.NewClientBuilder().WithObjects(
		&corev1.Secret{ObjectMeta: meta(servingSecret)},
		&corev1.Secret{ObjectMeta: meta(sinkSecret)},
		&corev1.ConfigMap{ObjectMeta: meta(trustMap)},
		validating(),
	).Build()
}

func newTestStore(t testing.TB, c Client, now func() time.Time) *Store {
	t.Helper()
	s, err := NewStore(StoreOptions{
		Client: c, Namespace: testNamespace, ServingSecret: servingSecret, SinkCASecret: sinkSecret,
		Clock: now, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatalf("new store: %v", err)
	}
	return s
}

func ensureServing(t testing.TB, s *Store, names ...string) Serving {
	t.Helper()
	serving, err := s.EnsureServing(context.Background(), names)
	if err != nil {
		t.Fatalf("ensure serving: %v", err)
	}
	return serving
}

func secretData(t testing.TB, c client.Client, name string) *corev1.Secret {
	t.Helper()
	var secret corev1.Secret
	if err := c.Get(context.Background(), client.ObjectKey{Namespace: testNamespace, Name: name}, &secret); err != nil {
		t.Fatalf("get secret: %v", err)
	}
	return &secret
}

func TestEnsureIsStable(t *testing.T) {
	c, now := installed(t), &clock{now: start}
	first := ensureServing(t, newTestStore(t, c, now.Now), "portcullis.portcullis.svc")
	before := secretData(t, c, servingSecret)
	// A restart, one month later: nothing is written.
	now.advance(30 * 24 * time.Hour)
	second := ensureServing(t, newTestStore(t, c, now.Now), "portcullis.portcullis.svc")
	if !first.Pair.Certificate().Equal(second.Pair.Certificate()) {
		t.Error("a restart issued another certificate")
	}
	if diff := cmp.Diff(before.ResourceVersion, secretData(t, c, servingSecret).ResourceVersion); diff != "" {
		t.Errorf("the Secret was written again: %s", diff)
	}
	if got := first.Pair.Certificate().NotAfter; !got.Equal(start.Add(DefaultLeafLifetime)) {
		t.Errorf("the certificate ends %s", got)
	}
}

func TestReplicasAgree(t *testing.T) { replicasAgree(t, installed(t)) }

// TestReplicasAgreeOnARealServer does the same where conflicts are the API server's.
func TestReplicasAgreeOnARealServer(t *testing.T) {
	server := apiserver.Start(t, apiserver.Options{WithoutCRDs: true})
	c, err := client.New(server.Config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, obj := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testNamespace}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: servingSecret}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: sinkSecret}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: trustMap}},
		validating(),
	} {
		if err := c.Create(context.Background(), obj); err != nil {
			t.Fatalf("install %T: %v", obj, err)
		}
	}
	replicasAgree(t, c)
	m := newTestManager(t, c, (&clock{now: start}).Now)
	ensure(t, m)
	if err := m.Publish(context.Background()); err != nil {
		t.Fatalf("publish: %v", err)
	}
	want := string(m.ServingTrust().PEM())
	text, bundles := trustOf(t, c)
	if text != want || len(bundles) != 2 || string(bundles[0]) != want || string(bundles[1]) != want {
		t.Errorf("published %.60q and %.200q", text, bundles)
	}
}

// validating is a webhook configuration as the chart installs it: without a CA.
func validating() *admissionv1.ValidatingWebhookConfiguration {
	url, none := "https://127.0.0.1:9443/", admissionv1.SideEffectClassNone
	config := &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: webhookName}}
	for _, name := range []string{"exec.portcullis.dev", "other.portcullis.dev"} {
		config.Webhooks = append(config.Webhooks, admissionv1.ValidatingWebhook{
			Name: name, ClientConfig: admissionv1.WebhookClientConfig{URL: &url},
			SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
		})
	}
	return config
}

func replicasAgree(t *testing.T, c Client) {
	t.Helper()
	const replicas = 6
	certs := make([]string, replicas)
	sinks := make([]string, replicas)
	var wg sync.WaitGroup
	for i := range replicas {
		wg.Go(func() {
			s := newTestStore(t, c, (&clock{now: start}).Now)
			serving, err := s.EnsureServing(context.Background(), []string{"portcullis.svc"})
			if err != nil {
				t.Errorf("replica %d: %v", i, err)
				return
			}
			sink, err := s.EnsureSinkCA(context.Background())
			if err != nil {
				t.Errorf("replica %d: %v", i, err)
				return
			}
			certs[i], sinks[i] = string(serving.Pair.CertificatePEM()), string(sink.PEM())
		})
	}
	wg.Wait()
	for i := range replicas {
		if certs[i] != certs[0] || sinks[i] != sinks[0] {
			t.Errorf("replica %d has other certificates than replica 0", i)
		}
	}
}

func TestLeafIsIssuedAnew(t *testing.T) {
	names := []string{"portcullis.svc", "10.0.0.1"}
	for name, tc := range map[string]struct {
		before func(*testing.T, client.Client, *clock)
		names  []string
		anew   bool
		want   []string
	}{
		"nothing changed":         {names: names, want: names},
		"two thirds are not over": {before: wait(59 * 24 * time.Hour), names: names, want: names},
		"two thirds are over":     {before: wait(60 * 24 * time.Hour), names: names, anew: true, want: names},
		"another name":            {names: []string{"10.0.0.2"}, anew: true, want: []string{"10.0.0.2", "portcullis.svc", "10.0.0.1"}},
		"fewer names":             {names: names[:1], want: names},
		"fewer names when due":    {before: wait(60 * 24 * time.Hour), names: names[:1], anew: true, want: names[:1]},
		"an IP written otherwise": {names: []string{"::ffff:10.0.0.1"}, want: names},
		"the key was lost":        {before: set(servingSecret, KeyPrivateKey, ""), names: names, anew: true, want: names},
		"the key is broken":       {before: set(servingSecret, KeyPrivateKey, "rubbish"), names: names, anew: true, want: names},
		"the certificate is gone": {before: set(servingSecret, KeyCertificate, ""), names: names, anew: true, want: names},
	} {
		t.Run(name, func(t *testing.T) {
			c, now := installed(t), &clock{now: start}
			s := newTestStore(t, c, now.Now)
			first := ensureServing(t, s, names...)
			if tc.before != nil {
				tc.before(t, c, now)
			}
			second := ensureServing(t, s, tc.names...)
			if anew := !first.Pair.Certificate().Equal(second.Pair.Certificate()); anew != tc.anew {
				t.Errorf("issued anew: %v, want %v", anew, tc.anew)
			}
			got := certificateNames(second.Pair.Certificate())
			if diff := cmp.Diff(sorted(tc.want), sorted(got)); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(string(first.Trust.PEM()), string(second.Trust.PEM())); diff != "" {
				t.Errorf("the CA changed:\n%s", diff)
			}
		})
	}
}

func TestLeafOfAnotherCAIsReplaced(t *testing.T) {
	c := installed(t)
	s := newTestStore(t, c, (&clock{now: start}).Now)
	first := ensureServing(t, s, "portcullis.svc")
	set(servingSecret, KeyCACertificate, "")(t, c, nil)
	set(servingSecret, KeyCAKey, "")(t, c, nil)
	second := ensureServing(t, s, "portcullis.svc")
	if first.Trust[0].Equal(second.Trust[0]) {
		t.Fatal("emptying the Secret did not make a new CA")
	}
	if err := second.Pair.Certificate().CheckSignatureFrom(second.Trust[0]); err != nil {
		t.Errorf("the certificate is still the old CA's: %v", err)
	}
}

func TestCAIsNeverReplaced(t *testing.T) {
	for name, tc := range map[string]struct {
		before func(*testing.T, client.Client, *clock)
		want   string
	}{
		"key lost":           {set(sinkSecret, KeyCAKey, ""), "read CA key: no PEM block"},
		"certificate lost":   {set(sinkSecret, KeyCACertificate, ""), "read CA certificates: no PEM block"},
		"key broken":         {set(sinkSecret, KeyCAKey, "rubbish"), "read CA key"},
		"certificate broken": {set(sinkSecret, KeyCACertificate, "rubbish"), "read CA certificates"},
	} {
		t.Run(name, func(t *testing.T) {
			c := installed(t)
			s := newTestStore(t, c, (&clock{now: start}).Now)
			if _, err := s.EnsureSinkCA(context.Background()); err != nil {
				t.Fatal(err)
			}
			tc.before(t, c, nil)
			before := secretData(t, c, sinkSecret)
			_, err := s.EnsureSinkCA(context.Background())
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "Secret portcullis/portcullis-sink-ca") {
				t.Errorf("got error %v, want one that names the Secret and has %q", err, tc.want)
			}
			if diff := cmp.Diff(before, secretData(t, c, sinkSecret)); diff != "" {
				t.Errorf("the Secret was written:\n%s", diff)
			}
		})
	}
}

// verify fails unless a client with that trust and the right time accepts the certificate.
func verify(t *testing.T, pair *Pair, trust Bundle, now time.Time, usage x509.ExtKeyUsage) {
	t.Helper()
	if _, err := pair.Certificate().Verify(x509.VerifyOptions{
		Roots: trust.Pool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
	}); err != nil {
		t.Errorf("at %s: %v", now.Format(time.RFC3339), err)
	}
}

// A server whose clock was ahead has made everything: all of it is good at once when the clock is
// right, for who reads the trust anew, and later on for who still has the old one.
func TestWhatAClockAheadHasMadeIsMadeAnew(t *testing.T) {
	const by = 100 * 24 * time.Hour
	c, now := installed(t), &clock{now: start.Add(by)}
	s := newTestStore(t, c, now.Now)
	before := ensureServing(t, s, "portcullis.svc", "old.svc")
	sinkBefore, err := s.EnsureSinkCA(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	now.advance(-by)
	client, err := s.IssueSinkClient(t.Context(), "cp-1", 365*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	sink, err := s.EnsureSinkCA(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	after := ensureServing(t, s, "portcullis.svc")
	verify(t, after.Pair, after.Trust, start, x509.ExtKeyUsageServerAuth)
	verify(t, client, sink, start, x509.ExtKeyUsageClientAuth)
	if diff := cmp.Diff(sorted([]string{"portcullis.svc", "old.svc"}), sorted(certificateNames(after.Pair.Certificate()))); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	// Who was given the old trust, as the API servers are by people.
	then := start.Add(by)
	now.advance(by)
	verify(t, ensureServing(t, s, "portcullis.svc").Pair, before.Trust, then, x509.ExtKeyUsageServerAuth)
	verify(t, client, sinkBefore, then, x509.ExtKeyUsageClientAuth)
	verify(t, before.Pair, after.Trust, then, x509.ExtKeyUsageServerAuth)
	for name, b := range map[string]Bundle{"serving": after.Trust, "sink": sink} {
		if len(b) != 2 || !b[0].NotAfter.Equal(start.Add(DefaultCALifetime)) {
			t.Errorf("the trust of %s has %d certificates, the first until %s", name, len(b), b[0].NotAfter)
		}
	}
}

// Replicas whose clocks differ do not take the certificates from each other.
func TestReplicasWithOtherClocksAgree(t *testing.T) {
	for name, skew := range map[string]time.Duration{"within the tolerance": backdate, "beyond it": time.Hour} {
		t.Run(name, func(t *testing.T) {
			c, now := installed(t), &clock{now: start}
			right := newTestStore(t, c, now.Now)
			fast := newTestStore(t, c, func() time.Time { return now.Now().Add(skew) })
			first := ensureServing(t, fast, "portcullis.svc")
			second := ensureServing(t, right, "portcullis.svc")
			if anew := !first.Pair.Certificate().Equal(second.Pair.Certificate()); anew != (skew > backdate) || (len(second.Trust) == 2) != anew {
				t.Errorf("issued anew: %v, and %d certificates are trusted", anew, len(second.Trust))
			}
			version := secretData(t, c, servingSecret).ResourceVersion
			for _, s := range []*Store{fast, right, fast} {
				ensureServing(t, s, "portcullis.svc")
			}
			if diff := cmp.Diff(version, secretData(t, c, servingSecret).ResourceVersion); diff != "" {
				t.Errorf("the Secret was written again: %s", diff)
			}
		})
	}
}

// An authority that another one has signed stays as it is, and so does a bundle that is full.
func TestCAIsNotMadeAnewByWhoCannot(t *testing.T) {
	root := newTestCA(t)
	foreign, err := root.again(start.Add(time.Hour), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	template := *foreign.signer
	template.Subject.CommonName, template.RawSubject = "intermediate", nil
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	template.SubjectKeyId, template.SerialNumber = nil, nil
	der, err := x509.CreateCertificate(rand.Reader, &template, root.signer, key.Public(), root.key)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	for name, ca := range map[string]*CA{
		"signed by another": {signer: signed, key: key, bundle: Bundle{signed}},
		"full":              {signer: foreign.signer, key: root.key, bundle: slices.Repeat(Bundle{foreign.signer}, maxBundle)},
	} {
		t.Run(name, func(t *testing.T) {
			c := installed(t)
			s := newTestStore(t, c, (&clock{now: start}).Now)
			if _, err := s.EnsureSinkCA(t.Context()); err != nil {
				t.Fatal(err)
			}
			set(sinkSecret, KeyCACertificate, string(ca.bundle.PEM()))(t, c, nil)
			set(sinkSecret, KeyCAKey, string(keyOf(t, ca)))(t, c, nil)
			got, err := s.EnsureSinkCA(t.Context())
			if err != nil || len(got) != len(ca.bundle) || !got[0].Equal(ca.signer) {
				t.Errorf("trusts %d certificates (%v)", len(got), err)
			}
		})
	}
}

func TestMissingSecretIsNamed(t *testing.T) {
	c := installed(t)
	if err := c.Delete(context.Background(), secretData(t, c, servingSecret)); err != nil {
		t.Fatal(err)
	}
	_, err := newTestStore(t, c, (&clock{now: start}).Now).EnsureServing(context.Background(), []string{"x"})
	if err == nil || !strings.Contains(err.Error(), "Secret portcullis/portcullis-serving does not exist") {
		t.Errorf("got error %v", err)
	}
}

func TestIssueSinkClient(t *testing.T) {
	s := newTestStore(t, installed(t), (&clock{now: start}).Now)
	pair, err := s.IssueSinkClient(context.Background(), "cp-1.example.com", 24*time.Hour)
	if err != nil {
		t.Fatalf("issue: %v", err)
	}
	if got := pair.Certificate().Subject.CommonName; got != "apiserver:cp-1.example.com" {
		t.Errorf("common name %q", got)
	}
	trust, err := s.EnsureSinkCA(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := pair.Certificate().CheckSignatureFrom(trust[0]); err != nil {
		t.Errorf("not signed by the sink CA: %v", err)
	}
	for _, name := range []string{"", "a b", "../x", strings.Repeat("x", 60)} {
		if _, err := s.IssueSinkClient(context.Background(), name, time.Hour); err == nil {
			t.Errorf("issued a certificate for the API server %q", name)
		}
	}
}

func TestServingTrustChangesNothing(t *testing.T) {
	c := installed(t)
	s := newTestStore(t, c, (&clock{now: start}).Now)
	if _, err := s.ServingTrust(context.Background()); err == nil || !strings.Contains(err.Error(), "there is no CA yet") {
		t.Errorf("got error %v", err)
	}
	serving := ensureServing(t, s, "portcullis.svc")
	trust, err := s.ServingTrust(context.Background())
	if err != nil || !trust[0].Equal(serving.Trust[0]) {
		t.Errorf("got another CA (%v)", err)
	}
}

func TestNewStoreNamesTheField(t *testing.T) {
	full := StoreOptions{
		Client: installed(t), Namespace: "n", ServingSecret: "a", SinkCASecret: "b",
		Clock: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
	for field, empty := range map[string]func(*StoreOptions){
		"Client":        func(o *StoreOptions) { o.Client = nil },
		"Namespace":     func(o *StoreOptions) { o.Namespace = "" },
		"ServingSecret": func(o *StoreOptions) { o.ServingSecret = "" },
		"SinkCASecret":  func(o *StoreOptions) { o.SinkCASecret = "" },
		"same Secret":   func(o *StoreOptions) { o.SinkCASecret = "a" },
		"LeafLifetime":  func(o *StoreOptions) { o.LeafLifetime = -1 },
		"Clock":         func(o *StoreOptions) { o.Clock = nil },
		"Logger":        func(o *StoreOptions) { o.Logger = nil },
	} {
		o := full
		empty(&o)
		if _, err := NewStore(o); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got error %v", field, err)
		}
	}
}

func wait(d time.Duration) func(*testing.T, client.Client, *clock) {
	return func(_ *testing.T, _ client.Client, now *clock) { now.advance(d) }
}

// set overwrites one key of a Secret, as an accident would.
func set(secret, key, value string) func(*testing.T, client.Client, *clock) {
	return func(t *testing.T, c client.Client, _ *clock) {
		t.Helper()
		s := secretData(t, c, secret)
		s.Data[key] = []byte(value)
		if err := c.Update(context.Background(), s); err != nil {
			t.Fatalf("damage the Secret: %v", err)
		}
	}
}
