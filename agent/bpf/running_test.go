package bpf_test

import (
	"testing"

	"github.com/portcullis-dev/portcullis/agent/bpf"
	"github.com/portcullis-dev/portcullis/agent/kerneltest"
)

func pid(pid uint32) func(*bpf.Record) bool {
	return func(r *bpf.Record) bool { return r.PID == pid }
}

// TestProcessesAreKnownFromTheStart: also in a container without a PID
// namespace of its own, where no process is its number 1.
func TestProcessesAreKnownFromTheStart(t *testing.T) {
	for name, opts := range map[string]kerneltest.Options{
		"PID namespace of its own": {},
		"the host's PID namespace": {HostPID: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := kerneltest.Start(t, opts)
			s := startSession(t, c, "/bin/sh", "-s")
			w := watch(t, bpf.Options{})

			main := w.one("the first process", kind(bpf.KindSeen), in(c), pid(uint32(c.PID)))
			if main.EntryBegan != bpf.BeganContainer || main.EntryPID != main.PID || main.Executable != "/usr/bin/sleep" || !main.ArgsUnknown {
				t.Errorf("the first process is %+v", main)
			}
			session := w.one("the session", kind(bpf.KindSeen), in(c), func(r *bpf.Record) bool { return r.Executable == "/usr/bin/dash" })
			if session.EntryBegan != bpf.BeganSession || session.EntryPID != session.PID {
				t.Errorf("the session is %+v", session)
			}
			s.say("/usr/bin/true child")
			s.end()
			again := w.one("the session, with its arguments", kind(bpf.KindSeen), in(c), args("/bin/sh", "-s"))
			if again.Image != session.Image || again.ArgsUnknown {
				t.Errorf("once it did something, the session is %+v, was %+v", again, session)
			}
			child := w.one("its child", kind(bpf.KindExec), in(c), args("/usr/bin/true", "child"))
			if child.ParentImage != session.Image || child.EntryPID != session.PID || child.EntryBegan != bpf.BeganSession {
				t.Errorf("the child is %+v", child)
			}
			c.Exec("/usr/bin/true", "later")
			later := w.one("a later session", kind(bpf.KindExec), in(c), args("/usr/bin/true", "later"))
			if later.EntryBegan != bpf.BeganSession {
				t.Errorf("a session that came later began as %v", later.EntryBegan)
			}
		})
	}
}

func TestHowEntriesBegin(t *testing.T) {
	w := watch(t, bpf.Options{})
	for name, opts := range map[string]kerneltest.Options{
		"PID namespace of its own": {},
		"the host's PID namespace": {HostPID: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := kerneltest.Start(t, opts)
			c.ExecTTY("/usr/bin/true", "terminal")
			c.ExecAsProbe("/usr/bin/true probe")
			for arg, want := range map[string]bpf.Began{
				"infinity": bpf.BeganContainer, "terminal": bpf.BeganSession, "probe": bpf.BeganSessionOrProbe,
			} {
				r := w.one(arg, kind(bpf.KindExec), in(c), func(r *bpf.Record) bool { return len(r.Args) == 2 && r.Args[1] == arg })
				if r.EntryBegan != want {
					t.Errorf("%s began as %v, want %v", arg, r.EntryBegan, want)
				}
			}
		})
	}
}

func TestExits(t *testing.T) {
	w := watch(t, bpf.Options{})
	c := kerneltest.Start(t, kerneltest.Options{})
	c.Exec("/bin/sh", "-c", "sh -c 'exit 7'; sh -c 'kill -9 $$'; (exit 9); :")
	for status, args7 := range map[uint32][]string{7 << 8: {"sh", "-c", "exit 7"}, 9: {"sh", "-c", "kill -9 $$"}} {
		began := w.one("the exec", in(c), kind(bpf.KindExec), args(args7...))
		ended := w.one("its end", kind(bpf.KindExit), pid(began.PID), func(r *bpf.Record) bool { return r.Image == began.Image })
		if ended.Status != status || ended.Start != began.Start || ended.Time < began.Time || ended.Cgroup != began.Cgroup ||
			ended.EntryPID != began.EntryPID || ended.EntryStart != began.EntryStart || ended.PPID != began.PPID {
			t.Errorf("%q ended as %+v", args7, ended)
		}
	}
	session := w.one("the session", in(c), kind(bpf.KindExec), func(r *bpf.Record) bool { return r.EntryPID == r.PID && len(r.Args) == 3 })
	w.one("its end", kind(bpf.KindExit), pid(session.PID))
	// The shell in parentheses executed nothing: nothing of it was told.
	ends := w.all(kind(bpf.KindExit), func(r *bpf.Record) bool { return r.Cgroup == session.Cgroup })
	if len(ends) != 3 {
		t.Errorf("%d ends were told of, want 3", len(ends))
	}
}
