// Package standalone lets a command use what was written for tests: real servers that
// start, fail and clean up after themselves by a testing.TB.
//
// What such a helper needs of a testing.TB is a [TB]. A test hands over its own; a
// command gets one from [Run].
package standalone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
)

// TB is the part of testing.TB that helpers need.
type TB interface {
	Helper()
	Context() context.Context
	Cleanup(f func())
	TempDir() string
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Skip(args ...any)
}

// Options change what Run does.
type Options struct {
	// Name is what its temporary directories are called after.
	Name string
	// Log is where messages go; discarded if nil.
	Log io.Writer
}

// Run calls f in a goroutine of its own, as a test is, with a TB that it may use until it
// returns. Then all that was registered with Cleanup is done, the last first, and the
// temporary directories are removed. Run returns what failed. The TB's context ends with ctx, and
// before the cleanup.
func Run(ctx context.Context, opts Options, f func(TB)) error {
	if opts.Log == nil {
		opts.Log = io.Discard
	}
	r := &run{opts: opts}
	var cancel context.CancelFunc
	r.ctx, cancel = context.WithCancel(ctx)
	defer cancel()
	r.guard(func() { f(r) })
	cancel()
	r.cleanUp()
	return errors.Join(r.errs...)
}

// run implements TB.
type run struct {
	opts Options
	ctx  context.Context

	mu       sync.Mutex
	errs     []error
	cleanups []func()
}

// guard calls f where Fatal can end it, and nothing but it.
func (r *run) guard(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if problem := recover(); problem != nil {
				buf := make([]byte, 16<<10)
				r.Errorf("panic: %v\n%s", problem, buf[:runtime.Stack(buf, false)])
			}
		}()
		f()
	}()
	<-done
}

func (r *run) cleanUp() {
	for {
		r.mu.Lock()
		n := len(r.cleanups)
		if n == 0 {
			r.mu.Unlock()
			return
		}
		last := r.cleanups[n-1]
		r.cleanups = slices.Delete(r.cleanups, n-1, n)
		r.mu.Unlock()
		r.guard(last)
	}
}

func (r *run) Helper() {}

func (r *run) Context() context.Context { return r.ctx }

func (r *run) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

func (r *run) TempDir() string {
	dir, err := os.MkdirTemp("", r.opts.Name+"-")
	if err != nil {
		r.Fatalf("temporary directory: %v", err)
	}
	r.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			r.Errorf("remove the temporary directory: %v", err)
		}
	})
	return dir
}

func (r *run) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.errs) > 0
}

func (r *run) Logf(format string, args ...any) { fmt.Fprintf(r.opts.Log, format+"\n", args...) }

func (r *run) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs = append(r.errs, fmt.Errorf(format, args...)) //nolint:err113 // as a test says it
}

func (r *run) Fatal(args ...any) {
	r.Errorf("%s", fmt.Sprint(args...))
	runtime.Goexit()
}

func (r *run) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// Skip fails: a command that does nothing has not done what it was asked for.
func (r *run) Skip(args ...any) { r.Fatal(args...) }
