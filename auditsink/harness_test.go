package auditsink

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipeline records what it is given and answers as it is told.
type pipeline struct {
	ingest func(context.Context, []*event.Event) error

	mu  sync.Mutex
	ids []string
}

func (p *pipeline) Ingest(ctx context.Context, events []*event.Event) error {
	if p.ingest != nil {
		if err := p.ingest(ctx, events); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range events {
		e.Identify()
		p.ids = append(p.ids, e.ID)
	}
	return nil
}

func (p *pipeline) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ids)
}

type busyError struct{}

func (busyError) Error() string { return "queue is full" }
func (busyError) Busy() bool    { return true }

// sink is a Handler behind a real HTTP/2 server with mutual TLS.
type sink struct {
	t        testing.TB
	url      string
	handler  *Handler
	pipeline *pipeline
	rejects  *Rejects
	// told are the numbers of events that Rejects told of.
	told    *losses
	log     *syncBuffer
	serving *pki.CA
	clients *pki.CA
}

// losses are the numbers of events that Rejects told of.
type losses struct {
	mu     sync.Mutex
	events []int
}

func (l *losses) tell(_ Delivery, events int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, events)
}

func (l *losses) all() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newSink(t testing.TB, change func(*Options)) *sink {
	t.Helper()
	s := &sink{t: t, pipeline: &pipeline{}, log: &syncBuffer{}, told: &losses{}, serving: newCA(t), clients: newCA(t)}
	logger := slog.New(slog.NewJSONHandler(s.log, nil))
	var err error
	s.rejects, err = OpenRejects(RejectsOptions{
		Dir: t.TempDir(), Logger: logger, Registerer: prometheus.NewRegistry(),
		Told: s.told.tell,
	})
	if err != nil {
		t.Fatalf("open rejects: %v", err)
	}
	opts := Options{
		Pipeline: s.pipeline, Rejects: s.rejects, Logger: logger,
		Registerer: prometheus.NewRegistry(), Clock: time.Now,
	}
	if change != nil {
		change(&opts)
	}
	s.handler, err = New(opts)
	if err != nil {
		t.Fatalf("new handler: %v", err)
	}
	pair, err := s.serving.IssueServer("sink", []string{"127.0.0.1"}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	s.listen(certificate(t, pair))
	return s
}

func (s *sink) listen(cert tls.Certificate) {
	s.t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.url = "https://" + lis.Addr().String()
	server := &http.Server{
		Handler: s.handler,
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert},
			ClientAuth: s.clientAuth(), ClientCAs: s.clients.Bundle().Pool(),
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.ServeTLS(lis, "", ""); !errors.Is(err, http.ErrServerClosed) {
			s.t.Errorf("serve: %v", err)
		}
	}()
	s.t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
}

// clientAuth is as package pki has it.
func (s *sink) clientAuth() tls.ClientAuthType {
	if s.handler.opts.Tokens != nil {
		return tls.VerifyClientCertIfGiven
	}
	return tls.RequireAndVerifyClientCert
}

func newCA(t testing.TB) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA("test", time.Now().Add(-24*time.Hour), 48*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func certificate(t testing.TB, pair *pki.Pair) tls.Certificate {
	t.Helper()
	cert, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// apiServer is a client with a certificate of that common name.
func (s *sink) apiServer(ca *pki.CA, commonName string, issued time.Time) *http.Client {
	s.t.Helper()
	pair, err := ca.IssueClient(commonName, issued, time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.client(s.serving.Bundle().Pool(), certificate(s.t, pair))
}

func (s *sink) client(roots *x509.CertPool, certs ...tls.Certificate) *http.Client {
	transport := &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: certs},
	}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (s *sink) cp1() *http.Client { return s.apiServer(s.clients, "apiserver:cp-1", time.Now()) }

// answer is a response that was read to its end.
type answer struct {
	status int
	proto  int
	header http.Header
	text   string
}

func (s *sink) do(c *http.Client, method, path string, header http.Header, body io.Reader) (answer, error) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header = header
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, proto: resp.ProtoMajor, header: resp.Header, text: string(text)}, err
}

func asJSON() http.Header { return http.Header{"Content-Type": {"application/json"}} }

// post delivers a body as cp-1 and wants a status, and a text in the answer.
// It returns the answer's headers.
func (s *sink) post(c *http.Client, body []byte, status int, text string) http.Header {
	s.t.Helper()
	got, err := s.do(c, http.MethodPost, "/audit/cp-1?timeout=30s", asJSON(), bytes.NewReader(body))
	if err != nil {
		s.t.Fatalf("post: %v", err)
	}
	if got.status != status || !strings.Contains(got.text, text) || got.proto != 2 {
		s.t.Fatalf("HTTP/%d answer %d %q, want %d with %q", got.proto, got.status, got.text, status, text)
	}
	return got.header
}

// refused is how many requests of cp-1 were refused for that reason, or of somebody who proved nothing.
func (s *sink) refused(reason string) float64 {
	m := s.handler.metrics.refused
	return testutil.ToFloat64(m.WithLabelValues(reason, "cp-1")) + testutil.ToFloat64(m.WithLabelValues(reason, ""))
}
