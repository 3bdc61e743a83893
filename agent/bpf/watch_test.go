package bpf_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/agent/bpf"
	"github.com/portcullis-dev/portcullis/agent/kerneltest"
)

// watcher collects the records of the kernel.
type watcher struct {
	tb       testing.TB
	programs *bpf.Programs
	stop     func()

	mu      sync.Mutex
	changed chan struct{}
	records []*bpf.Record
}

// watch loads the programs and reads until the test ends.
func watch(tb testing.TB, opts bpf.Options) *watcher {
	tb.Helper()
	w := load(tb, opts)
	w.read()
	return w
}

// load loads the programs: nobody reads what they record until read is called.
func load(tb testing.TB, opts bpf.Options) *watcher {
	tb.Helper()
	kerneltest.RequireRoot(tb)
	opts.Logger = slog.New(slog.DiscardHandler)
	programs, err := bpf.Load(opts)
	if err != nil {
		tb.Fatal(err)
	}
	w := &watcher{tb: tb, programs: programs, changed: make(chan struct{}), stop: func() {}}
	tb.Cleanup(func() {
		w.stop()
		if err := programs.Close(); err != nil {
			tb.Error(err)
		}
	})
	return w
}

// read reads until the test ends, or stop is called.
func (w *watcher) read() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.programs.Read(ctx, w.take, func() {}) }()
	w.stop = sync.OnceFunc(func() {
		if err := w.programs.Detach(); err != nil {
			w.tb.Error(err)
		}
		cancel()
		if err := <-done; err != nil {
			w.tb.Error(err)
		}
	})
}

func (w *watcher) take(r *bpf.Record, err error) {
	if err != nil {
		w.tb.Errorf("a record cannot be decoded: %v", err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := *r
	w.records = append(w.records, &kept)
	close(w.changed)
	w.changed = make(chan struct{})
}

// all returns the records that match, so far.
func (w *watcher) all(matches ...func(*bpf.Record) bool) []*bpf.Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []*bpf.Record
	for _, r := range w.records {
		if !slices.ContainsFunc(matches, func(match func(*bpf.Record) bool) bool { return !match(r) }) {
			found = append(found, r)
		}
	}
	return found
}

// one waits for the first record that matches.
func (w *watcher) one(what string, matches ...func(*bpf.Record) bool) *bpf.Record {
	w.tb.Helper()
	timeout := time.After(kerneltest.Patience())
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		if found := w.all(matches...); len(found) > 0 {
			return found[0]
		}
		select {
		case <-changed:
		case <-timeout:
			w.tb.Fatalf("no record of %s; those of containers are:\n%s", what, w)
		}
	}
}

func (w *watcher) String() string {
	var b strings.Builder
	for _, r := range w.all() {
		if r.Kind != bpf.KindExit {
			b.WriteString("  " + r.Executable + " " + strings.Join(r.Args, " ") + " " + r.File + "\n")
		}
	}
	return b.String()
}

func kind(k bpf.Kind) func(*bpf.Record) bool {
	return func(r *bpf.Record) bool { return r.Kind == k }
}

func in(c *kerneltest.Container) func(*bpf.Record) bool {
	return func(r *bpf.Record) bool { return r.CgroupPath == c.Cgroup }
}

func args(args ...string) func(*bpf.Record) bool {
	return func(r *bpf.Record) bool { return slices.Equal(r.Args, args) }
}

func file(name string) func(*bpf.Record) bool {
	return func(r *bpf.Record) bool { return strings.HasSuffix(r.File, "/"+name) }
}
