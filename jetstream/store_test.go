package jetstream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/minio/highwayhash"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/event"
)

func TestMain(m *testing.M) {
	if os.Getenv(childDirectory) != "" {
		os.Exit(child())
	}
	goleak.VerifyTestMain(m)
}

func TestCloseDoesNotWaitForADiskThatHangs(t *testing.T) {
	t.Parallel()
	o := options(t.TempDir())
	o.closing = time.Millisecond
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	b := openBus(t, s)
	publish(t, b, candidate("k", 0))
	var disk sync.WaitGroup
	disk.Add(1)
	s.housekeeping.Go(disk.Wait)
	err = s.Close()
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), o.Directory) || !strings.Contains(err.Error(), "did not answer within 1ms") {
		t.Errorf("error is %v", err)
	}
	if err = b.Publish(t.Context(), candidate("k", 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("publishers are told %v", err)
	}
	disk.Done() // It goes on when the disk does, and lets go of the directory.
	o.closing, o.LockTimeout, o.Registerer = 0, time.Minute, prometheus.NewRegistry()
	s = open(t, o)
	if diff := cmp.Diff([]string{"k/0"}, consume(t, openBus(t, s), 1)); diff != "" {
		t.Error(diff)
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func options(dir string) Options {
	return Options{
		Directory: dir, MaxBytes: 1 << 30, Timeout: time.Minute, Clock: time.Now, Logger: quiet(), Registerer: prometheus.NewRegistry(),
	}
}

// open opens a store until the test ends.
func open(tb testing.TB, o Options) *Store {
	tb.Helper()
	s, err := Open(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { shut(tb, s) })
	return s
}

// shut closes a store, if that has not been done.
func shut(tb testing.TB, s *Store) {
	tb.Helper()
	if _, err := s.current(); errors.Is(err, ErrClosed) {
		return
	}
	if err := s.Close(); err != nil {
		tb.Error(err)
	}
}

func openBus(tb testing.TB, s *Store) *Bus {
	tb.Helper()
	b, err := s.Bus(tb.Context(), BusOptions{Retention: time.Hour, MaxBytes: 256 << 20})
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func openBucket(tb testing.TB, s *Store) *Bucket {
	tb.Helper()
	b, err := s.Bucket(tb.Context(), BucketOptions{Name: "records", TTL: time.Hour, MaxBytes: 64 << 20})
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// candidate is number n of a key.
func candidate(key string, n int) bus.Candidate {
	return bus.Candidate{Rule: "r", Key: key, Stage: n, Event: &event.Event{ID: fmt.Sprintf("%s/%d", key, n)}}
}

// candidates are n of a key, each of an event of its own.
func candidates(key string, n int) []bus.Candidate {
	all := make([]bus.Candidate, n)
	for i := range all {
		all[i] = candidate(key, i)
	}
	return all
}

func publish(tb testing.TB, b bus.Bus, candidates ...bus.Candidate) {
	tb.Helper()
	if err := b.Publish(tb.Context(), candidates...); err != nil {
		tb.Fatal(err)
	}
}

// consume returns the next candidates of a bus, as key/stage, until there are n.
func consume(tb testing.TB, b bus.Bus, n int) []string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 2*time.Minute)
	defer cancel()
	var got []string
	err := b.Consume(ctx, func(_ context.Context, c bus.Candidate) error {
		if got = append(got, fmt.Sprintf("%s/%d", c.Key, c.Stage)); len(got) == n {
			cancel()
		}
		return nil
	})
	if err != nil {
		tb.Fatalf("%d of %d: %v", len(got), n, err)
	}
	return got
}

// names are those of candidates, as consume returns them.
func names(candidates []bus.Candidate) []string {
	all := make([]string, len(candidates))
	for i, c := range candidates {
		all[i] = fmt.Sprintf("%s/%d", c.Key, c.Stage)
	}
	return all
}

// consumeAll returns everything that is stored on a bus that nobody has consumed.
func consumeAll(tb testing.TB, b *Bus) []string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 2*time.Minute)
	defer cancel()
	var got []string
	done := make(chan error, 1)
	go func() {
		done <- b.Consume(ctx, func(_ context.Context, c bus.Candidate) error {
			got = append(got, fmt.Sprintf("%s/%d", c.Key, c.Stage))
			return nil
		})
	}()
	select {
	case <-b.Replayed():
	case <-ctx.Done():
		tb.Error("the replay does not end")
	}
	cancel()
	if err := <-done; err != nil {
		tb.Error(err)
	}
	return got
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	good := options(t.TempDir())
	for want, spoil := range map[string]func(*Options){
		"Directory":  func(o *Options) { o.Directory = "" },
		"MaxBytes":   func(o *Options) { o.MaxBytes = 1 },
		"Timeout":    func(o *Options) { o.Timeout = -1 },
		"Clock":      func(o *Options) { o.Clock = nil },
		"Logger":     func(o *Options) { o.Logger = nil },
		"Registerer": func(o *Options) { o.Registerer = nil },
	} {
		o := good
		spoil(&o)
		if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v", want, err)
		}
	}
	s := open(t, good)
	for want, o := range map[string]BusOptions{
		"Retention": {}, "MaxBytes": {Retention: 1, MaxBytes: 1}, "Drain": {Retention: 1, Drain: -1},
	} {
		if _, err := s.Bus(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v", want, err)
		}
	}
	for want, o := range map[string]BucketOptions{
		"Name is \"\"": {TTL: 1, MaxBytes: 1 << 30}, "Name is \"a.b\"": {Name: "a.b", TTL: 1, MaxBytes: 1 << 30},
		"TTL": {Name: "a", MaxBytes: 1 << 30}, "MaxBytes": {Name: "a", TTL: 1},
	} {
		if _, err := s.Bucket(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v", want, err)
		}
	}
}

// TestNothingIsLeftOpen runs alone: it counts the process' files.
func TestNothingIsLeftOpen(t *testing.T) {
	files := func() []string {
		t.Helper()
		all, err := entries("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return all
	}
	dir := t.TempDir()
	cycle := func() {
		s := open(t, options(dir))
		e, err := s.current()
		if err != nil {
			t.Fatal(err)
		}
		if e.server.Addr() != nil || e.server.MonitorAddr() != nil || e.server.ClusterAddr() != nil {
			t.Error("the server inside listens")
		}
		b := openBus(t, s)
		publish(t, b, candidate("k", 0))
		consumeAll(t, b)
		s.fail(errors.New("a failure"))
		if _, err = s.await(t.Context()); err != nil {
			t.Fatal(err)
		}
		publish(t, b, candidate("k", 1))
		shut(t, s)
	}
	cycle() // What the process opens once and keeps, it has opened then.
	before := files()
	cycle()
	if after := files(); len(after) > len(before) {
		t.Errorf("%d files are open, %d were before", len(after), len(before))
	}
	left, err := entries(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{formatName, "jetstream", lockName, netName}, left); diff != "" {
		t.Error(diff)
	}
}

func TestSecondProcessIsKeptOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, options(dir))
	if _, err := Open(t.Context(), options(dir)); !errors.Is(err, ErrLocked) {
		t.Errorf("error is %v", err)
	}
}

func TestSuccessorWaitsForItsPredecessor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := open(t, options(dir))
	publish(t, openBus(t, first), candidate("k", 0))
	waiting := make(chan struct{})
	o := options(dir)
	o.LockTimeout = time.Minute
	o.Logger = slog.New(slog.NewTextHandler(writerFunc(func(line []byte) (int, error) {
		if strings.Contains(string(line), "waiting for its end") {
			close(waiting)
		}
		return len(line), nil
	}), nil))
	go func() {
		<-waiting
		shut(t, first)
	}()
	consume(t, openBus(t, open(t, o)), 1)
}

// writerFunc is a function as a writer.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestDirectoryIsPrivate(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made")
	shut(t, open(t, options(dir)))
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	open(t, options(dir))
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o700 {
		t.Errorf("mode is %o", mode)
	}
}

func TestStoreOfANewerVersionIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, formatName), []byte(`{"format":2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), options(dir)); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), dir) {
		t.Errorf("error is %v", err)
	}
}

// TestStreamOfANewerServerIsRefused has a setting in a stream's description that this version of the server inside
// does not know.
func TestStreamOfANewerServerIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, options(dir))
	publish(t, openBus(t, s), candidate("k", 0))
	shut(t, s)
	path := filepath.Join(dir, streamsPath, candidateStream)
	text, err := os.ReadFile(filepath.Join(path, "meta.inf"))
	if err != nil {
		t.Fatal(err)
	}
	describe := func(text []byte) {
		t.Helper()
		key := sha256.Sum256([]byte(candidateStream))
		sum, failed := highwayhash.New64(key[:])
		if failed != nil {
			t.Fatal(failed)
		}
		_, _ = sum.Write(text)
		failed = errors.Join(os.WriteFile(filepath.Join(path, "meta.inf"), text, 0o600),
			os.WriteFile(filepath.Join(path, "meta.sum"), []byte(hex.EncodeToString(sum.Sum(nil))), 0o600))
		if failed != nil {
			t.Fatal(failed)
		}
	}
	describe(bytes.Replace(text, []byte("{"), []byte(`{"of_the_future":1,`), 1))
	for range 2 {
		s = open(t, options(dir))
		_, err = s.Bus(t.Context(), BusOptions{Retention: time.Hour, MaxBytes: 256 << 20})
		if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "move "+dir) {
			t.Errorf("error is %v", err)
		}
		shut(t, s)
	}
	describe(text)
	if diff := cmp.Diff([]string{"k/0"}, consumeAll(t, openBus(t, open(t, options(dir))))); diff != "" {
		t.Error(diff)
	}
}

func TestDamagedFormatSaysWhatToDo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, formatName), []byte(`{"form`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), options(dir)); err == nil || !strings.Contains(err.Error(), "delete the file") {
		t.Errorf("error is %v", err)
	}
}

func TestBoundsThatDoNotFitAreExplained(t *testing.T) {
	t.Parallel()
	s := open(t, options(t.TempDir()))
	_, err := s.Bus(t.Context(), BusOptions{Retention: time.Hour, MaxBytes: 2 << 30})
	if err == nil || !strings.Contains(err.Error(), "raise Options.MaxBytes") {
		t.Errorf("error is %v", err)
	}
}

func TestClosedStoreSaysSo(t *testing.T) {
	t.Parallel()
	s := open(t, options(t.TempDir()))
	b, records := openBus(t, s), openBucket(t, s)
	shut(t, s)
	nothing := func(context.Context, bus.Candidate) error { return nil }
	for what, err := range map[string]error{
		"publish": b.Publish(t.Context(), candidate("k", 0)),
		"consume": b.Consume(t.Context(), nothing),
		"put":     records.Put(t.Context(), "k", nil),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: error is %v", what, err)
		}
	}
}
