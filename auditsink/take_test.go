package auditsink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/event"
)

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

// TestWhatIsNoEventListIsSetAside: an API server would send it again, and it would still be none.
func TestWhatIsNoEventListIsSetAside(t *testing.T) {
	for name, tc := range map[string]struct{ body, reason string }{
		"nothing":         {"", "unexpected end"},
		"not JSON":        {"hello", "not an EventList of audit.k8s.io/v1"},
		"not text":        {"\xff\x00\x01", "not an EventList of audit.k8s.io/v1"},
		"half a list":     {string(list(item("")))[:100], "not an EventList of audit.k8s.io/v1"},
		"another kind":    {`{"kind":"Pod"}`, `kind "Pod"`},
		"another version": {`{"kind":"EventList","apiVersion":"audit.k8s.io/v2","items":[]}`, "audit.k8s.io/v2"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSink(t, nil)
			s.post(s.cp1(), []byte(tc.body), http.StatusOK, "")
			if s.pipeline.count() != 0 {
				t.Error("the pipeline got events")
			}
			kept := readRejects(t, s.rejects)
			if len(kept) != 1 || kept[0].APIServer != "cp-1" || kept[0].Index != WholeBody || !strings.Contains(kept[0].Reason, tc.reason) {
				t.Fatalf("kept %+v, want a reason with %q", kept, tc.reason)
			}
			var body []byte
			if err := json.Unmarshal(kept[0].Event, &body); err != nil || string(body) != tc.body {
				t.Errorf("kept %q (%v), want %q", body, err, tc.body)
			}
			if diff := cmp.Diff([]int{0}, s.told.all()); diff != "" {
				t.Errorf("told of lost events (-want +got):\n%s", diff)
			}
			if got := testutil.ToFloat64(s.handler.metrics.undecodable.WithLabelValues("cp-1")); got != 1 {
				t.Errorf("counted %v", got)
			}
			if log := s.log.String(); !strings.Contains(log, "audit events could not be read") {
				t.Errorf("the log says %q", log)
			}
		})
	}
}
