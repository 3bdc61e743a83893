// Package child runs programs as children of a test: each ends with the test, whatever
// happens to either, and says what it printed last when the test fails.
package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/portcullis-dev/portcullis/test/clockshift"
	"github.com/portcullis-dev/portcullis/test/standalone"
)

const (
	// pollInterval is how often readiness is asked for: nothing announces it.
	pollInterval = 50 * time.Millisecond
	// stopTimeout is how long a process may take to end by itself.
	stopTimeout = 40 * time.Second
)

// Options of Start.
type Options struct {
	// Path and Args are the program's. Required but for Args.
	Path string
	Args []string
	// Env is added to this process' environment.
	Env []string
	// Log is the file that its output goes to, appended. Required.
	Log string
	// Stdout is the file that its standard output goes to, appended; Log if empty.
	Stdout string
	// Ahead is how far its clock is ahead of ours; see package clockshift.
	Ahead time.Duration
}

// Process is a running child, or one that has ended.
type Process struct {
	name string
	log  string
	cmd  *exec.Cmd
	// exited is closed when the process has ended; err says how.
	exited chan struct{}
	err    error
	killed atomic.Bool
}

// Start runs a program until the test ends, or until Stop or Kill.
func Start(t standalone.TB, opts Options) *Process {
	t.Helper()
	p := &Process{name: filepath.Base(opts.Path), log: opts.Log, exited: make(chan struct{})}
	// The process ends with the test, see Stop, not with a context.
	p.cmd = exec.CommandContext(context.Background(), opts.Path, opts.Args...) //nolint:gosec // the programs that a test names
	p.cmd.Env = append(os.Environ(), opts.Env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	files, err := open(opts)
	if err != nil {
		t.Fatalf("output of %s: %v", p.name, err)
	}
	p.cmd.Stdout, p.cmd.Stderr = files[0], files[1]
	started := make(chan error)
	go p.run(opts.Ahead, files, started)
	switch err := <-started; {
	case errors.Is(err, errors.ErrUnsupported) && os.Getenv("CI") == "":
		t.Skip(err)
	case err != nil:
		t.Fatalf("start %s: %v", p.name, err)
	}
	t.Cleanup(func() {
		if t.Failed() && !p.killed.Load() {
			t.Logf("%s said last:\n%s", p.name, p.Tail())
		}
		_ = p.Stop() // how it ended is its user's business
	})
	return p
}

// open returns the files for the standard output and the log.
func open(opts Options) ([2]*os.File, error) {
	var files [2]*os.File
	for i, name := range []string{opts.Stdout, opts.Log} {
		if name == "" {
			name = opts.Log
		}
		var err error
		if files[i], err = os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
			return files, err
		}
	}
	return files, nil
}

// run starts the process and waits for its end. It keeps its thread: the kernel
// sends the parent-death signal when the thread that forked ends, not the process.
func (p *Process) run(ahead time.Duration, files [2]*os.File, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.exited)
	for _, f := range files {
		defer f.Close()
	}
	start := p.cmd.Start
	if ahead != 0 {
		start = func() error { return clockshift.Start(p.cmd, ahead) }
	}
	err := start()
	started <- err
	if err == nil {
		p.err = p.cmd.Wait()
	}
}

// PID is its process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Stop asks the process to end, with force if it must, and returns how it ended: nil is exit status 0. A
// process that has ended already is no error of Stop's.
func (p *Process) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
		return p.err
	case <-time.After(stopTimeout):
		p.Kill()
		return fmt.Errorf("%s did not end within %s", p.name, stopTimeout)
	}
}

// Kill ends the process at once (SIGKILL) and waits until it is gone.
func (p *Process) Kill() {
	p.killed.Store(true)
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// WaitFor asks until the answer is nil. It fails the test when the process ends or ctx does before.
func (p *Process) WaitFor(ctx context.Context, t standalone.TB, ask func(context.Context) error) {
	t.Helper()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-p.exited:
			t.Fatalf("%s ended: %v\n%s", p.name, p.err, p.Tail())
		case <-ctx.Done():
			t.Fatalf("%s is not ready: %v\n%s", p.name, err, p.Tail())
		}
	}
}

// Tail is the end of the process' log.
func (p *Process) Tail() string {
	const limit = 8 << 10
	data, err := os.ReadFile(p.log)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	return string(data[max(0, len(data)-limit):])
}
