package bpf_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/agent/bpf"
	"github.com/portcullis-dev/portcullis/agent/kerneltest"
)

func TestContainersFirstProcess(t *testing.T) {
	w := watch(t, bpf.Options{})
	c := kerneltest.Start(t, kerneltest.Options{Args: []string{"/bb/sh", "-c", "sleep 1000; true"}})

	leader := w.one("the first process", kind(bpf.KindExec), in(c), args("/bb/sh", "-c", "sleep 1000; true"))
	if int(leader.PID) != c.PID {
		t.Errorf("PID = %d, want %d", leader.PID, c.PID)
	}
	if leader.EntryPID != leader.PID || leader.EntryStart != leader.Start {
		t.Errorf("entry leader is %d (%d), want the process itself, %d (%d)",
			leader.EntryPID, leader.EntryStart, leader.PID, leader.Start)
	}
	if leader.Executable != "/bb/busybox" || leader.Interpreter != "/bb/sh" || leader.Directory != "/" {
		t.Errorf("executable, name and directory are %q, %q, %q", leader.Executable, leader.Interpreter, leader.Directory)
	}
	if leader.Interactive || leader.EntryTTY || leader.TTY != 0 {
		t.Error("a process without terminal is interactive")
	}
	if leader.Time < leader.Start || leader.Start == 0 {
		t.Errorf("executed at %d, before it started at %d", leader.Time, leader.Start)
	}

	child := w.one("its child", kind(bpf.KindExec), in(c), args("sleep", "1000"))
	if child.EntryPID != leader.PID || child.EntryStart != leader.Start {
		t.Errorf("the child's entry leader is %d, want %d", child.EntryPID, leader.PID)
	}
	if child.PPID != leader.PID || child.ParentStart != leader.Start || child.ParentImage != leader.Image {
		t.Errorf("the child's parent is %d %v, want %d %v", child.PPID, child.ParentImage, leader.PID, leader.Image)
	}
	for _, r := range w.all(in(c)) {
		if strings.Contains(r.Executable, "runc") || strings.HasPrefix(r.Comm, "runc") {
			t.Errorf("the runtime's own stage was reported: %+v", r)
		}
	}
	if n := len(w.all(in(c), kind(bpf.KindExec))); n != 2 {
		t.Errorf("%d execs were reported, want 2:\n%s", n, w)
	}
}

func TestHostPIDContainer(t *testing.T) {
	w := watch(t, bpf.Options{})
	c := kerneltest.Start(t, kerneltest.Options{HostPID: true})
	c.Exec("/usr/bin/env", "true")

	w.one("the session's child", kind(bpf.KindExec), in(c), args("true"))
	first := w.one("the first process", kind(bpf.KindExec), in(c), args("/usr/bin/sleep", "infinity"))
	session := w.one("the session", kind(bpf.KindExec), in(c), args("/usr/bin/env", "true"))
	for _, leader := range []*bpf.Record{first, session} {
		if leader.EntryPID != leader.PID || leader.EntryStart != leader.Start {
			t.Errorf("entry leader of %q is %d, want itself, %d", leader.Args, leader.EntryPID, leader.PID)
		}
	}
	for _, r := range w.all(in(c)) {
		if r.Executable != "/usr/bin/sleep" && r.Executable != "/usr/bin/env" && r.Executable != "/usr/bin/true" && r.Kind != bpf.KindExit {
			t.Errorf("the runtime's own stage was reported: %+v", r)
		}
	}
}

func TestSessionsAreEntriesOfTheirOwn(t *testing.T) {
	w := watch(t, bpf.Options{})
	c := kerneltest.Start(t, kerneltest.Options{})
	// The orphan outlives the process that started it, and its parent becomes
	// the container's first process.
	c.Exec("/bin/sh", "-c", "(setsid sh -c 'while kill -0 $0 2>/dev/null; do :; done; sleep 0.111' $$ >/dev/null 2>&1 &) ; true")

	session := w.one("the session", in(c), kind(bpf.KindExec), func(r *bpf.Record) bool {
		return r.EntryPID == r.PID && len(r.Args) > 2 && strings.HasPrefix(r.Args[2], "(setsid")
	})
	orphan := w.one("the orphan", in(c), kind(bpf.KindExec), args("sleep", "0.111"))
	if orphan.EntryPID != session.PID || orphan.EntryStart != session.Start {
		t.Errorf("the orphan's entry leader is %d, want the session's first process %d", orphan.EntryPID, session.PID)
	}
}

func TestTerminal(t *testing.T) {
	w := watch(t, bpf.Options{})
	c := kerneltest.Start(t, kerneltest.Options{})
	c.ExecTTY("/bin/sh", "-c", "T=/usr/bin/env; $T true plain; $T true quiet 2>/dev/null; echo | $T true piped; $T true same </dev/tty; :")

	session := w.one("the session", in(c), kind(bpf.KindExec), func(r *bpf.Record) bool { return r.EntryPID == r.PID && r.TTY != 0 })
	if !session.Interactive || !session.EntryTTY {
		t.Error("a session with a terminal is not interactive")
	}
	if major := session.TTY >> 8 & 0xfff; major != 136 {
		t.Errorf("the terminal is device %#x, want a pseudo terminal (major 136)", session.TTY)
	}
	for arg, want := range map[string]bool{"plain": true, "quiet": false, "piped": false, "same": true} {
		r := w.one(arg, in(c), kind(bpf.KindExec), args("true", arg))
		if r.Interactive != want {
			t.Errorf("%s: interactive = %v, want %v", arg, r.Interactive, want)
		}
		if !r.EntryTTY || !r.ParentTTY || r.TTY != session.TTY {
			t.Errorf("%s lost its terminal: %+v", arg, r)
		}
	}
}

func TestBusyboxAndScripts(t *testing.T) {
	w := watch(t, bpf.Options{})
	c := kerneltest.Start(t, kerneltest.Options{})
	c.Exec("/bb/script")
	c.Exec("/bb/cat", "/etc/hostname")

	script := w.one("the script", in(c), kind(bpf.KindExec), args("/bb/sh", "/bb/script"))
	if script.Executable != "/bb/busybox" || script.Interpreter != "/bb/sh" {
		t.Errorf("the script runs %q as %q, want /bb/busybox as /bb/sh", script.Executable, script.Interpreter)
	}
	applet := w.one("the applet", in(c), kind(bpf.KindExec), args("/bb/cat", "/etc/hostname"))
	if applet.Executable != "/bb/busybox" || applet.Interpreter != "/bb/cat" {
		t.Errorf("the applet runs %q as %q, want /bb/busybox as /bb/cat", applet.Executable, applet.Interpreter)
	}
}

func TestLongArguments(t *testing.T) {
	w := watch(t, bpf.Options{})
	c := kerneltest.Start(t, kerneltest.Options{})
	whole, long := strings.Repeat("w", 20_000), strings.Repeat("l", 100_000)
	c.Exec("/usr/bin/true", whole, "end")
	c.Exec("/usr/bin/true", long, "end")

	w.one("the whole arguments", in(c), kind(bpf.KindExec), args("/usr/bin/true", whole, "end"), func(r *bpf.Record) bool { return !r.ArgsCut })
	cut := w.one("the cut arguments", in(c), kind(bpf.KindExec), func(r *bpf.Record) bool { return r.ArgsCut })
	if len(cut.Args) != 2 || len(cut.Args[1]) < 20_000 || !strings.HasPrefix(long, cut.Args[1]) {
		t.Errorf("of a long argument %d bytes were read, in %d arguments", len(cut.Args[1]), len(cut.Args))
	}
}

func TestNothingElse(t *testing.T) {
	w := watch(t, bpf.Options{})
	c := kerneltest.Start(t, kerneltest.Options{})
	const host, missing = "portcullis-agent-test-host", "/no/such/program"
	if err := exec.Command("/bin/true", host).Run(); err != nil {
		t.Fatal(err)
	}
	c.Exec("/bin/sh", "-c", missing+" || true; exec /usr/bin/true last")

	w.one("the last exec", in(c), args("/usr/bin/true", "last"))
	for _, r := range w.all() {
		switch {
		case len(r.Args) > 1 && r.Args[1] == host:
			t.Errorf("a process of the host was reported: %+v", r)
		case r.Executable == missing, len(r.Args) > 0 && r.Args[0] == missing:
			t.Errorf("an exec that failed was reported: %+v", r)
		case r.Kind != bpf.KindExit && int(r.PID) == os.Getpid():
			t.Errorf("the test itself was reported: %+v", r)
		}
	}
}
