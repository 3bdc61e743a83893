package feed

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/execsession"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sessions are a Tracker's answers. What is asked of it is told.
type sessions struct {
	documents []execsession.Document
	asked     chan execsession.Filter
	// held, if set, is waited for before a list is answered.
	held    chan struct{}
	changes chan execsession.Document
	left    chan struct{}
}

func newSessions(documents ...execsession.Document) *sessions {
	return &sessions{
		documents: documents, asked: make(chan execsession.Filter, 100),
		changes: make(chan execsession.Document), left: make(chan struct{}, 100),
	}
}

func (s *sessions) List(f execsession.Filter) []execsession.Document {
	s.asked <- f
	if s.held != nil {
		<-s.held
	}
	return s.documents
}

func (s *sessions) Get(id string) (execsession.Document, bool) {
	for _, d := range s.documents {
		if d.ID == id {
			d.Timeline = []execsession.Entry{{Kind: execsession.KindStart, Text: "sh"}}
			return d, true
		}
	}
	return execsession.Document{}, false
}

func (s *sessions) Follow(ctx context.Context, f execsession.Filter) <-chan execsession.Document {
	s.asked <- f
	out := make(chan execsession.Document)
	go func() {
		defer func() { s.left <- struct{}{} }()
		defer close(out)
		for {
			select {
			case <-ctx.Done():
				return
			case d, open := <-s.changes:
				if !open {
					return
				}
				out <- d
			}
		}
	}()
	return out
}

// rig is a Feed behind a server.
type rig struct {
	t      *testing.T
	url    string
	client *http.Client
	feed   *Feed
	stop   func()
}

func serve(t *testing.T, s *sessions, http2 bool, change func(*Options)) *rig {
	t.Helper()
	return serveWithin(t, 0, s, http2, change)
}

// serveWithin is serve with a server that gives a request, and its answer, so much time unless the handler sets another.
func serveWithin(t *testing.T, timeout time.Duration, s *sessions, http2 bool, change func(*Options)) *rig {
	t.Helper()
	opts := Options{Sessions: s, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()}
	if change != nil {
		change(&opts)
	}
	f, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(f)
	server.EnableHTTP2 = http2
	server.Config.ReadTimeout, server.Config.WriteTimeout = timeout, timeout
	server.StartTLS()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	transport := &http.Transport{ForceAttemptHTTP2: http2, TLSClientConfig: &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, MinVersion: tls.VersionTLS13}}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		transport.CloseIdleConnections()
		server.Close()
	})
	return &rig{t: t, url: server.URL, client: &http.Client{Transport: transport}, feed: f, stop: cancel}
}

func (r *rig) get(path string) *http.Response {
	r.t.Helper()
	resp, err := r.client.Get(r.url + path)
	if err != nil {
		r.t.Fatalf("get %s: %v", path, err)
	}
	r.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// text wants an answer with a status, and returns it.
func (r *rig) text(path string, status int) string {
	r.t.Helper()
	resp := r.get(path) //nolint:bodyclose // get sees to it
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatalf("get %s: %v", path, err)
	}
	if resp.StatusCode != status {
		r.t.Fatalf("get %s: %s, want %d: %s", path, resp.Status, status, text)
	}
	return string(text)
}

func two() *sessions {
	return newSessions(execsession.Document{ID: "s-2", Command: []string{"a\nb\x1b"}}, execsession.Document{ID: "s-1"})
}

func TestListIsOneDocumentALine(t *testing.T) {
	s := two()
	r := serve(t, s, true, nil)
	resp := r.get("/sessions") //nolint:bodyclose // get sees to it
	if got := resp.Header.Get("Content-Type"); got != "application/x-ndjson" {
		t.Errorf("content type %q", got)
	}
	var ids []string
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		var d execsession.Document
		if err := json.Unmarshal(lines.Bytes(), &d); err != nil {
			t.Fatalf("%v in %q", err, lines.Text())
		}
		if d.Timeline != nil {
			t.Errorf("%s has a timeline that nobody asked for", d.ID)
		}
		ids = append(ids, d.ID)
	}
	if diff := cmp.Diff([]string{"s-2", "s-1"}, ids); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(execsession.Filter{}, <-s.asked); diff != "" {
		t.Errorf("filter (-want +got):\n%s", diff)
	}
	if text := r.text("/sessions?details=true", http.StatusOK); strings.Count(text, `"timeline"`) != 2 {
		t.Errorf("without details: %s", text)
	}
}

func TestParametersAreAFilter(t *testing.T) {
	s := two()
	r := serve(t, s, true, nil)
	r.text("/sessions?"+url.Values{
		"user": {"alice&co"}, "namespace": {"shop"}, "pod": {"cart-0"}, "attribution": {"candidates"}, "limit": {"7"},
		"since": {"2026-01-31T15:04:05Z"}, "until": {"2026-01-31T16:04:05.123456789+01:00"},
	}.Encode(), http.StatusOK)
	want := execsession.Filter{
		User: "alice&co", Namespace: "shop", Pod: "cart-0", Attribution: event.AttributionCandidates, Limit: 7,
		Since: time.Date(2026, 1, 31, 15, 4, 5, 0, time.UTC), Until: time.Date(2026, 1, 31, 15, 4, 5, 123456789, time.UTC),
	}
	if diff := cmp.Diff(want, <-s.asked); diff != "" {
		t.Errorf("filter (-want +got):\n%s", diff)
	}
}

func TestWhatCannotBeReadIsRefused(t *testing.T) {
	r := serve(t, two(), true, nil)
	for query, want := range map[string]string{
		"usr=alice":                        "no such parameter",
		"user=a&user=b":                    "stands 2 times",
		"user=" + strings.Repeat("a", 2e3): "at most 1024",
		strings.Repeat("&", 9e3):           "at most 8192",
		"user=%zz":                         "cannot be read",
		"since=yesterday":                  "is no time",
		"until=1":                          "is no time",
		"limit=0":                          "is no number",
		"limit=1e3":                        "is no number",
		"limit=-5":                         "is no number",
		"attribution=sure":                 "none of exact",
		"follow=yes":                       "neither true nor false",
		"follow=true&limit=1":              "follow goes",
		"follow=true&details=true":         "follow goes",
		"%1b[2J=1":                         `\x1b`,
	} {
		if text := r.text("/sessions?"+query, http.StatusBadRequest); !strings.Contains(text, want) {
			t.Errorf("%.80s: %q, want %q", query, text, want)
		}
	}
	r.text("/sessions/"+strings.Repeat("a", 200), http.StatusBadRequest)
	r.text("/sessions/a/b", http.StatusNotFound)
	for _, method := range []string{http.MethodPost, http.MethodHead, http.MethodDelete} {
		request, err := http.NewRequestWithContext(t.Context(), method, r.url+"/sessions?follow=true", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := r.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %s", method, resp.Status)
		}
	}
}

func TestOneHasEverything(t *testing.T) {
	r := serve(t, two(), true, nil)
	resp := r.get("/sessions/s-2") //nolint:bodyclose // get sees to it
	if got := resp.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %q", got)
	}
	var d execsession.Document
	if err := json.NewDecoder(resp.Body).Decode(&d); err != nil || d.ID != "s-2" || len(d.Timeline) != 1 {
		t.Errorf("%+v, %v", d, err)
	}
	if text := r.text("/sessions/s-9%1b", http.StatusNotFound); !strings.Contains(text, `no session "s-9\x1b"`) {
		t.Errorf("a missing one: %q", text)
	}
}

// stream reads the lines of a response.
type stream struct {
	t     *testing.T
	lines *bufio.Reader
}

func (r *rig) follow(query string) (stream, *http.Response) {
	r.t.Helper()
	resp := r.get("/sessions?follow=true" + query)
	if resp.StatusCode != http.StatusOK {
		r.t.Fatalf("follow: %s", resp.Status)
	}
	return stream{r.t, bufio.NewReader(resp.Body)}, resp
}

func (s stream) next() string {
	s.t.Helper()
	line, err := s.lines.ReadString('\n')
	if err != nil {
		s.t.Fatalf("the stream ended: %v", err)
	}
	return line
}

// end waits until the server has ended the stream.
func (s stream) end() {
	s.t.Helper()
	if _, err := io.Copy(io.Discard, s.lines); err != nil {
		s.t.Errorf("the stream broke off: %v", err)
	}
}

// TestFollowOutlivesTheServersTimeouts: heartbeats come at longer distances than an answer may take otherwise.
func TestFollowOutlivesTheServersTimeouts(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const timeout = time.Second // enough to begin, on a machine that is busy
			s := newSessions()
			r := serveWithin(t, timeout, s, http2, func(o *Options) { o.Heartbeat = timeout * 3 / 2 })
			lines, resp := r.follow("&user=alice")
			if (resp.ProtoMajor == 2) != http2 {
				t.Fatalf("spoke %s", resp.Proto)
			}
			if f := <-s.asked; f.User != "alice" {
				t.Errorf("filter %+v", f)
			}
			for range 3 {
				if line := lines.next(); line != "\n" {
					t.Fatalf("got %q, want a heartbeat", line)
				}
			}
			s.changes <- execsession.Document{ID: "s-1"}
			line := lines.next()
			for line == "\n" {
				line = lines.next()
			}
			if !strings.Contains(line, `"id":"s-1"`) {
				t.Errorf("got %q", line)
			}
			resp.Body.Close()
			<-s.left
		})
	}
}

func TestAStreamEndsWithItsSourceAndTheServer(t *testing.T) {
	s := newSessions()
	r := serve(t, s, true, nil)
	behind, _ := r.follow("") //nolint:bodyclose // follow sees to it
	behind.next()
	close(s.changes) // as for a reader who is too slow
	behind.end()
	<-s.left

	s.changes = make(chan execsession.Document)
	stopped, _ := r.follow("") //nolint:bodyclose // follow sees to it
	stopped.next()
	r.stop()
	stopped.end()
	<-s.left
}

func TestPlacesAreBounded(t *testing.T) {
	s := two()
	s.held = make(chan struct{})
	r := serve(t, s, true, func(o *Options) { o.MaxFollowers, o.MaxReaders = 1, 1 })
	lines, resp := r.follow("")
	lines.next()
	<-s.asked
	if text := r.text("/sessions?follow=true", http.StatusServiceUnavailable); !strings.Contains(text, "1 followers are there already") {
		t.Errorf("told %q", text)
	}
	done := make(chan string, 1)
	go func() { done <- r.text("/sessions", http.StatusOK) }()
	<-s.asked // the only reader's place is taken
	r.text("/sessions", http.StatusServiceUnavailable)
	if text := r.text("/sessions/s-1", http.StatusServiceUnavailable); !strings.Contains(text, "try again") {
		t.Errorf("told %q", text)
	}
	close(s.held)
	<-done
	r.text("/sessions/s-1", http.StatusOK)
	for kind, want := range map[string]float64{"followers": 1, "readers": 2} {
		if got := testutil.ToFloat64(r.feed.metrics.refused.WithLabelValues(kind)); got != want {
			t.Errorf("counted %v refused %s, want %v", got, kind, want)
		}
	}
	resp.Body.Close()
	<-s.left
}

func TestNew(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("without sessions: no error")
	}
	if _, err := New(Options{Sessions: two(), Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), MaxReaders: -1}); err == nil {
		t.Error("a negative bound: no error")
	}
}

var _ Sessions = (*execsession.Tracker)(nil)
