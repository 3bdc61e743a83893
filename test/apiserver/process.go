package apiserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/test/clockshift"
)

// pollInterval is how often readiness is asked for: nothing announces it.
const pollInterval = 100 * time.Millisecond

// stopTimeout is how long a process may take to end by itself.
const stopTimeout = 20 * time.Second

// process is a running child of the test.
type process struct {
	name string
	log  string
	// exited is closed when the process has ended; err says how.
	exited chan struct{}
	err    error
}

// startProcess runs the program until the test ends, with a clock that is ahead of ours. Its output
// goes to a file in dir.
func startProcess(t testing.TB, dir string, ahead time.Duration, path string, args ...string) *process {
	t.Helper()
	p := &process{name: filepath.Base(path), exited: make(chan struct{})}
	p.log = filepath.Join(dir, p.name+".log")
	out, err := os.Create(p.log)
	if err != nil {
		t.Fatalf("log of %s: %v", p.name, err)
	}
	// The process ends with the test, see stop, not with a context.
	cmd := exec.CommandContext(context.Background(), path, args...) //nolint:gosec // the programs that a test names
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go p.run(cmd, ahead, out, started)
	switch err := <-started; {
	case errors.Is(err, errors.ErrUnsupported) && os.Getenv("CI") == "":
		t.Skip(err)
	case err != nil:
		t.Fatalf("start %s: %v", p.name, err)
	}
	t.Cleanup(func() { p.stop(t, cmd) })
	return p
}

// run starts the process and waits for its end. It keeps its thread: the kernel
// sends the parent-death signal when the thread that forked ends, not the process.
func (p *process) run(cmd *exec.Cmd, ahead time.Duration, out *os.File, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.exited)
	defer out.Close()
	start := cmd.Start
	if ahead != 0 {
		start = func() error { return clockshift.Start(cmd, ahead) }
	}
	err := start()
	started <- err
	if err == nil {
		p.err = cmd.Wait()
	}
}

// stop ends the process, with force if it must.
func (p *process) stop(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if t.Failed() {
		t.Logf("%s said last:\n%s", p.name, p.tail())
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		_ = cmd.Process.Kill()
		<-p.exited
	}
}

// waitFor asks until the answer is nil, and fails the test when the process
// ends or the time is up before.
func (p *process) waitFor(ctx context.Context, t testing.TB, ask func(context.Context) error) {
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
			t.Fatalf("%s ended: %v\n%s", p.name, p.err, p.tail())
		case <-ctx.Done():
			t.Fatalf("%s is not ready: %v\n%s", p.name, err, p.tail())
		}
	}
}

// tail is the end of the process' output.
func (p *process) tail() string {
	const limit = 8 << 10
	data, err := os.ReadFile(p.log)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	return string(data[max(0, len(data)-limit):])
}
