package app

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
)

func TestTelemetryThatIsTakenIsRecorded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "telemetry.ndjson")
	next := &taken{}
	r, err := newRecorder(config.TelemetryLogConfig{Path: path, MaxMegabytes: 1, MaxFiles: 1}, field.New(), next, quiet(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	shell := &event.Event{ID: "e", Kind: event.KindProcess, Dataset: event.DatasetProcess, Category: []string{"process"},
		Process: &event.Process{Name: "sh"}}
	if err = r.Ingest(t.Context(), []*event.Event{shell, {ID: "r", Kind: event.KindAudit, Audit: &event.Audit{}}}); err != nil {
		t.Fatal(err)
	}
	full := errors.New("full")
	next.errs = []error{full}
	if err = r.Ingest(t.Context(), []*event.Event{shell}); !errors.Is(err, full) {
		t.Errorf("the source is told %v", err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err = r.run(stopped); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"event.category":["process"],"event.dataset":"portcullis.process","event.id":"e","group.id":"0",` +
		`"process.interactive":false,"process.name":"sh","user.id":"0"}` + "\n"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNothingIsRecordedUnlessItIsAskedFor(t *testing.T) {
	next := &taken{}
	r, err := newRecorder(config.Default().TelemetryLog, field.New(), next, quiet(), prometheus.NewRegistry())
	if err != nil || r.log != nil {
		t.Fatalf("log %v, %v", r.log, err)
	}
	if err = r.Ingest(t.Context(), []*event.Event{{ID: "e"}}); err != nil {
		t.Fatal(err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err = r.run(stopped); err != nil {
		t.Fatal(err)
	}
}
