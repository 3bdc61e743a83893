package auditsink

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

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
		"GET":             {http.MethodGet, asJSON(), nil, 405, "only POST", reasonMethod},
		"no content type": {http.MethodPost, header(), strings.NewReader("{}"), 415, `content type ""`, reasonContentType},
		"protobuf":        {http.MethodPost, header("Content-Type", "application/vnd.kubernetes.protobuf"), strings.NewReader("k8s"), 415, "is not application/json", reasonContentType},
		"compressed":      {http.MethodPost, header("Content-Type", "application/json", "Content-Encoding", "gzip"), strings.NewReader("{}"), 415, `"gzip" is not supported`, reasonContentType},
		"large, told":     {http.MethodPost, asJSON(), strings.NewReader(large), 413, "--audit-webhook-truncate-enabled", reasonTooLarge},
		"large, not told": {http.MethodPost, asJSON(), io.MultiReader(strings.NewReader(large)), 413, "exceeds 65536 bytes", reasonTooLarge},
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

// TestTooLargeIsTold: nobody has read it, so what was lost is only known by when it came.
func TestTooLargeIsTold(t *testing.T) {
	s := newSink(t, func(o *Options) { o.MaxBodyBytes = 1024 })
	s.post(s.cp1(), bytes.Repeat([]byte(" "), 2048), http.StatusRequestEntityTooLarge, "exceeds 1024 bytes")
	newest := s.rejects.Status().Newest
	if newest.APIServer != "cp-1" || newest.Index != WholeBody || !strings.Contains(newest.Reason, "exceeds 1024 bytes") {
		t.Errorf("told people of %+v", newest)
	}
	if diff := cmp.Diff([]int{0}, s.told.all()); diff != "" {
		t.Errorf("told of lost events (-want +got):\n%s", diff)
	}
	if got := testutil.ToFloat64(s.handler.metrics.refused.WithLabelValues(reasonTooLarge, "cp-1")); got != 1 {
		t.Errorf("counted %v of that API server", got)
	}
	if got := testutil.ToFloat64(s.handler.metrics.rejected.WithLabelValues("dropped")); got != 1 {
		t.Errorf("counted %v as dropped", got)
	}
}

func TestRoomForTheLargestBody(t *testing.T) {
	s := newSink(t, func(o *Options) { o.MaxBodyBytes = 100 << 20 })
	if got := s.handler.opts.MaxPendingBytes; got != 200<<20 {
		t.Errorf("room for %d bytes", got)
	}
}
