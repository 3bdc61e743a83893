//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/portcullis-dev/portcullis/test/harness"
)

// How many execs are open at once, by how many people, and of how many one runs the same as everybody.
const (
	burst      = 200
	burstUsers = 5
	equalOf    = 3
)

// guest is one exec of the burst.
type guest struct {
	user    string
	command []string
	equal   bool
	// pid is what the container calls its first process, told by that itself on its standard output: nobody but who
	// asked for it reads that.
	pid int
	in  *io.PipeWriter
	out *bufio.Reader
}

// testBurst has five people run 200 commands at once in one container, a third of them the same one. Who
// asked for a process is known from what it printed to whom, and compared with what Portcullis says.
func testBurst(t *testing.T, w *world) {
	v := w.deploy(t, "web-0", "burst")[0]
	users := map[string]*rest.Config{}
	for i := range burstUsers {
		name := fmt.Sprintf("guest-%d", i)
		config, err := w.person(t, name, "devs").REST()
		w.check(t, err)
		users[name] = config
	}
	guests, leave := w.crowd(t, v, users)
	pids := w.hostPIDs(t, v)
	asked := map[int]*guest{}
	for _, g := range guests {
		host, found := pids[g.pid]
		if !found {
			t.Fatalf("nobody sees process %d of %s", g.pid, g.user)
		}
		asked[host] = g
	}
	leave()

	decided := func(all []session) bool {
		n := 0
		for _, s := range all {
			if asked[s.Root.PID] != nil && s.State == "ended" && s.Final {
				n++
			}
		}
		return n == burst
	}
	server, err := w.Server(step(t), "portcullis-reader")
	w.check(t, err)
	w.settle(t, v) // The audit stream has told of the ends of all.
	ctx := step(t)
	all := w.sessions(t, server, v)
	for !decided(all) && ctx.Err() == nil {
		all = w.sessions(t, server, v)
	}

	shares := map[string]int{}
	for _, s := range all {
		g := asked[s.Root.PID]
		if g == nil {
			continue
		}
		kind := "different"
		if g.equal {
			kind = "equal"
		}
		shares[kind+" "+s.Attribution]++
		delete(asked, s.Root.PID)
		switch {
		case s.Attribution == "exact" && s.User.Name != g.user:
			t.Errorf("%v of %s is said to be of %s: %s", g.command, g.user, s.User.Name, s.Raw)
		case s.Attribution == "candidates" && !slices.Contains(s.Candidates, g.user):
			t.Errorf("%v of %s is said to be of one of %v: %s", g.command, g.user, s.Candidates, s.Raw)
		case s.Attribution == "none":
			t.Errorf("%v of %s is said to be of nobody: %s", g.command, g.user, s.Raw)
		}
	}
	for _, g := range asked {
		t.Errorf("there is no session of %s's %v", g.user, g.command)
	}
	t.Logf("%d execs at once by %d users: of %d different commands %d exact and %d with candidates, of %d equal ones %d exact and %d with candidates",
		burst, burstUsers, shares["different exact"]+shares["different candidates"], shares["different exact"], shares["different candidates"],
		shares["equal exact"]+shares["equal candidates"], shares["equal exact"], shares["equal candidates"])
	if shares["different exact"] == 0 {
		t.Error("nobody is certain")
	}
	w.expectQuiet(t, ruleUnaudited, v)
}

// crowd lets all in, and returns when each has begun. They stay until leave is called.
func (w *world) crowd(t *testing.T, v victim, users map[string]*rest.Config) (guests []*guest, leave func()) {
	t.Helper()
	ctx := step(t)
	var begun, gone sync.WaitGroup
	errs := make(chan error, 2*burst)
	for i := range burst {
		g := &guest{user: fmt.Sprintf("guest-%d", i%burstUsers), equal: i%equalOf == 0}
		name := "equal"
		if !g.equal {
			name = fmt.Sprintf("%s-%d", g.user, i)
		}
		g.command = []string{"sh", "-c", "echo $$; read line", name}
		guests = append(guests, g)
		stdin, in := io.Pipe()
		out, stdout := io.Pipe()
		g.in, g.out = in, bufio.NewReader(out)
		gone.Go(func() {
			err := harness.Exec{
				Namespace: v.namespace, Pod: v.name, Container: "main", Command: g.command, SPDY: i%2 == 0, Stdin: stdin, Stdout: stdout,
			}.Stream(ctx, users[g.user])
			if err != nil && !strings.Contains(err.Error(), "exit code 1") { // that of read at the end of its input
				errs <- err
			}
			_ = stdout.Close()
		})
		begun.Go(func() {
			line, err := g.out.ReadString('\n')
			if err == nil {
				g.pid, err = strconv.Atoi(strings.TrimSpace(line))
			}
			if err != nil {
				errs <- fmt.Errorf("%s was told no process: %w", g.user, err)
			}
		})
	}
	begun.Wait()
	check := func() {
		select {
		case err := <-errs:
			w.check(t, err)
		default:
		}
	}
	check()
	return guests, func() {
		t.Helper()
		for _, g := range guests {
			_ = g.in.Close()
		}
		gone.Wait()
		check()
	}
}

// hostPIDs says what the machine calls the processes of a pod's container, by what the container calls them.
func (w *world) hostPIDs(t *testing.T, v victim) map[int]int {
	t.Helper()
	all := map[int]int{}
	entries, err := filepath.Glob("/proc/[0-9]*")
	w.check(t, err)
	for _, entry := range entries {
		groups, err := os.ReadFile(filepath.Join(entry, "cgroup"))
		if err != nil || !strings.Contains(strings.ReplaceAll(string(groups), "_", "-"), v.UID) {
			continue // It has ended, or is of somebody else.
		}
		status, err := os.ReadFile(filepath.Join(entry, "status"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			fields := strings.Fields(line)
			if len(fields) == 3 && fields[0] == "NSpid:" {
				host, _ := strconv.Atoi(fields[1])
				inside, _ := strconv.Atoi(fields[2])
				all[inside] = host
			}
		}
	}
	return all
}
