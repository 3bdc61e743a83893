package auditsink

import (
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestRejectsStatus(t *testing.T) {
	dir := t.TempDir()
	told := 0
	open := func() *Rejects {
		r, err := OpenRejects(RejectsOptions{
			Dir: dir, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
			Told: func(_ Delivery, n int) { told += n },
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := open()
	if got := r.Status(); got.Events != 0 || got.Newest.Reason != "" {
		t.Errorf("of nothing: %+v", got)
	}
	keep(t, r, rejected(3, `{"a":"b"}`))
	last := Rejected{Index: 8, Reason: errors.New(`not ,"event": at all`), Raw: []byte(`"` + strings.Repeat("x", 20<<10) + `"`)}
	keep(t, r, last)
	keep(t, r)
	want := RejectsStatus{Events: 2, Newest: RejectedEvent{APIServer: from.APIServer, Received: from.Received, Index: 8, Reason: last.Reason.Error()}}
	for name, r := range map[string]*Rejects{"this process": r, "the next": open()} {
		if diff := cmp.Diff(want, r.Status()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if told != 2 {
		t.Errorf("told of %d events, want 2", told)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"+rejectSuffix))
	if err != nil || len(names) != 2 {
		t.Fatal(names, err)
	}
	if err := os.WriteFile(names[1], []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := open().Status(); got.Events != 2 || got.Newest.Reason != "" {
		t.Errorf("of a file that cannot be read: %+v", got)
	}
}

// TestWhatCannotBeReadIsNotSentAgainWhereTheDiskHasNoRoom: it would not be readable the next time either.
func TestWhatCannotBeReadIsNotSentAgainWhereTheDiskHasNoRoom(t *testing.T) {
	s := newSink(t, nil)
	if err := os.RemoveAll(s.rejects.opts.Dir); err != nil { // No file can be written.
		t.Fatal(err)
	}
	s.post(s.cp1(), []byte("no list"), http.StatusOK, "")
	if got := testutil.ToFloat64(s.handler.metrics.rejected.WithLabelValues("dropped")); got != 1 {
		t.Errorf("counted %v as dropped", got)
	}
	if got := s.rejects.Status(); got.Events != 0 || got.Newest.APIServer != "cp-1" {
		t.Errorf("told people of %+v", got)
	}
	if diff := cmp.Diff([]int{0}, s.told.all()); diff != "" {
		t.Errorf("told of lost events (-want +got):\n%s", diff)
	}
}
