package clocks_test

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/auditsink"
	"github.com/portcullis-dev/portcullis/pki"
)

// sink is where the API servers send their audit events.
type sink struct {
	t                *testing.T
	serving, clients *pki.CA
	listener         net.Listener
}

func newSink(t *testing.T) *sink {
	t.Helper()
	s := &sink{t: t}
	var err error
	for _, ca := range []**pki.CA{&s.serving, &s.clients} {
		// As old as a cluster's: every clock of this one agrees that it is valid.
		if *ca, err = pki.NewCA("test", time.Now().Add(-time.Hour), 24*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.listener.Close() })
	return s
}

// serve hands what arrives to a pipeline, until the test ends.
func (s *sink) serve(pipeline auditsink.Pipeline) {
	s.t.Helper()
	logger := slog.New(slog.DiscardHandler)
	rejects, err := auditsink.OpenRejects(auditsink.RejectsOptions{Dir: s.t.TempDir(), Logger: logger, Registerer: prometheus.NewRegistry()})
	if err != nil {
		s.t.Fatal(err)
	}
	handler, err := auditsink.New(auditsink.Options{
		Pipeline: pipeline, Rejects: rejects, Logger: logger, Registerer: prometheus.NewRegistry(), Clock: time.Now,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	pair, err := s.serving.IssueServer("sink", []string{"127.0.0.1"}, time.Now().Add(-30*time.Minute), 12*time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	cert, err := pair.TLS()
	if err != nil {
		s.t.Fatal(err)
	}
	server := &http.Server{
		Handler: handler, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert},
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: s.clients.Bundle().Pool(),
		},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.ServeTLS(s.listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			s.t.Errorf("serve: %v", err)
		}
	}()
	s.t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
}

// flags are those of an API server that sends what the policy records, under that name.
func (s *sink) flags(name, policy string) []string {
	s.t.Helper()
	pair, err := s.clients.IssueClient(auditsink.ClientCommonName(name), time.Now(), time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	dir := s.t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	if err := pair.WriteFiles(file("tls.crt"), file("tls.key")); err != nil {
		s.t.Fatal(err)
	}
	for name, text := range map[string]string{"policy.yaml": policy, "kubeconfig": fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: sink, cluster: {server: "https://%s%s%s", certificate-authority-data: %s}}]
users: [{name: sink, user: {client-certificate: %s, client-key: %s}}]
contexts: [{name: sink, context: {cluster: sink, user: sink}}]
current-context: sink
`, s.listener.Addr(), auditsink.PathPrefix, name, base64.StdEncoding.EncodeToString(s.serving.Bundle().PEM()), file("tls.crt"), file("tls.key"))} {
		if err := os.WriteFile(file(name), []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	return []string{
		"--audit-policy-file=" + file("policy.yaml"), "--audit-webhook-config-file=" + file("kubeconfig"),
		"--audit-webhook-batch-max-wait=200ms", "--audit-webhook-initial-backoff=1s",
	}
}
