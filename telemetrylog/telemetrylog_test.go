package telemetrylog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/portcullis-dev/portcullis/event"
)

func TestMain(m *testing.M) {
	// lumberjack's goroutine that removes old files ends with the process.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"))
}

func telemetry(id string) *event.Event {
	return &event.Event{ID: id, Kind: event.KindProcess, Process: &event.Process{Name: "sh"}}
}

func encode(e *event.Event) ([]byte, error) { return fmt.Appendf(nil, `{"event.id":%q}`, e.ID), nil }

func options(path string) Options {
	return Options{Path: path, Encode: encode, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()}
}

// finish runs the log until everything is written.
func finish(tb testing.TB, l *Log) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	cancel()
	if err := l.Run(ctx); err != nil {
		tb.Fatal(err)
	}
}

func newLog(tb testing.TB, o Options) *Log {
	tb.Helper()
	l, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func read(tb testing.TB, path string) string {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

func TestTelemetryIsWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log", "telemetry.ndjson")
	l := newLog(t, options(path))
	l.Add([]*event.Event{telemetry("a"), {ID: "audit", Kind: event.KindAudit, Audit: &event.Audit{}}, telemetry("b")})
	finish(t, l)
	if diff := cmp.Diff("{\"event.id\":\"a\"}\n{\"event.id\":\"b\"}\n", read(t, path)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := testutil.ToFloat64(l.written); n != 2 {
		t.Errorf("%f events counted", n)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read it: %v, %v", info.Mode(), err)
	}
}

// A server that starts again goes on, after a line that the last one may not have ended.
func TestTheLogGoesOn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "telemetry.ndjson")
	for _, before := range []string{"", "{\"event.id\":\"a\"}\n", "{\"event"} {
		if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		l := newLog(t, options(path))
		l.Add([]*event.Event{telemetry("b"), telemetry("c")})
		finish(t, l)
		want := before
		if before != "" && !strings.HasSuffix(before, "\n") {
			want += "\n"
		}
		want += "{\"event.id\":\"b\"}\n{\"event.id\":\"c\"}\n"
		if diff := cmp.Diff(want, read(t, path)); diff != "" {
			t.Errorf("after %q (-want +got):\n%s", before, diff)
		}
	}
}

func TestTheLogIsRotated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := options(filepath.Join(dir, "telemetry.ndjson"))
	o.MaxMegabytes, o.MaxFiles = 1, 2
	o.Encode = func(*event.Event) ([]byte, error) { return bytes.Repeat([]byte("x"), 300<<10), nil }
	l := newLog(t, o)
	for range 7 {
		l.Add([]*event.Event{telemetry("a")})
	}
	finish(t, l)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 3 {
		t.Fatalf("files %q, %v", files, err)
	}
	lines := 0
	for _, file := range files {
		text := read(t, file)
		if len(text) > 1<<20 {
			t.Errorf("%s has %d bytes", file, len(text))
		}
		lines += strings.Count(text, "\n")
	}
	if lines != 7 {
		t.Errorf("%d lines in all files", lines)
	}
}

func TestAFullQueueIsCounted(t *testing.T) {
	t.Parallel()
	l := newLog(t, options(filepath.Join(t.TempDir(), "x")))
	many := make([]*event.Event, queued+3)
	for i := range many {
		many[i] = telemetry("a")
	}
	l.Add(many) // must not wait: nobody writes
	finish(t, l)
	if full, written := testutil.ToFloat64(l.full), testutil.ToFloat64(l.written); full != 3 || written != queued {
		t.Errorf("%f lost, %f written", full, written)
	}
}

// disk is a file on a disk that fills up: it takes so many bytes more.
type disk struct {
	bytes.Buffer
	room int
}

var errFull = errors.New("no space left on device")

func (d *disk) Write(p []byte) (int, error) {
	n := min(len(p), d.room)
	d.room -= n
	d.Buffer.Write(p[:n])
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

func (d *disk) Close() error { return nil }

func TestAFullDiskIsCountedAndToldAndOver(t *testing.T) {
	t.Parallel()
	var told bytes.Buffer
	o := options(filepath.Join(t.TempDir(), "x"))
	o.Logger = slog.New(slog.NewTextHandler(&told, nil))
	l := newLog(t, o)
	if err := l.file.Close(); err != nil {
		t.Fatal(err)
	}
	d := &disk{room: 25}
	l.file = d
	for i := range 4 {
		l.write(telemetry(fmt.Sprint(i)))
	}
	d.room = 1000
	l.write(telemetry("over"))
	finish(t, l)
	const want = "{\"event.id\":\"0\"}\n{\"event.\n{\"event.id\":\"over\"}\n"
	if diff := cmp.Diff(want, d.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if failing, written := testutil.ToFloat64(l.failing), testutil.ToFloat64(l.written); failing != 3 || written != 2 {
		t.Errorf("%f lost, %f written", failing, written)
	}
	if n := strings.Count(told.String(), errFull.Error()); n != 1 {
		t.Errorf("told %d times:\n%s", n, told.String())
	}
}

func TestMistakesAreToldAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, change := range map[string]func(*Options){
		"Path is empty":     func(o *Options) { o.Path = "" },
		"is a directory":    func(o *Options) { o.Path = dir },
		"MaxFiles -1":       func(o *Options) { o.MaxFiles = -1 },
		"Encode is nil":     func(o *Options) { o.Encode = nil },
		"Logger is nil":     func(o *Options) { o.Logger = nil },
		"Registerer is nil": func(o *Options) { o.Registerer = nil },
		"duplicate metrics": func(o *Options) {
			l := newLog(t, options(filepath.Join(dir, "other")))
			o.Registerer = l.opts.Registerer
			finish(t, l)
		},
	} {
		o := options(filepath.Join(dir, "x"))
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
