package auditsink

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/event"
)

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
