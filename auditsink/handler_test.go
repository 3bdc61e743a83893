package auditsink

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
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
	log      *syncBuffer
	serving  *pki.CA
	clients  *pki.CA
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
	s := &sink{t: t, pipeline: &pipeline{}, log: &syncBuffer{}, serving: newCA(t), clients: newCA(t)}
	logger := slog.New(slog.NewJSONHandler(s.log, nil))
	var err error
	s.rejects, err = OpenRejects(RejectsOptions{Dir: t.TempDir(), Logger: logger, Registerer: prometheus.NewRegistry()})
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
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: s.clients.Bundle().Pool(),
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

func (s *sink) refused(reason string) float64 {
	return testutil.ToFloat64(s.handler.metrics.refused.WithLabelValues(reason))
}

func TestDeliver(t *testing.T) {
	s := newSink(t, nil)
	c := s.cp1()
	s.post(c, captured(t)["exec-tty"], http.StatusOK, "")
	s.post(c, captured(t)["empty"], http.StatusOK, "")
	if got := s.pipeline.count(); got != 2 {
		t.Errorf("the pipeline got %d events, want 2", got)
	}
	s.post(c, captured(t)["exec-tty"], http.StatusOK, "")
	m := s.handler.metrics
	if got := testutil.ToFloat64(m.redelivered.WithLabelValues("cp-1")); got != 1 {
		t.Errorf("redelivered: %v, want 1", got)
	}
	if got := testutil.ToFloat64(m.events.WithLabelValues("cp-1")); got != 4 {
		t.Errorf("events: %v, want 4", got)
	}
	if got := testutil.ToFloat64(m.bytes.WithLabelValues("cp-1")); got != float64(2*len(captured(t)["exec-tty"])+len(captured(t)["empty"])) {
		t.Errorf("bytes: %v", got)
	}
	if got := testutil.ToFloat64(m.inFlight) + testutil.ToFloat64(m.pendingBytes); got != 0 {
		t.Errorf("still in flight: %v", got)
	}
	if got := testutil.ToFloat64(m.clientCert.WithLabelValues("cp-1")); got < float64(time.Now().Unix()) {
		t.Errorf("the client certificate's end is %v", got)
	}
}

func TestCertificates(t *testing.T) {
	s := newSink(t, nil)
	now := time.Now()
	roots := s.serving.Bundle().Pool()
	for name, tc := range map[string]struct {
		client *http.Client
		path   string
		status int // 0: the handshake fails
		text   string
	}{
		"right":                    {s.cp1(), "/audit/cp-1", 200, ""},
		"another's path":           {s.cp1(), "/audit/cp-2", 403, `path "/audit/cp-2" needs a certificate of "apiserver:cp-2", this one is of "apiserver:cp-1"`},
		"no such prefix":           {s.apiServer(s.clients, "cp-1", now), "/audit/cp-1", 403, `this one is of "cp-1"`},
		"no name":                  {s.cp1(), "/audit/", 404, "is not /audit/<API server name>"},
		"another path":             {s.cp1(), "/metrics", 404, "is not /audit/"},
		"a name with a slash":      {s.cp1(), "/audit/cp-1/x", 404, "is not /audit/"},
		"a name in capitals":       {s.apiServer(s.clients, "apiserver:CP-1", now), "/audit/CP-1", 404, "is not /audit/"},
		"no certificate":           {s.client(roots), "/audit/cp-1", 0, ""},
		"expired":                  {s.apiServer(s.clients, "apiserver:cp-1", now.Add(-2*time.Hour)), "/audit/cp-1", 0, ""},
		"of a CA of the same name": {s.apiServer(newCA(t), "apiserver:cp-1", now), "/audit/cp-1", 0, ""},
		"of the serving CA":        {s.apiServer(s.serving, "apiserver:cp-1", now), "/audit/cp-1", 0, ""},
	} {
		got, err := s.do(tc.client, http.MethodPost, tc.path, asJSON(), bytes.NewReader(captured(t)["exec-tty"]))
		switch {
		case tc.status == 0 && err == nil: // why it failed, HTTP/2 keeps to itself
			t.Errorf("%s: answered %d %q", name, got.status, got.text)
		case tc.status == 0:
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case got.status != tc.status || !strings.Contains(got.text, tc.text):
			t.Errorf("%s: %d %q, want %d with %q", name, got.status, got.text, tc.status, tc.text)
		}
	}
	if got := s.pipeline.count(); got != 2 {
		t.Errorf("the pipeline got %d events, want those of the one right request", got)
	}
}

func TestCertificateThatEndsWhileConnected(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	s := newSink(t, func(o *Options) {
		o.Clock = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		}
	})
	c := s.cp1()
	s.post(c, captured(t)["empty"], http.StatusOK, "")
	mu.Lock()
	now = now.Add(2 * time.Hour)
	mu.Unlock()
	s.post(c, captured(t)["empty"], http.StatusForbidden, `the certificate of "apiserver:cp-1" expired at`)
}

func TestWithoutClientTLS(t *testing.T) {
	s := newSink(t, nil)
	for name, state := range map[string]*tls.ConnectionState{
		"plain HTTP":   nil,
		"not verified": {PeerCertificates: []*x509.Certificate{s.clients.Certificate()}},
	} {
		w := &recorder{header: http.Header{}}
		r, err := http.NewRequest(http.MethodPost, "/audit/cp-1", bytes.NewReader(captured(t)["exec-tty"]))
		if err != nil {
			t.Fatal(err)
		}
		r.Header, r.TLS = asJSON(), state
		s.handler.ServeHTTP(w, r)
		if w.status != http.StatusForbidden {
			t.Errorf("%s: %d", name, w.status)
		}
	}
}

type recorder struct {
	header http.Header
	status int
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(p []byte) (int, error) { return len(p), nil }
func (r *recorder) WriteHeader(status int)      { r.status = status }

func TestBadRequests(t *testing.T) {
	s := newSink(t, func(o *Options) { o.MaxBodyBytes = 64 << 10 })
	c := s.cp1()
	header := func(kv ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(kv); i += 2 {
			h.Set(kv[i], kv[i+1])
		}
		return h
	}
	large := strings.Repeat(" ", 64<<10) + "{}"
	for name, tc := range map[string]struct {
		method string
		header http.Header
		body   io.Reader
		status int
		text   string
		reason string
	}{
		"GET":               {http.MethodGet, asJSON(), nil, 405, "only POST", reasonMethod},
		"no content type":   {http.MethodPost, header(), strings.NewReader("{}"), 415, `content type ""`, reasonContentType},
		"protobuf":          {http.MethodPost, header("Content-Type", "application/vnd.kubernetes.protobuf"), strings.NewReader("k8s"), 415, "is not application/json", reasonContentType},
		"compressed":        {http.MethodPost, header("Content-Type", "application/json", "Content-Encoding", "gzip"), strings.NewReader("{}"), 415, `"gzip" is not supported`, reasonContentType},
		"large, told":       {http.MethodPost, asJSON(), strings.NewReader(large), 413, "--audit-webhook-truncate-enabled", reasonTooLarge},
		"large, not told":   {http.MethodPost, asJSON(), io.MultiReader(strings.NewReader(large)), 413, "exceeds 65536 bytes", reasonTooLarge},
		"not JSON":          {http.MethodPost, asJSON(), strings.NewReader("hello"), 400, "not an EventList of audit.k8s.io/v1", reasonNotEventList},
		"another kind":      {http.MethodPost, header("Content-Type", "application/json; charset=utf-8"), strings.NewReader(`{"kind":"Pod"}`), 400, `kind "Pod"`, reasonNotEventList},
		"nothing, not told": {http.MethodPost, asJSON(), io.MultiReader(), 400, "unexpected end", reasonNotEventList},
	} {
		before := s.refused(tc.reason)
		got, err := s.do(c, tc.method, "/audit/cp-1", tc.header, tc.body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.status != tc.status || !strings.Contains(got.text, tc.text) {
			t.Errorf("%s: %d %q, want %d with %q", name, got.status, got.text, tc.status, tc.text)
		}
		if got.header.Get("Retry-After") != "" {
			t.Errorf("%s: asks to be sent again", name)
		}
		if s.refused(tc.reason) != before+1 {
			t.Errorf("%s: not counted as %s", name, tc.reason)
		}
	}
	if got := testutil.ToFloat64(s.handler.metrics.pendingBytes); got != 0 {
		t.Errorf("%v bytes are still accounted for", got)
	}
}

func TestPipelineDecides(t *testing.T) {
	var answer error
	s := newSink(t, func(o *Options) { o.IngestTimeout = 10 * time.Millisecond })
	s.pipeline.ingest = func(ctx context.Context, _ []*event.Event) error {
		if errors.Is(answer, context.DeadlineExceeded) {
			<-ctx.Done()
			return fmt.Errorf("publish: %w", ctx.Err())
		}
		return answer
	}
	c := s.cp1()
	for _, tc := range []struct {
		err    error
		status int
		text   string
		reason string
	}{
		{fmt.Errorf("publish: %w", busyError{}), 429, "busy", reasonPipelineBusy},
		{context.DeadlineExceeded, 429, "took longer than 10ms", reasonTimeout},
		{errors.New("the disk is gone: secret detail"), 500, "the pipeline failed", reasonPipelineError},
	} {
		answer = tc.err
		header := s.post(c, captured(t)["exec-tty"], tc.status, tc.text)
		if header.Get("Retry-After") != "1" {
			t.Errorf("%v: Retry-After is %q", tc.err, header.Get("Retry-After"))
		}
		if s.refused(tc.reason) != 1 {
			t.Errorf("%v: not counted as %s", tc.err, tc.reason)
		}
	}
	answer = nil
	s.post(c, captured(t)["exec-tty"], 200, "")
	if got := testutil.ToFloat64(s.handler.metrics.events.WithLabelValues("cp-1")); got != 2 {
		t.Errorf("counted %v events, want the 2 that were taken", got)
	}
}

func TestPanicIsAFailureOfOneRequest(t *testing.T) {
	s := newSink(t, nil)
	s.pipeline.ingest = func(context.Context, []*event.Event) error { panic("bug") }
	c := s.cp1()
	s.post(c, captured(t)["exec-tty"], http.StatusInternalServerError, "internal error")
	s.pipeline.ingest = nil
	s.post(c, captured(t)["exec-tty"], http.StatusOK, "")
	if s.refused(reasonPanic) != 1 || !strings.Contains(s.log.String(), "handler_test.go") {
		t.Error("the panic was not counted, or logged without its stack")
	}
	if got := testutil.ToFloat64(s.handler.metrics.pendingBytes); got != 0 {
		t.Errorf("%v bytes are still accounted for", got)
	}
}

func TestSheds(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"requests": func(o *Options) { o.MaxRequests = 1 },
		"bytes":    func(o *Options) { o.MaxBodyBytes, o.MaxPendingBytes = 4096, 4096 },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSink(t, change)
			entered, leave := make(chan struct{}), make(chan struct{})
			s.pipeline.ingest = func(context.Context, []*event.Event) error {
				close(entered)
				<-leave
				return nil
			}
			c := s.cp1()
			first := make(chan error)
			go func() {
				got, err := s.do(c, http.MethodPost, "/audit/cp-1", asJSON(), bytes.NewReader(captured(t)["exec-tty"]))
				if err == nil && got.status != http.StatusOK {
					err = fmt.Errorf("%d %s", got.status, got.text)
				}
				first <- err
			}()
			<-entered
			header := s.post(c, captured(t)["exec-tty"], http.StatusTooManyRequests, "too many deliveries at once")
			if header.Get("Retry-After") != "1" || s.refused(reasonBusy) != 1 {
				t.Error("shed without Retry-After, or not counted")
			}
			close(leave)
			if err := <-first; err != nil {
				t.Errorf("the first one: %v", err)
			}
			s.pipeline.ingest = nil
			s.post(c, captured(t)["exec-tty"], http.StatusOK, "")
		})
	}
}

func TestIngestOutlivesTheClient(t *testing.T) {
	s := newSink(t, nil)
	entered, finished := make(chan struct{}), make(chan error)
	leave := make(chan struct{})
	s.pipeline.ingest = func(ctx context.Context, _ []*event.Event) error {
		close(entered)
		<-leave
		finished <- ctx.Err()
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/audit/cp-1", bytes.NewReader(captured(t)["exec-tty"]))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = asJSON()
	gone := make(chan struct{})
	c := s.cp1()
	go func() {
		defer close(gone)
		if resp, err := c.Do(req); err == nil {
			resp.Body.Close()
			t.Error("the canceled request was answered")
		}
	}()
	<-entered
	cancel()
	<-gone
	close(leave)
	if err := <-finished; err != nil {
		t.Errorf("the pipeline's context ended with the client's: %v", err)
	}
}

func TestSlowBody(t *testing.T) {
	s := newSink(t, func(o *Options) { o.ReadTimeout = 20 * time.Millisecond })
	r, w := io.Pipe()
	defer w.Close()
	got, err := s.do(s.cp1(), http.MethodPost, "/audit/cp-1", asJSON(), r)
	if err != nil {
		t.Fatal(err)
	}
	if got.status != http.StatusBadRequest || !strings.Contains(got.text, "read the body") {
		t.Errorf("%d %q", got.status, got.text)
	}
	if got := testutil.ToFloat64(s.handler.metrics.inFlight); got != 0 {
		t.Errorf("%v requests still in flight", got)
	}
}

func TestBadItemsAreKeptAsideAndAcknowledged(t *testing.T) {
	s := newSink(t, nil)
	c := s.cp1()
	body := list(item(""), `{"stage":"ResponseComplete","requestObject":{"data":{"password":"hunter2"}}}`, item(""))
	s.pipeline.ingest = func(context.Context, []*event.Event) error { return busyError{} }
	s.post(c, body, http.StatusTooManyRequests, "busy")
	if got := readRejects(t, s.rejects); len(got) != 0 {
		t.Errorf("kept aside before the batch was taken, and so twice: %v", got)
	}
	s.pipeline.ingest = nil
	s.post(c, body, http.StatusOK, "")
	if got := s.pipeline.count(); got != 2 {
		t.Errorf("the pipeline got %d events, want the 2 good ones", got)
	}
	kept := readRejects(t, s.rejects)
	if len(kept) != 1 || kept[0].Index != 1 || kept[0].APIServer != "cp-1" || !strings.Contains(string(kept[0].Event), "hunter2") {
		t.Errorf("kept %+v", kept)
	}
	if got := testutil.ToFloat64(s.handler.metrics.rejected.WithLabelValues("kept")); got != 1 {
		t.Errorf("counted %v, want 1", got)
	}
	log := s.log.String()
	if !strings.Contains(log, `"firstIndex":1`) || !strings.Contains(log, "neither requestReceivedTimestamp") {
		t.Errorf("the log does not say which and why: %s", log)
	}
	if strings.Contains(log, "hunter2") {
		t.Error("the log holds what the request held")
	}
}

func TestRefusalsDoNotFloodTheLog(t *testing.T) {
	s := newSink(t, nil)
	c := s.cp1()
	for range 50 {
		s.post(c, []byte("hello"), http.StatusBadRequest, "")
	}
	if n := strings.Count(s.log.String(), "audit delivery refused"); n != 1 {
		t.Errorf("50 refusals made %d log lines", n)
	}
	if got := s.refused(reasonNotEventList); got != 50 {
		t.Errorf("counted %v", got)
	}
}

func TestSeenForgetsTheOldest(t *testing.T) {
	s := newSeen()
	body := func(i int) []byte { return fmt.Appendf(nil, "%d", i) }
	for i := range remembered + 1 {
		if s.before("cp-1", body(i)) {
			t.Fatalf("body %d is new", i)
		}
	}
	if s.before("cp-2", body(5)) {
		t.Error("another API server's body counts as a redelivery")
	}
	if s.before("cp-1", body(0)) {
		t.Error("the oldest is still remembered")
	}
	if !s.before("cp-1", body(remembered)) {
		t.Error("the newest is forgotten")
	}
	if len(s.hashes) != remembered {
		t.Errorf("remembers %d", len(s.hashes))
	}
}

func TestNewNamesTheField(t *testing.T) {
	s := newSink(t, nil)
	full := s.handler.opts
	full.Registerer = prometheus.NewRegistry()
	for field, change := range map[string]func(*Options){
		"Pipeline":        func(o *Options) { o.Pipeline = nil },
		"Rejects":         func(o *Options) { o.Rejects = nil },
		"Logger":          func(o *Options) { o.Logger = nil },
		"Registerer":      func(o *Options) { o.Registerer = nil },
		"Clock":           func(o *Options) { o.Clock = nil },
		"MaxBodyBytes":    func(o *Options) { o.MaxBodyBytes = -1 },
		"ReadTimeout":     func(o *Options) { o.ReadTimeout = -1 },
		"MaxPendingBytes": func(o *Options) { o.MaxPendingBytes = 1 },
	} {
		o := full
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got error %v", field, err)
		}
	}
}
