package bpf_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portcullis-dev/portcullis/agent/bpf"
	"github.com/portcullis-dev/portcullis/agent/container"
	"github.com/portcullis-dev/portcullis/agent/kerneltest"
)

// TestMain makes the test's binary a tool for its own tests.
func TestMain(m *testing.M) {
	switch os.Getenv("BPF_TEST_TOOL") {
	case "exec-from-thread":
		execFromThread()
	default:
		kerneltest.Main(m)
	}
}

// execFromThread executes another program from a thread that is not the
// process' first.
func execFromThread() {
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() { // This thread is busy from now on, so that the next one is another.
		go execFromThread()
		select {}
	}
	panic(unix.Exec("/usr/bin/true", []string{"true", "from-thread"}, nil))
}

func TestExecFromAThread(t *testing.T) {
	w := watch(t, bpf.Options{})
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := kerneltest.Start(t, kerneltest.Options{Binds: map[string]string{"/tmp": filepath.Dir(binary)}})
	c.Exec("/bin/sh", "-c", "BPF_TEST_TOOL=exec-from-thread /tmp/"+filepath.Base(binary)+"; exit $?")

	before := w.one("the tool", in(c), kind(bpf.KindExec), args("/tmp/"+filepath.Base(binary)))
	after := w.one("what it executed", in(c), kind(bpf.KindExec), args("true", "from-thread"))
	if after.PID != before.PID || after.Start != before.Start || after.EntryPID != before.EntryPID || after.EntryPID == after.PID {
		t.Errorf("after an exec from a thread: %d (%d) of %d, before: %d (%d) of %d",
			after.PID, after.Start, after.EntryPID, before.PID, before.Start, before.EntryPID)
	}
}

// session is an exec session that runs what it is told.
type session struct {
	tb  testing.TB
	in  io.WriteCloser
	cmd *exec.Cmd
	out bytes.Buffer
}

func startSession(tb testing.TB, c *kerneltest.Container, args ...string) *session {
	tb.Helper()
	s := &session{tb: tb, cmd: c.Command(args...)}
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	ready, err := s.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	s.cmd.Stderr = &s.out
	if err := s.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	s.say("echo ready")
	if _, err := io.ReadFull(ready, make([]byte, len("ready\n"))); err != nil {
		tb.Fatalf("start a session: %v\n%s", err, &s.out)
	}
	return s
}

func (s *session) say(line string) {
	s.tb.Helper()
	if _, err := io.WriteString(s.in, line+"\n"); err != nil {
		s.tb.Fatal(err)
	}
}

func (s *session) end() {
	s.tb.Helper()
	s.in.Close()
	if err := s.cmd.Wait(); err != nil {
		s.tb.Fatalf("end a session: %v\n%s", err, &s.out)
	}
}

func TestProcessesThatRanBefore(t *testing.T) {
	c := kerneltest.Start(t, kerneltest.Options{})
	outer := startSession(t, c, "/bin/sh", "-s", "outer")
	outer.say("sh -s inner")
	outer.say("echo nested >&2")
	w := watch(t, bpf.Options{})

	outer.say("/usr/bin/true child")
	outer.say("read x < " + account + "token")
	outer.end()

	child := w.one("the child", in(c), kind(bpf.KindExec), args("/usr/bin/true", "child"))
	inner := w.one("its parent", in(c), kind(bpf.KindSeen), args("sh", "-s", "inner"))
	if child.ParentImage != inner.Image || child.PPID != inner.PID || inner.Time > child.Time {
		t.Errorf("the child's parent is %d %v, want %d %v", child.PPID, child.ParentImage, inner.PID, inner.Image)
	}
	if !inner.Learned || inner.Executable != "/usr/bin/dash" || inner.Comm != "sh" {
		t.Errorf("the parent is %+v", inner)
	}
	if child.EntryPID != inner.PPID || child.EntryPID != inner.EntryPID || child.EntryStart != inner.EntryStart {
		t.Errorf("entry leaders are %d and %d, want the outer shell, %d", child.EntryPID, inner.EntryPID, inner.PPID)
	}
	open := w.one("the open", in(c), kind(bpf.KindOpen), file("token"))
	if open.Image != inner.Image || open.EntryPID != inner.EntryPID || open.PID != inner.PID {
		t.Errorf("opened by %d %v, want %d %v", open.PID, open.Image, inner.PID, inner.Image)
	}
}

func TestFirstSightIsAnOpen(t *testing.T) {
	c := kerneltest.Start(t, kerneltest.Options{})
	s := startSession(t, c, "/bin/sh", "-s")
	w := watch(t, bpf.Options{})
	s.say("read x < " + account + "token")
	s.end()

	r := w.one("the open", in(c), kind(bpf.KindOpen), file("token"))
	if !r.Learned || r.Image.IsZero() || r.EntryPID != r.PID || strings.Join(r.Args, " ") != "/bin/sh -s" {
		t.Errorf("the process is %+v", r)
	}
}

func TestLeavingTheCgroup(t *testing.T) {
	w := watch(t, bpf.Options{})
	c := kerneltest.Start(t, kerneltest.Options{HostPID: true, Cgroups: true})
	c.Exec("/bin/sh", "-c", "p=cgroup.procs; for c in /cgroups/$p $([ -e /cgroups/$p ] || echo /cgroups/*/$p); do [ ! -e $c ] || echo $$ > $c; done; cat /proc/self/cgroup; cat "+account+"token; exec /usr/bin/true outside")

	inside := w.one("the session", in(c), kind(bpf.KindExec), func(r *bpf.Record) bool { return len(r.Args) == 3 && r.EntryPID == r.PID })
	outside := w.one("the exec outside", kind(bpf.KindExec), args("/usr/bin/true", "outside"))
	if outside.Cgroup != inside.Cgroup || outside.EntryPID != inside.PID {
		t.Errorf("outside it belongs to cgroup %d and entry %d, want %d and %d", outside.Cgroup, outside.EntryPID, inside.Cgroup, inside.PID)
	}
	if outside.PathCgroup == outside.Cgroup {
		t.Errorf("the path %q is said to be the container's", outside.CgroupPath)
	}
	w.one("the open outside", kind(bpf.KindOpen), file("token"), func(r *bpf.Record) bool { return r.Cgroup == inside.Cgroup })
}

// TestEnteringTheHost: a container that enters the host's namespaces runs on
// with its own identity, and looks like the runtime at work.
func TestEnteringTheHost(t *testing.T) {
	w := watch(t, bpf.Options{})
	c := kerneltest.Start(t, kerneltest.Options{HostPID: true})
	c.Exec("/usr/bin/nsenter", "--target", strconv.Itoa(os.Getpid()), "--mount", "--pid", "/bin/true", "escaped")

	r := w.one("the exec on the host", in(c), kind(bpf.KindExec), args("/bin/true", "escaped"))
	nsenter := w.one("nsenter", in(c), kind(bpf.KindExec), func(r *bpf.Record) bool { return r.EntryPID == r.PID && len(r.Args) > 3 })
	if r.EntryPID != nsenter.PID {
		t.Errorf("entry leader is %d, want nsenter, %d", r.EntryPID, nsenter.PID)
	}
}

// enter runs a command as the first process of a container that is only made
// of a cgroup and a mount namespace.
func enter(t *testing.T, dir string, args ...string) {
	t.Helper()
	// The shell moves into the cgroup with the host's mounts, as a runtime does.
	cmd := exec.Command("/bin/sh", append([]string{"-c", `echo $$ > "$0"/cgroup.procs && exec unshare --mount "$@"`, dir}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("run %q in %s: %v\n%s", args, dir, err, out)
	}
}

func TestFormsOfCgroups(t *testing.T) {
	uid, id := kerneltest.UUID(t), kerneltest.ID(t)
	slice := "kubepods-burstable-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice"
	w := watch(t, bpf.Options{})
	for name, test := range map[string]struct{ hierarchy, path string }{
		"cgroupfs":          {"unified", "kubepods/burstable/pod" + uid + "/" + id},
		"systemd":           {"unified", "kubepods.slice/kubepods-burstable.slice/" + slice + "/cri-containerd-" + id + ".scope"},
		"CRI-O, nested":     {"unified", slice + "/crio-" + id + ".scope/container"},
		"combined":          {"unified", "containerd.service/" + slice + ":cri-containerd:" + id},
		"v1, pids":          {"pids", "kubepods/burstable/pod" + uid + "/" + id},
		"made in container": {"unified", "kubepods/pod" + uid + "/" + id + "/a/b"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := kerneltest.MakeCgroup(t, test.hierarchy, test.path)
			mark := "form " + name
			enter(t, dir, "/usr/bin/true", mark)
			r := w.one("the exec", kind(bpf.KindExec), args("/usr/bin/true", mark))
			got, ok := container.Parse(r.CgroupPath)
			if want := (container.Container{ID: id, PodUID: uid}); !ok || got != want {
				t.Errorf("the cgroup %q gives %+v, %v, want %+v", r.CgroupPath, got, ok, want)
			}
			if unshare := w.all(args("unshare", "--mount", "/usr/bin/true", mark)); len(unshare) > 0 {
				t.Error("the runtime at work was reported")
			}
		})
	}
}

func TestCgroupsThatAreNoContainers(t *testing.T) {
	uid, id := kerneltest.UUID(t), kerneltest.ID(t)
	w := watch(t, bpf.Options{})
	for name, path := range map[string]string{
		"a pod's own": "kubepods/burstable/pod" + uid,
		"a service":   "system.slice/podman.service/" + id,
		"libpod":      "machine.slice/libpod-" + id + ".scope/container",
	} {
		t.Run(name, func(t *testing.T) {
			mark := "none " + name
			enter(t, kerneltest.MakeCgroup(t, "unified", path), "/usr/bin/true", mark)
			enter(t, kerneltest.MakeCgroup(t, "unified", "kubepods/pod"+uid+"/"+id), "/usr/bin/true", mark, "last")
			w.one("the last exec", args("/usr/bin/true", mark, "last"))
			if r := w.all(args("/usr/bin/true", mark)); len(r) > 0 {
				t.Errorf("reported: %+v", r[0])
			}
		})
	}
}

func TestUserNamespace(t *testing.T) {
	w := watch(t, bpf.Options{})
	dir := kerneltest.MakeCgroup(t, "unified", "kubepods/pod"+kerneltest.UUID(t)+"/"+kerneltest.ID(t))
	fd, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	cmd := exec.Command("/usr/bin/true", "mapped")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 700_000, Size: 1000}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 800_000, Size: 1000}},
		Credential:  &syscall.Credential{Uid: 7, Gid: 8},
		UseCgroupFD: true,
		CgroupFD:    int(fd.Fd()),
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r := w.one("the exec", kind(bpf.KindExec), args("/usr/bin/true", "mapped"))
	if r.UID != 7 || r.GID != 8 {
		t.Errorf("uid %d and gid %d, want 7 and 8 as the namespace numbers them", r.UID, r.GID)
	}
}

func TestStoppingLosesNothing(t *testing.T) {
	w := watch(t, bpf.Options{})
	c := kerneltest.Start(t, kerneltest.Options{})
	const n = 300
	c.Exec("/bin/sh", "-c", "i=0; while [ $i -lt "+strconv.Itoa(n)+" ]; do /usr/bin/true $i; i=$((i+1)); done")
	w.stop()
	if got := len(w.all(in(c), kind(bpf.KindExec), func(r *bpf.Record) bool { return r.Args[0] == "/usr/bin/true" })); got != n {
		t.Errorf("%d of %d execs were read", got, n)
	}
}
