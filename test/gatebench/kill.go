package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portcullis-dev/portcullis/agent/kerneltest"
	"github.com/portcullis-dev/portcullis/test/child"
	"github.com/portcullis-dev/portcullis/test/serverprocess"
	"github.com/portcullis-dev/portcullis/test/standalone"
)

const (
	// forbidden is the argument that ends a session.
	forbidden = "gatebench-kill"
	killRule  = `apiVersion: portcullis.dev/v1alpha1
kind: DetectionRule
metadata: {name: forbidden-word}
spec:
  title: A process has a forbidden argument
  description: A benchmark.
  severity: low
  riskScore: 1
  mode: enforce
  query: |
    process where event.type == "start" and event.action == "exec" and process.args == "` + forbidden + `"
  response: {killSession: true}
`
	// shell is what runs in a session: it does what it is told, and there is a process behind it.
	shell = `/usr/bin/sleep infinity & echo ready; while read -r line; do $line; done`
	// shellProcesses is how many that are.
	shellProcesses = 2
	// worker is the node.
	worker = "worker-1"
)

// ended is how long it took until no process of a session was left.
type ended struct {
	// typed is from the command at the session's terminal, by our clock; detected from the detection, by the server's.
	typed, detected time.Duration
}

// printKills prints how long sessions live that a rule ends. One session that does nothing forbidden runs beside them, and must stay.
func printKills(t standalone.TB, out io.Writer, o options) {
	t.Helper()
	kerneltest.RequireRoot(t) // before anything is built
	b := newKillBench(t, o)
	b.end(t) // Connections and caches.
	before := load()
	got := make([]ended, o.sessions)
	for i := range got {
		got[i] = b.end(t)
	}
	fmt.Fprintf(out, "Until no process of a session is left that a rule ends, in ms, %d sessions one after the other (load before: %s)\n\n", len(got), before)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "from\tp50\tp90\tp99\tmax\t")
	for _, row := range []struct {
		from string
		of   func(ended) time.Duration
	}{
		{"the forbidden command being typed, by our clock", func(e ended) time.Duration { return e.typed }},
		{"the detection, by the server's histogram", func(e ended) time.Duration { return e.detected }},
	} {
		times := make([]time.Duration, len(got))
		for i, e := range got {
			times[i] = row.of(e)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t\n", row.from, millis(quantile(times, 50)), millis(quantile(times, 90)), millis(quantile(times, 99)),
			millis(quantile(times, 100)))
	}
	_ = table.Flush()
	fmt.Fprintln(out)
}

// killBench is a server, the real agent on this kernel, and a container that both know.
type killBench struct {
	site      *serverprocess.Site
	container *kerneltest.Container
	// bystander is the session beside those that end.
	bystander *session
	// sum and count are those of the server's histogram.
	sum   float64
	count uint64
}

func newKillBench(t standalone.TB, o options) *killBench {
	t.Helper()
	site, objects := enforcing(t, o, killRule)
	namespace(t, objects, inside)
	flags := site.AgentFlags(t, worker)
	pod := unscheduled(inside, "shell")
	pod.Spec.NodeName = worker
	create(t, objects, pod)
	site.Start(t)
	startAgent(t, o, flags)
	b := &killBench{site: site, container: kerneltest.Start(t, kerneltest.Options{PodUID: string(pod.UID)})}
	b.bystander = b.begin(t)
	t.Cleanup(b.bystander.close)
	return b
}

// startAgent runs the agent until the end, and returns when the server has its stream.
func startAgent(t standalone.TB, o options, flags []string) {
	t.Helper()
	dir := t.TempDir()
	binary := o.agent
	if binary == "" {
		binary = serverprocess.BuildAgent(t, dir)
	}
	health := freeAddress(t)
	agent := child.Start(t, child.Options{Path: binary, Args: append(flags, "--health-addr", health), Log: filepath.Join(dir, "log")})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	agent.WaitFor(ctx, t, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+health+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("the agent: %s", resp.Status)
		}
		return nil
	})
}

// end has one session begin and do what is forbidden, and waits for its end.
func (b *killBench) end(t standalone.TB) ended {
	t.Helper()
	s := b.begin(t)
	defer s.close()
	b.bystander.do(t, "/usr/bin/true allowed")
	begin := time.Now()
	s.do(t, "/usr/bin/true "+forbidden)
	s.awaitEnd(t)
	e := ended{typed: time.Since(begin)}
	e.detected = b.told(t)
	if b.bystander.left(t, 0) != shellProcesses {
		t.Fatal("the session beside it has ended as well")
	}
	return e
}

// told waits until the server has counted one more session, and returns how long that one took by its histogram. It fails if
// the server had any other session end, or could not.
func (b *killBench) told(t standalone.TB) time.Duration {
	t.Helper()
	sum := b.sum
	eventually(t, "the server says that the session has ended", func(ctx context.Context) error {
		families, err := b.site.Metrics(ctx)
		if err != nil {
			return err
		}
		orders := 0.0
		for _, m := range families["portcullis_session_kill_orders_total"].GetMetric() {
			orders += m.GetCounter().GetValue()
		}
		if orders > float64(b.count+1) {
			t.Fatalf("the server was to end %v sessions so far, want %d: one that did nothing forbidden as well", orders, b.count+1)
		}
		metrics := families["portcullis_session_kill_seconds"].GetMetric()
		if len(metrics) != 1 || metrics[0].GetHistogram().GetSampleCount() != b.count+1 {
			return fmt.Errorf("it is not counted: %v", metrics)
		}
		sum = metrics[0].GetHistogram().GetSampleSum()
		return nil
	})
	took := time.Duration((sum - b.sum) * float64(time.Second))
	b.sum, b.count = sum, b.count+1
	return took
}

// members are the processes in the container, by their numbers outside: those in its PID namespace.
func (b *killBench) members(t standalone.TB) []int {
	t.Helper()
	space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", b.container.PID))
	if err != nil {
		t.Fatalf("the container's PID namespace: %v", err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if of, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)); err == nil && of == space {
			pids = append(pids, pid)
		}
	}
	return pids
}

// session is an exec session that runs a shell.
type session struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	// alive are its processes that have not ended, by descriptors that the kernel makes readable when they do.
	alive []unix.PollFd
}

// begin starts a session and returns when its processes are there.
func (b *killBench) begin(t standalone.TB) *session {
	t.Helper()
	before := b.members(t)
	s := &session{cmd: b.container.Command("/bin/sh", "-c", shell)}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err = s.cmd.Start(); err != nil {
		t.Fatalf("an exec session: %v", err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		s.close()
		t.Fatalf("an exec session said %q: %v", line, err)
	}
	for _, pid := range b.members(t) {
		if slices.Contains(before, pid) {
			continue
		}
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			s.alive = append(s.alive, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}) //nolint:gosec // descriptors are small
		}
	}
	if len(s.alive) != shellProcesses {
		s.close()
		t.Fatalf("the session has %d processes, want %d", len(s.alive), shellProcesses)
	}
	return s
}

// do has the shell run a command, and does not wait for it.
func (s *session) do(t standalone.TB, command string) {
	t.Helper()
	if _, err := fmt.Fprintln(s.in, command); err != nil {
		t.Fatalf("a session has ended before its time: %v", err)
	}
}

// left waits until one of the session's processes ends, but not for longer than that, and returns how many are left.
func (s *session) left(t standalone.TB, atMost time.Duration) int {
	t.Helper()
	if _, err := unix.Poll(s.alive, int(atMost.Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) {
		t.Fatalf("wait for a process: %v", err)
	}
	s.alive = slices.DeleteFunc(s.alive, func(p unix.PollFd) bool {
		if p.Revents != 0 {
			_ = unix.Close(int(p.Fd))
		}
		return p.Revents != 0
	})
	return len(s.alive)
}

// awaitEnd returns when none of them is left.
func (s *session) awaitEnd(t standalone.TB) {
	t.Helper()
	for deadline := time.Now().Add(patience); s.left(t, 100*time.Millisecond) > 0; {
		if t.Context().Err() != nil {
			t.Fatal(t.Context().Err())
		}
		if time.Now().After(deadline) {
			t.Fatalf("the session goes on after %s: of %d processes %d are left", patience, shellProcesses, len(s.alive))
		}
	}
}

// close lets go of the session. What is left of it ends with the container.
func (s *session) close() {
	for _, p := range s.alive {
		_ = unix.Close(int(p.Fd))
	}
	_ = s.in.Close()
	if len(s.alive) > 0 { // The runtime would wait for it.
		_ = s.cmd.Process.Kill()
	}
	_ = s.cmd.Wait() // that it was killed is no error
}

func freeAddress(t standalone.TB) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
