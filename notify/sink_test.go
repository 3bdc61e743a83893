package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/portcullis-dev/portcullis/event"
)

// TestMain fails when a goroutine outlives the tests.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink answers by a function and remembers what it was sent.
type sink struct {
	send func(ctx context.Context, doc Document) error
	mu   sync.Mutex
	got  []string
}

func (s *sink) Send(ctx context.Context, doc Document) error {
	if s.send != nil {
		if err := s.send(ctx, doc); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, doc.ID)
	return nil
}

func (s *sink) ids() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func detections(n int) (out []*event.Detection) {
	for i := range n {
		out = append(out, &event.Detection{ID: fmt.Sprint("d", i)})
	}
	return out
}

// fanning runs a Fanout inside a synctest bubble.
func fanning(t *testing.T, opts FanoutOptions, test func(f *Fanout, stop func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		opts.Logger, opts.Registerer, opts.Encoder = slog.New(slog.DiscardHandler), prometheus.NewPedanticRegistry(), NewEncoder("")
		f, err := NewFanout(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = f.Run(ctx) })
		stop := func() { cancel(); wg.Wait() }
		defer stop()
		test(f, stop)
	})
}

func (f *Fanout) counted(sink, result string) int {
	return int(testutil.ToFloat64(f.results.WithLabelValues(sink, result)))
}

func TestASlowSinkDelaysNobody(t *testing.T) {
	slow := &sink{send: func(ctx context.Context, _ Document) error { <-ctx.Done(); return ctx.Err() }}
	fast := &sink{}
	fanning(t, FanoutOptions{Sinks: map[string]Sink{"slow": slow, "fast": fast}, Queue: 4}, func(f *Fanout, _ func()) {
		for _, d := range detections(20) {
			send(t, f, d)
			synctest.Wait()
		}
		if len(fast.ids()) != 20 || f.counted("fast", resultSent) != 20 {
			t.Errorf("the fast sink got %d of 20", len(fast.ids()))
		}
		// The newest four wait, the first that is still being sent does not count any more.
		if f.counted("slow", resultDropped) != 16 {
			t.Errorf("%d were dropped at the slow sink, want 16", f.counted("slow", resultDropped))
		}
	})
}

func TestStoppingDrains(t *testing.T) {
	s := &sink{send: func(ctx context.Context, _ Document) error {
		select {
		case <-time.After(time.Second):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	fanning(t, FanoutOptions{Sinks: map[string]Sink{"s": s}, DrainTimeout: 4500 * time.Millisecond}, func(f *Fanout, stop func()) {
		for _, d := range detections(10) {
			send(t, f, d)
		}
		begin := time.Now()
		stop()
		if took := time.Since(begin); took != 4500*time.Millisecond {
			t.Errorf("stopping took %v", took)
		}
		if f.counted("s", resultSent) != 4 || f.counted("s", resultStopped) != 6 {
			t.Errorf("%d sent, %d counted as left behind", f.counted("s", resultSent), f.counted("s", resultStopped))
		}
	})
}

func TestWhatFailsIsSentAgainAndHoldsUpNobodyElse(t *testing.T) {
	tries := 0
	s := &sink{send: func(_ context.Context, doc Document) error {
		switch doc.ID {
		case "d1":
			if tries++; tries < 5 {
				return errors.New("not yet")
			}
		case "d2":
			return fmt.Errorf("%w: it is not to my taste", ErrRejected)
		}
		return nil
	}}
	fanning(t, FanoutOptions{Sinks: map[string]Sink{"s": s}}, func(f *Fanout, _ func()) {
		for _, d := range detections(4) {
			send(t, f, d)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if !slices.Equal(s.ids(), []string{"d0", "d3", "d1"}) || f.counted("s", resultFailed) != 4 || f.counted("s", resultRejected) != 1 {
			t.Errorf("got %v, %d failed, %d rejected", s.ids(), f.counted("s", resultFailed), f.counted("s", resultRejected))
		}
	})
}

func send(t *testing.T, f *Fanout, d *event.Detection) {
	t.Helper()
	if err := f.Send(t.Context(), d); err != nil {
		t.Error(err)
	}
}

func TestWriter(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	for range 2 {
		if err := w.Send(t.Context(), aDocument(t)); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 2 || !json.Valid([]byte(lines[0])) || lines[0] != lines[1] {
		t.Errorf("%d lines", len(lines))
	}
}

// aDocument is a document about a stolen token.
func aDocument(t *testing.T) Document {
	t.Helper()
	d := stolenToken()
	body, err := NewEncoder("").Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	return Document{ID: d.ID, Body: body}
}

// endpoint is a server that answers by a function, and what it was sent.
type endpoint struct {
	*httptest.Server
	mu     sync.Mutex
	bodies [][]byte
	auth   []string
}

func newEndpoint(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *endpoint {
	t.Helper()
	e := &endpoint{}
	e.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		e.mu.Lock()
		e.bodies, e.auth = append(e.bodies, body), append(e.auth, r.Header.Get("Authorization"))
		n := len(e.bodies)
		e.mu.Unlock()
		if answer != nil {
			answer(n, w, r)
		}
	}))
	e.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) tries() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.bodies)
}

// sinkFor is an HTTP sink that trusts the endpoint.
func sinkFor(t *testing.T, e *endpoint, change ...func(*HTTPOptions)) *HTTP {
	t.Helper()
	opts := HTTPOptions{
		URL: e.URL + "/detections", CAFile: filepath.Join(t.TempDir(), "ca.crt"),
		MinBackoff: time.Millisecond,
	}
	writeFile(t, opts.CAFile, caOf(e))
	for _, c := range change {
		c(&opts)
	}
	h, err := NewHTTP(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func caOf(e *endpoint) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: e.Certificate().Raw}))
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestHTTPPosts(t *testing.T) {
	e := newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/detections" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s %s", r.Method, r.URL, r.Header)
		}
		w.WriteHeader(http.StatusAccepted)
	})
	token := filepath.Join(t.TempDir(), "token")
	writeFile(t, token, "first\n")
	h := sinkFor(t, e, func(o *HTTPOptions) { o.TokenFile = token })
	if err := h.Send(t.Context(), aDocument(t)); err != nil {
		t.Fatal(err)
	}
	writeFile(t, token, "second")
	if err := h.Send(t.Context(), aDocument(t)); err != nil {
		t.Fatal(err)
	}
	if !json.Valid(e.bodies[0]) || !slices.Equal(e.auth, []string{"Bearer first", "Bearer second"}) {
		t.Errorf("authorized with %q, body %s", e.auth, e.bodies[0])
	}
}

func TestHTTPTriesAgain(t *testing.T) {
	for _, tt := range []struct {
		code, tries int
		ok          bool
	}{
		{http.StatusOK, 1, true},
		{http.StatusServiceUnavailable, 3, true},
		{http.StatusTooManyRequests, 3, true},
		{http.StatusRequestTimeout, 3, true},
		{http.StatusBadRequest, 1, false},
		{http.StatusUnauthorized, 1, false},
		{http.StatusNotModified, 1, false},
	} {
		t.Run(fmt.Sprint(tt.code), func(t *testing.T) {
			e := newEndpoint(t, func(n int, w http.ResponseWriter, _ *http.Request) {
				if n < 3 {
					w.WriteHeader(tt.code)
				}
			})
			err := sinkFor(t, e).Send(t.Context(), aDocument(t))
			if (err == nil) != tt.ok || e.tries() != tt.tries {
				t.Errorf("%v after %d tries", err, e.tries())
			}
		})
	}
}

func TestHTTPRejectsOnlyWhatIsAboutTheDocument(t *testing.T) {
	for code, rejected := range map[int]bool{
		http.StatusBadRequest: true, http.StatusRequestEntityTooLarge: true, http.StatusUnprocessableEntity: true,
		http.StatusUnauthorized: false, http.StatusForbidden: false, http.StatusNotFound: false, http.StatusBadGateway: false,
	} {
		e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
		err := sinkFor(t, e, func(o *HTTPOptions) { o.Tries = 1 }).Send(t.Context(), aDocument(t))
		if err == nil || errors.Is(err, ErrRejected) != rejected {
			t.Errorf("%d: %v", code, err)
		}
	}
}

func TestHTTPGivesUp(t *testing.T) {
	e := newEndpoint(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	err := sinkFor(t, e, func(o *HTTPOptions) { o.Tries = 3 }).Send(t.Context(), aDocument(t))
	if err == nil || e.tries() != 3 || !strings.Contains(err.Error(), "3 tries") || !strings.Contains(err.Error(), "502") {
		t.Errorf("%v after %d tries", err, e.tries())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	slow := sinkFor(t, e, func(o *HTTPOptions) { o.MinBackoff = time.Hour })
	if err := slow.Send(ctx, aDocument(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("stopping says %v", err)
	}
}

func TestHTTPTimesOut(t *testing.T) {
	leave := make(chan struct{})
	e := newEndpoint(t, func(_ int, _ http.ResponseWriter, r *http.Request) {
		select {
		case <-leave:
		case <-r.Context().Done():
		}
	})
	defer close(leave)
	h := sinkFor(t, e, func(o *HTTPOptions) { o.Timeout, o.Tries = 20*time.Millisecond, 2 })
	if err := h.Send(t.Context(), aDocument(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an endpoint that does not answer: %v", err)
	}
}

func TestHTTPRedirects(t *testing.T) {
	elsewhere := newEndpoint(t, nil)
	for _, tt := range []struct {
		name     string
		code     int
		to       func(e *endpoint) string
		ok       bool
		followed bool
	}{
		{"to the same host, keeping the body", http.StatusPermanentRedirect, func(e *endpoint) string { return e.URL + "/new" }, true, true},
		{"to the same host, as a GET", http.StatusFound, func(e *endpoint) string { return e.URL + "/new" }, false, false},
		{"to another host", http.StatusTemporaryRedirect, func(*endpoint) string { return elsewhere.URL }, false, false},
		{"to plain http", http.StatusTemporaryRedirect, func(e *endpoint) string { return "http" + strings.TrimPrefix(e.URL, "https") }, false, false},
		{"in a circle", http.StatusTemporaryRedirect, func(e *endpoint) string { return e.URL + "/detections" }, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var e *endpoint
			e = newEndpoint(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/detections" {
					http.Redirect(w, r, tt.to(e), tt.code)
				}
			})
			err := sinkFor(t, e).Send(t.Context(), aDocument(t))
			if (err == nil) != tt.ok || (e.tries() > 1) != tt.followed || e.tries() > 1+maxRedirects {
				t.Errorf("%v after %d requests", err, e.tries())
			}
			if tt.ok && !bytes.Equal(e.bodies[0], e.bodies[1]) {
				t.Error("the redirect lost the body")
			}
		})
	}
	if elsewhere.tries() != 0 {
		t.Error("a document went to another host")
	}
}

func TestHTTPTrust(t *testing.T) {
	e := newEndpoint(t, nil)
	untrusted := sinkFor(t, e, func(o *HTTPOptions) { o.CAFile, o.Tries = "", 1 })
	if err := untrusted.Send(t.Context(), aDocument(t)); err == nil || strings.Contains(err.Error(), e.URL) {
		t.Errorf("a certificate that nobody trusts: %v", err)
	}
	var path string
	h := sinkFor(t, e, func(o *HTTPOptions) { path = o.CAFile })
	if err := h.Send(t.Context(), aDocument(t)); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, "half a file")
	if err := h.Send(t.Context(), aDocument(t)); err != nil {
		t.Errorf("a CA file that is being replaced breaks the sink: %v", err)
	}
	writeFile(t, path, caOf(e)+caOf(e))
	if err := h.Send(t.Context(), aDocument(t)); err != nil || !strings.HasSuffix(h.caStamp, fmt.Sprint(" ", len(caOf(e))*2)) {
		t.Errorf("a new CA file is not read: %v", err)
	}
}

func TestHTTPOptions(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	writeFile(t, empty, "\n")
	huge := filepath.Join(dir, "huge")
	writeFile(t, huge, strings.Repeat("x", maxTokenFile+1))
	good := HTTPOptions{URL: "https://example.test/x"}
	for want, change := range map[string]func(*HTTPOptions){
		"absolute":         func(o *HTTPOptions) { o.URL = "example.test" },
		"AllowPlain":       func(o *HTTPOptions) { o.URL = "http://example.test" },
		"cannot be parsed": func(o *HTTPOptions) { o.URL = "https://%zz/" + hunter2 },
		"use TokenFile":    func(o *HTTPOptions) { o.URL = "https://alice:" + hunter2 + "@example.test" },
		"Timeout":          func(o *HTTPOptions) { o.Timeout = -1 },
		"TokenFile: it":    func(o *HTTPOptions) { o.TokenFile = empty },
		"65536":            func(o *HTTPOptions) { o.TokenFile = huge },
		"CAFile: it":       func(o *HTTPOptions) { o.CAFile = empty },
		"no such file":     func(o *HTTPOptions) { o.CAFile = filepath.Join(dir, "nothing") },
	} {
		opts := good
		change(&opts)
		_, err := NewHTTP(opts)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), hunter2) {
			t.Errorf("NewHTTP says %v, want %q in it", err, want)
		}
	}
	if _, err := NewHTTP(good); err != nil {
		t.Error(err)
	}
}

func TestBackoff(t *testing.T) {
	h := sinkFor(t, newEndpoint(t, nil), func(o *HTTPOptions) { o.MinBackoff = time.Second })
	for try, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 100: maxBackoff} {
		for range 100 {
			if got := h.backoff(try); got < want/2 || got > want*3/2 {
				t.Fatalf("after try %d: %v, want about %v", try, got, want)
			}
		}
	}
	for s, want := range map[string]time.Duration{"": 0, "x": 0, "-1": 0, "2": 2 * time.Second, "9999": maxBackoff, "99999999999": 0} {
		if got := retryAfter(s); got != want {
			t.Errorf("Retry-After %q: %v, want %v", s, got, want)
		}
	}
}
