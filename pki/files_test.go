package pki

import (
	"context"
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// issuer is somebody else who issues certificates into files.
type issuer struct {
	t     *testing.T
	ca    *CA
	files Files
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	ca, err := NewCA("somebody's", start, 10*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	i := &issuer{t, ca, Files{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "ca.crt")}}
	i.issue()
	if err := os.WriteFile(i.files.CA, ca.Bundle().PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return i
}

func (i *issuer) issue() {
	i.t.Helper()
	pair, err := i.ca.IssueServer("portcullis", []string{"127.0.0.1"}, start, 24*time.Hour)
	if err != nil {
		i.t.Fatal(err)
	}
	if err := pair.WriteFiles(i.files.Certificate, i.files.Key); err != nil {
		i.t.Fatal(err)
	}
}

func newFilesManager(t *testing.T, change func(*Options)) (*Manager, error) {
	t.Helper()
	o := Options{
		Store:          newTestStore(t, installed(t), (&clock{now: start}).Now),
		Names:          func(context.Context) ([]string, error) { return []string{"127.0.0.1"}, nil },
		TrustConfigMap: trustMap, WebhookConfiguration: webhookName,
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	}
	change(&o)
	return NewManager(o)
}

func TestSomebodyElsesCertificateIsReadAgain(t *testing.T) {
	theirs := newIssuer(t)
	m, err := newFilesManager(t, func(o *Options) { o.Serving, o.Sink = theirs.files, theirs.files })
	if err != nil {
		t.Fatal(err)
	}
	check(t, m)
	first, err := m.GetCertificate(nil)
	if err != nil || first.Leaf.CheckSignatureFrom(theirs.ca.Certificate()) != nil {
		t.Fatalf("shown is %v, %v", first.Leaf.Subject, err)
	}
	text, bundles := trustOf(t, m.store.opts.Client.(client.Client))
	if want := string(theirs.ca.Bundle().PEM()); text != want || string(bundles[0]) != want || string(m.SinkTrust().PEM()) != want {
		t.Error("nobody is told to trust somebody else's CA")
	}
	theirs.issue()
	check(t, m)
	second, err := m.GetCertificate(nil)
	if err != nil || second.Leaf.Equal(first.Leaf) {
		t.Errorf("the new certificate is not read: %v", err)
	}
	// Halfway through being replaced, the files do not fit together.
	if err := os.WriteFile(theirs.files.Key, []byte("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.check(t.Context()); err == nil || !strings.Contains(err.Error(), theirs.files.Key) || strings.Contains(err.Error(), "c2VjcmV0") {
		t.Errorf("files that do not fit: %v", err)
	}
	if third, err := m.GetCertificate(nil); err != nil || !third.Leaf.Equal(second.Leaf) {
		t.Errorf("what was in force is not kept: %v", err)
	}
}

func TestWithoutACAFileNobodyIsToldWhatToTrust(t *testing.T) {
	theirs := newIssuer(t)
	theirs.files.CA = ""
	m, err := newFilesManager(t, func(o *Options) { o.Serving = theirs.files })
	if err != nil {
		t.Fatal(err)
	}
	check(t, m)
	text, bundles := trustOf(t, m.store.opts.Client.(client.Client))
	if text != "" || len(bundles[0]) != 0 || !m.Ready() || len(m.SinkTrust()) != 1 {
		t.Errorf("told is %q, %q, ready %v", text, bundles, m.Ready())
	}
}

func TestFilesNeedBoth(t *testing.T) {
	for _, f := range []Files{{Certificate: "x"}, {Key: "x"}, {CA: "x"}} {
		for name, change := range map[string]func(*Options){
			"Options.Serving": func(o *Options) { o.Serving = f },
			"Options.Sink":    func(o *Options) { o.Sink = f },
		} {
			if _, err := newFilesManager(t, change); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s with %+v: %v", name, f, err)
			}
		}
	}
}

func TestCheckIntervalMustFitTheOverlap(t *testing.T) {
	_, err := newFilesManager(t, func(o *Options) { o.CheckInterval = DefaultOverlap })
	if err == nil || !strings.Contains(err.Error(), "CheckInterval") {
		t.Errorf("replicas that check too rarely: %v", err)
	}
}

func TestWebhookClientsMustShowACertificateWhereThereIsACA(t *testing.T) {
	theirs := newIssuer(t)
	m, err := newFilesManager(t, func(o *Options) { o.WebhookClientCA = theirs.files.CA })
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	clients, err := NewCA("clients", now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err = os.WriteFile(theirs.files.CA, clients.Bundle().PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	m.store.opts.Clock = time.Now // the handshake's
	check(t, m)
	pair, err := clients.IssueClient("kube-apiserver", now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	shake := func(certs ...tls.Certificate) error {
		return handshake(t, m.WebhookTLS(), &tls.Config{RootCAs: m.ServingTrust().Pool(), Certificates: certs, ServerName: "127.0.0.1"})
	}
	if err := shake(cert); err != nil {
		t.Errorf("an API server is kept out: %v", err)
	}
	if err := shake(); err == nil {
		t.Error("who shows no certificate is let in")
	}
	// Another CA is read without a restart; one that cannot be read changes nothing.
	if err := os.WriteFile(theirs.files.CA, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.check(t.Context()); err == nil {
		t.Error("nonsense is taken for a CA")
	}
	if err := shake(cert); err != nil {
		t.Errorf("an API server is kept out: %v", err)
	}
	if err := os.WriteFile(theirs.files.CA, theirs.ca.Bundle().PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	check(t, m)
	if err := shake(cert); err == nil {
		t.Error("who shows a certificate of the CA before is let in")
	}
}
