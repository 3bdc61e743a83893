package cost

import (
	"fmt"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// lostAltogether is what the agent says that it lost.
func lostAltogether(lost *telemetryv1.Lost) int {
	return int(lost.GetRingFull() + lost.GetLimitedEntries() + lost.GetLimitedOpens() + lost.GetLimitedExecs() + lost.GetLimitedExits() +
		lost.GetUndecodable() + lost.GetSpoolFull())
}

// flood has workers execute as many programs as they can, or at a rate, and returns how many a second that were.
func flood(workers []*worker, each, rate int) float64 {
	var group sync.WaitGroup
	begin := time.Now()
	for _, w := range workers {
		group.Go(func() { w.do("nothing", each, rate) })
	}
	group.Wait()
	return float64(len(workers)*each) / time.Since(begin).Seconds()
}

// sustained executes 5,000 programs a second, by two workers of one container.
func sustained(b *testing.B, l *lab, t *table) {
	const rate, seconds, workers = 5000, 10, 2
	const n = rate * seconds
	c := container(b)
	ws := []*worker{startWorker(b, c), startWorker(b, c)}
	agent := l.start()
	before, begin := agent.cpu(), time.Now()
	reached := flood(ws, n/workers, rate/workers)
	used := (agent.cpu() - before).Seconds() / time.Since(begin).Seconds()
	t.row("resident memory under this load", mib(agent.status("VmHWM")), "", "") // the spool's bound is on top of what is needed when idle
	agent.stop()
	got, lost := l.server.of(c.ID)
	what := fmt.Sprintf("lost of %d execs and as many exits, at %.0f execs/s", n, reached)
	result := fmt.Sprintf("%d and %d, %d counted as lost; the agent used %.0f%% of a core",
		n-got.execs, n-got.exits, lostAltogether(lost), 100*used)
	// No more can be promised on any machine: on one that is too slow something is lost, and counted.
	t.promise(b, what, result, "0 at 5000/s; none uncounted; no budget exceeded",
		2*n-got.execs-got.exits == lostAltogether(lost) && lost.GetLimitedExecs()+lost.GetLimitedExits() == 0)
	if reached < 0.98*rate {
		t.row("  this machine could not execute 5000 a second", "", "", "not shown")
	}
}

// stalled stops the reader on purpose, with a small ring.
func stalled(b *testing.B, l *lab, t *table) {
	const n = 5000
	c := container(b)
	w := startWorker(b, c)
	agent := l.start("--ring-bytes=262144")
	_ = agent.cmd.Process.Signal(syscall.SIGSTOP)
	w.do("nothing", n, 0)
	_ = agent.cmd.Process.Signal(syscall.SIGCONT)
	agent.stop()
	got, lost := l.server.of(c.ID)
	off := 2*n - got.execs - got.exits - lostAltogether(lost)
	t.promise(b, fmt.Sprintf("reader stopped during %d execs and as many exits, ring of 256 KiB", n),
		fmt.Sprintf("%d arrived, %d counted as lost, off by %d", got.execs+got.exits, lostAltogether(lost), off),
		"off by 0", off == 0 && lostAltogether(lost) > 0)
}

// isolated floods from one container, and looks at another's events and at the flooding one's own curl.
func isolated(b *testing.B, l *lab, t *table) {
	const quiet, every, each = 300, 100, 30_000
	noisy, other := container(b), container(b)
	many := []*worker{startWorker(b, noisy), startWorker(b, noisy), startWorker(b, noisy)}
	few := startWorker(b, other)
	agent := l.start()
	var (
		group   sync.WaitGroup
		reached float64
	)
	group.Go(func() { reached = flood(many, each, 0) })
	group.Go(func() { few.do("exec", quiet, every) })
	marks := make([]string, 0, 10)
	for i := range cap(marks) {
		mark := "curl-" + strconv.Itoa(i)
		noisy.Exec("/bin/sh", "-c", "/usr/bin/env "+mark+" 2>/dev/null; :")
		marks = append(marks, mark)
	}
	group.Wait()
	agent.stop()
	l.server.mu.Lock()
	defer l.server.mu.Unlock()
	gone := 0
	for _, mark := range marks {
		if !l.server.args[mark] {
			gone++
		}
	}
	others := quiet - l.server.counts[other.ID].execs
	t.promise(b, fmt.Sprintf("fork flood of %.0f execs/s beside it: lost of another container's %d", reached, quiet),
		strconv.Itoa(others), "0", others == 0)
	t.promise(b, fmt.Sprintf("  lost of %d other programs of the flooding container itself", len(marks)), strconv.Itoa(gone), "0", gone == 0)
	itself := l.server.counts[noisy.ID]
	t.row("  the flood itself", fmt.Sprintf("%d of %d told of, %d events that a budget was exceeded, %d records counted as lost",
		itself.execs, len(many)*each, itself.limits, lostAltogether(l.server.lost))+"; "+l.server.lost.String(), "", "")
}
