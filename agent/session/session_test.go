package session_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/portcullis-dev/portcullis/agent"
	"github.com/portcullis-dev/portcullis/agent/bpf"
	"github.com/portcullis-dev/portcullis/agent/kerneltest"
	"github.com/portcullis-dev/portcullis/agent/session"
	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// rig is an agent that runs, with what it has seen.
type rig struct {
	tb    testing.TB
	ender *session.Ender
	boot  string

	mu      sync.Mutex
	changed chan struct{}
	events  []*telemetryv1.Event
}

func (r *rig) Push(e *telemetryv1.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *rig) Close() {}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	kerneltest.RequireRoot(tb)
	logger := slog.New(slog.DiscardHandler)
	programs, err := bpf.Load(bpf.Options{Logger: logger})
	if err != nil {
		tb.Fatal(err)
	}
	r := &rig{tb: tb, changed: make(chan struct{})}
	if r.boot, err = agent.BootID(); err != nil {
		tb.Fatal(err)
	}
	a, err := agent.New(agent.Options{Programs: programs, BootID: r.boot, Sink: r, Logger: logger, Registerer: prometheus.NewRegistry()})
	if err != nil {
		tb.Fatal(err)
	}
	r.ender, err = session.New(session.Options{Table: programs, Container: a.Container, First: a.First, BootID: r.boot, Logger: logger, Patience: kerneltest.Patience()})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
		if err := programs.Close(); err != nil {
			tb.Error(err)
		}
	})
	return r
}

// one waits for an event that matches.
func (r *rig) one(what string, match func(*telemetryv1.Event) bool) *telemetryv1.Event {
	r.tb.Helper()
	timeout := time.After(kerneltest.Patience())
	for {
		r.mu.Lock()
		changed, events := r.changed, r.events
		r.mu.Unlock()
		for _, e := range events {
			if match(e) {
				return e
			}
		}
		select {
		case <-changed:
		case <-timeout:
			r.tb.Fatalf("no event of %s in %v", what, events)
		}
	}
}

// executed waits for the exec of a command line, or of one with such an argument.
func (r *rig) executed(command string) *telemetryv1.Process {
	r.tb.Helper()
	return r.one("the exec of "+command, func(e *telemetryv1.Event) bool {
		args := e.GetProcess().GetArgs()
		return e.GetExec() != nil && (strings.Join(args, " ") == command || slices.Contains(args, command))
	}).GetProcess()
}

// exited waits for the end of a process.
func (r *rig) exited(p *telemetryv1.Process) *telemetryv1.ProcessExit {
	r.tb.Helper()
	return r.one("the end of "+p.GetName(), func(e *telemetryv1.Event) bool {
		return e.GetExit() != nil && e.GetProcess().GetEntityId() == p.GetEntityId()
	}).GetExit()
}

// begin starts an exec session that the test does not wait for, and returns its entry leader.
func (r *rig) begin(c *kerneltest.Container, script string) *telemetryv1.Process {
	r.tb.Helper()
	mark := kerneltest.ID(r.tb)[:12]
	r.start(c.Command("/bin/sh", "-c", script, mark))
	return r.executed(mark)
}

// start starts a command that ends with the test at the latest; wait waits for that.
func (r *rig) start(cmd *exec.Cmd) (wait func()) {
	r.tb.Helper()
	if err := cmd.Start(); err != nil {
		r.tb.Fatal(err)
	}
	wait = sync.OnceFunc(func() { _ = cmd.Wait() })
	r.tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		wait()
	})
	return wait
}

func (r *rig) end(c *kerneltest.Container, p *telemetryv1.Process, mainProcess bool) *telemetryv1.CommandResult {
	r.tb.Helper()
	return r.endWith(c, p, mainProcess, "")
}

func (r *rig) endWith(c *kerneltest.Container, p *telemetryv1.Process, mainProcess bool, reason string) *telemetryv1.CommandResult {
	r.tb.Helper()
	return r.ender.End(r.tb.Context(), &telemetryv1.EndSession{
		Reason:      reason,
		EntityId:    p.GetEntryLeader().GetEntityId(),
		Container:   &telemetryv1.Container{Id: c.ID, PodUid: c.UID},
		MainProcess: mainProcess,
	})
}

func (r *rig) want(result *telemetryv1.CommandResult, outcome telemetryv1.Outcome, detail string) {
	r.tb.Helper()
	if result.GetOutcome() != outcome || !strings.Contains(result.GetDetail(), detail) {
		r.tb.Errorf("the outcome is %v, want %v with %q", result, outcome, detail)
	}
}

func alive(pid int) bool { return unix.Kill(pid, 0) == nil }

func TestEndsTheWholeTreeAndNothingElse(t *testing.T) {
	r := newRig(t)
	c := kerneltest.Start(t, kerneltest.Options{})
	other := r.begin(c, "sleep 1001; :")
	// A child, and a daemon: its parents are gone, its session and output its own.
	shell := r.begin(c, "(setsid sh -c 'sleep 1003; :' >/dev/null 2>&1 &); sleep 1002; :")
	daemon, child := r.executed("sleep 1003; :"), r.executed("sleep 1002")
	r.executed("sleep 1003")

	result := r.end(c, shell, false)
	r.want(result, telemetryv1.Outcome_OUTCOME_DONE, "")
	if result.GetEnded() != 4 {
		t.Errorf("%d processes were ended, want the shell, its sleep, the daemon and its sleep", result.GetEnded())
	}
	for _, p := range []*telemetryv1.Process{shell, child, daemon} {
		if exit := r.exited(p); exit.GetSignal() != uint32(unix.SIGKILL) {
			t.Errorf("%s ended with %v", p.GetName(), exit)
		}
	}
	if !alive(int(other.GetPid())) || !alive(c.PID) {
		t.Error("another session, or the container, was ended as well")
	}
	r.want(r.end(c, shell, false), telemetryv1.Outcome_OUTCOME_NOT_FOUND, "")
}

func TestMainProcessesMustBeAskedFor(t *testing.T) {
	r := newRig(t)
	mark := kerneltest.ID(t)[:12]
	c := kerneltest.Start(t, kerneltest.Options{Args: []string{"/bin/sh", "-c", "sleep 1000; :", mark}})
	main := r.executed(mark)
	r.want(r.end(c, main, false), telemetryv1.Outcome_OUTCOME_REFUSED, "must be asked for")
	if !alive(c.PID) {
		t.Fatal("it was ended all the same")
	}
	r.want(r.end(c, main, true), telemetryv1.Outcome_OUTCOME_DONE, "")
	r.exited(main)
}

func TestEndsOnlyWhatAgrees(t *testing.T) {
	r := newRig(t)
	c, other := kerneltest.Start(t, kerneltest.Options{}), kerneltest.Start(t, kerneltest.Options{})
	shell := r.begin(c, "sleep 1000; :")
	r.want(r.end(other, shell, true), telemetryv1.Outcome_OUTCOME_REFUSED, c.ID)

	leader := shell.GetEntryLeader()
	for name, entity := range map[string]string{
		"another boot":  "0123456789abcdef-" + strings.SplitN(leader.GetEntityId(), "-", 2)[1],
		"another start": fmt.Sprintf("%s-%d-%x", strings.ReplaceAll(r.boot, "-", "")[:16], leader.GetPid(), 7),
		"nonsense":      "\x1b[31m",
		"nothing":       "",
	} {
		t.Run(name, func(t *testing.T) {
			leader.EntityId = entity
			r.want(r.end(c, shell, true), telemetryv1.Outcome_OUTCOME_NOT_FOUND, "")
		})
	}
	if !alive(int(shell.GetPid())) {
		t.Error("the session was ended")
	}
}

func TestEndsATreeThatForks(t *testing.T) {
	r := newRig(t)
	c := kerneltest.Start(t, kerneltest.Options{})
	storm := r.begin(c, "f() { while :; do (sleep 0.01 & ) ; done; }; f & f & f & f")
	r.executed("sleep 0.01")
	r.want(r.end(c, storm, false), telemetryv1.Outcome_OUTCOME_DONE, "")
	// The container's first process waits for nobody: what has ended stays as a zombie.
	left := c.Exec("/bin/sh", "-c", `cd /proc; for p in [0-9]*; do read x < $p/stat && case $x in *") Z "*) ;; *) echo $x;; esac; done 2>/dev/null; :`)
	if n := strings.Count(left, "\n"); n != 2 {
		t.Errorf("after the session's end run %d processes, want the container's sleep and this shell:\n%s", n, left)
	}
}

func TestASessionThatLeftItsCgroup(t *testing.T) {
	r := newRig(t)
	c := kerneltest.Start(t, kerneltest.Options{Cgroups: true})
	r.begin(c, "sleep 1000; :")
	gone := r.begin(c, "p=cgroup.procs; for c in /cgroups/$p $([ -e /cgroups/$p ] || echo /cgroups/*/$p); do [ ! -e $c ] || echo $$ > $c; done; exec sleep 1004")
	r.executed("sleep 1004")
	r.want(r.end(c, gone, false), telemetryv1.Outcome_OUTCOME_DONE, "")
	r.exited(gone)
}

func TestSessionsFromBeforeTheAgent(t *testing.T) {
	c := kerneltest.Start(t, kerneltest.Options{})
	mark := kerneltest.ID(t)[:12]
	cmd := c.Command("/bin/sh", "-c", "echo ready; read x; /usr/bin/true "+mark+"; sleep 1000; :")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := fmt.Fscanln(out, new(string)); err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	fmt.Fprintln(in)
	child := r.executed(mark)
	if began := child.GetEntryLeader().GetBegan(); began != telemetryv1.Began_BEGAN_SESSION {
		t.Errorf("the session began as %v", began)
	}
	r.want(r.end(c, child, false), telemetryv1.Outcome_OUTCOME_DONE, "")
	if !alive(c.PID) {
		t.Error("the container was ended as well")
	}
}

// hostile is a reason with what a terminal would act upon.
const (
	hostile      = "rule exec-into-pod \x1b[2J\u202e by alice"
	hostileShown = "rule exec-into-pod \uFFFD[2J\uFFFD by alice"
)

func TestThePersonAtATerminalIsToldWhy(t *testing.T) {
	r := newRig(t)
	c := kerneltest.Start(t, kerneltest.Options{})
	mark := kerneltest.ID(t)[:12]
	cmd := c.CommandTTY("/bin/sh", "-c", "sleep 1000; :", mark)
	var shown bytes.Buffer
	cmd.Stdout = &shown
	wait := r.start(cmd)
	shell := r.executed(mark)
	r.want(r.endWith(c, shell, false, hostile), telemetryv1.Outcome_OUTCOME_DONE, "")
	if wait(); !strings.Contains(shown.String(), hostileShown+"\r") {
		t.Errorf("the terminal shows %q", shown.String())
	}
}

func TestThePersonWithoutATerminalIsToldWhy(t *testing.T) {
	r := newRig(t)
	c := kerneltest.Start(t, kerneltest.Options{})
	mark := kerneltest.ID(t)[:12]
	cmd := c.Command("/bin/sh", "-c", "sleep 1000; :", mark)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	wait := r.start(cmd)
	shell := r.executed(mark)
	r.want(r.endWith(c, shell, false, hostile), telemetryv1.Outcome_OUTCOME_DONE, "")
	if wait(); out.Len() != 0 || !strings.Contains(errs.String(), "\n"+hostileShown+"\n") {
		t.Errorf("the output is %q, the errors are %q", out.String(), errs.String())
	}
}

func TestFilesAreNotWrittenTo(t *testing.T) {
	for name, redirect := range map[string]string{
		"a file":       "exec 2>/tmp/errors; echo kept >&2",
		"a named pipe": "mkfifo /tmp/pipe; exec 3<>/tmp/pipe; exec 2>/tmp/pipe; echo kept >/tmp/errors",
		"nothing":      "exec 2>&-; echo kept >/tmp/errors",
		"a device":     "exec 2>/dev/null; echo kept >/tmp/errors",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			c := kerneltest.Start(t, kerneltest.Options{})
			shell := r.begin(c, redirect+"; sleep 1005; :")
			r.executed("sleep 1005")
			r.want(r.endWith(c, shell, false, "because"), telemetryv1.Outcome_OUTCOME_DONE, "")
			if got := c.Exec("/usr/bin/cat", "/tmp/errors"); got != "kept\n" {
				t.Errorf("what was redirected to is now %q", got)
			}
		})
	}
}

func TestAPipeThatIsFullIsNotWaitedFor(t *testing.T) {
	r := newRig(t)
	c := kerneltest.Start(t, kerneltest.Options{})
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	full := os.NewFile(uintptr(ends[1]), "full")
	defer unix.Close(ends[0])
	defer full.Close()
	for err := error(nil); err == nil; {
		_, err = unix.Write(ends[1], []byte{'x'})
	}
	mark := kerneltest.ID(t)[:12]
	cmd := c.Command("/bin/sh", "-c", "sleep 1000; :", mark)
	cmd.Stderr = full
	r.start(cmd)
	r.want(r.endWith(c, r.executed(mark), false, "because"), telemetryv1.Outcome_OUTCOME_DONE, "")
}

func TestOptions(t *testing.T) {
	if _, err := session.New(session.Options{}); err == nil || !strings.Contains(err.Error(), "Table") {
		t.Errorf("no options at all: %v", err)
	}
	if os.Geteuid() == 0 && session.Supported() != nil {
		t.Errorf("root cannot end sessions: %v", session.Supported())
	}
}
