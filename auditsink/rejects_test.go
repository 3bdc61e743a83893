package auditsink

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func openRejects(t testing.TB, dir string, maxBytes int64) *Rejects {
	t.Helper()
	r, err := OpenRejects(RejectsOptions{
		Dir: dir, MaxBytes: maxBytes,
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return r
}

// readRejects reads what the folder holds, oldest first.
func readRejects(t testing.TB, r *Rejects) []RejectedEvent {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(r.opts.Dir, "*"+rejectSuffix))
	if err != nil {
		t.Fatal(err)
	}
	var out []RejectedEvent
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(bytes.NewReader(text))
		for lines.Scan() {
			var e RejectedEvent
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			out = append(out, e)
		}
	}
	return out
}

func rejected(index int, raw string) Rejected {
	return Rejected{Index: index, Reason: errors.New("odd"), Raw: json.RawMessage(raw)}
}

func keep(t testing.TB, r *Rejects, items ...Rejected) int {
	t.Helper()
	kept, err := r.Keep(from, items)
	if err != nil {
		t.Fatalf("keep: %v", err)
	}
	return kept
}

func TestKeepAndReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "rejects")
	r := openRejects(t, dir, 0)
	keep(t, r, rejected(3, `{"a":"b\nc"}`), rejected(7, `null`))
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("somebody else's"), 0o600); err != nil {
		t.Fatal(err)
	}
	r = openRejects(t, dir, 0)
	keep(t, r, rejected(0, `17`))
	want := []RejectedEvent{
		{APIServer: "cp-1", Received: received, Index: 3, Reason: "odd", Event: json.RawMessage(`{"a":"b\nc"}`)},
		{APIServer: "cp-1", Received: received, Index: 7, Reason: "odd", Event: json.RawMessage(`null`)},
		{APIServer: "cp-1", Received: received, Index: 0, Reason: "odd", Event: json.RawMessage(`17`)},
	}
	if diff := cmp.Diff(want, readRejects(t, r)); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder's mode is %v (%v)", info.Mode(), err)
	}
	info, err = os.Stat(filepath.Join(dir, rejectName(0, 2)))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a file's mode is %v (%v)", info, err)
	}
}

func TestOldestGoFirst(t *testing.T) {
	dir := t.TempDir()
	r := openRejects(t, dir, 4096)
	raw := `"` + strings.Repeat("x", 900) + `"`
	for i := range 10 {
		keep(t, r, rejected(i, raw))
	}
	check := func(r *Rejects, first int) {
		t.Helper()
		got := readRejects(t, r)
		if len(got) == 0 || got[0].Index != first || got[len(got)-1].Index != 9 {
			t.Fatalf("kept %d, from %d", len(got), got[0].Index)
		}
		var size int64
		for _, f := range r.files {
			size += f.size
		}
		if size > r.opts.MaxBytes || size != r.size || testutil.ToFloat64(r.bytes) != float64(size) {
			t.Errorf("size %d (counted %d, shown %v) of %d", size, r.size, testutil.ToFloat64(r.bytes), r.opts.MaxBytes)
		}
	}
	check(r, 6)
	if got := testutil.ToFloat64(r.evicted); got != 6 {
		t.Errorf("evicted %v, want 6", got)
	}
	// A smaller limit holds from the start.
	check(openRejects(t, dir, 2048), 8)
}

func TestTooLargeToKeep(t *testing.T) {
	r := openRejects(t, t.TempDir(), 4096)
	large := `"` + strings.Repeat("x", 5000) + `"`
	if kept := keep(t, r, rejected(0, large), rejected(1, `1`)); kept != 1 {
		t.Errorf("kept %d, want the small one", kept)
	}
	if kept := keep(t, r, rejected(0, large)); kept != 0 {
		t.Errorf("kept %d, want none", kept)
	}
	if got := readRejects(t, r); len(got) != 1 || got[0].Index != 1 {
		t.Errorf("kept %v", got)
	}
}

func TestNumberOfFilesIsBounded(t *testing.T) {
	r := openRejects(t, t.TempDir(), 0)
	for i := range maxRejectFiles + 10 {
		keep(t, r, rejected(i, `1`))
	}
	if len(r.files) != maxRejectFiles {
		t.Errorf("%d files", len(r.files))
	}
	if got := testutil.ToFloat64(r.evicted); got != 10 {
		t.Errorf("evicted %v, want 10", got)
	}
}

func TestDiskRefuses(t *testing.T) {
	dir := t.TempDir()
	r := openRejects(t, dir, 0)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	kept, err := r.Keep(from, []Rejected{rejected(0, `1`)})
	if kept != 0 || err == nil || !strings.Contains(err.Error(), "keep rejected events") {
		t.Errorf("kept %d, %v", kept, err)
	}
	if r.size != 0 || len(r.files) != 0 {
		t.Error("counts a file that is not there")
	}
}

func TestKeepConcurrently(t *testing.T) {
	r := openRejects(t, t.TempDir(), 0)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() { keep(t, r, rejected(i, fmt.Sprint(i))) })
	}
	wg.Wait()
	if got := readRejects(t, r); len(got) != 50 {
		t.Errorf("kept %d of 50", len(got))
	}
}

func TestOpenRejectsNamesTheField(t *testing.T) {
	full := RejectsOptions{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()}
	for field, change := range map[string]func(*RejectsOptions){
		"Dir":        func(o *RejectsOptions) { o.Dir = "" },
		"MaxBytes":   func(o *RejectsOptions) { o.MaxBytes = -1 },
		"Logger":     func(o *RejectsOptions) { o.Logger = nil },
		"Registerer": func(o *RejectsOptions) { o.Registerer = nil },
	} {
		o := full
		change(&o)
		if _, err := OpenRejects(o); err == nil || !strings.Contains(err.Error(), "RejectsOptions."+field) {
			t.Errorf("%s: got error %v", field, err)
		}
	}
}
