package cost

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/portcullis-dev/portcullis/agent/kerneltest"
)

// pairs is how many pairs are measured of each comparison.
var pairs = flag.Int("pairs", 60, "pairs of measurements, with and without the agent")

// table is what is printed in the end.
type table struct {
	rows []string
}

func (t *table) row(what, result, target string) {
	t.rows = append(t.rows, what+"\t"+result+"\t"+target)
	fmt.Fprintf(os.Stderr, "cost: %s: %s\n", what, result)
}

func (t *table) print() {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	defer w.Flush()
	fmt.Fprintf(w, "\n%s\n", machine())
	fmt.Fprintln(w, "what\tmedian [95% interval]\ttarget")
	for _, row := range t.rows {
		fmt.Fprintln(w, row)
	}
}

// machine describes where it was measured.
func machine() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	model := "unknown processor"
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	load, _ := os.ReadFile("/proc/loadavg")
	return fmt.Sprintf("%d x %s, Linux %s, load at the end %s", runtime.NumCPU(), model,
		unix.ByteSliceToString(u.Release[:]), strings.Join(strings.Fields(string(load))[:3], " "))
}

// BenchmarkCost measures everything once and prints the table.
func BenchmarkCost(b *testing.B) {
	kerneltest.RequireRoot(b)
	t := &table{}
	for _, part := range []struct {
		name    string
		measure func(*testing.B, *lab, *table)
	}{
		{"compare", compare}, {"programs", programs}, {"resources", resources},
		{"sustained", sustained}, {"stalled", stalled}, {"isolated", isolated},
	} {
		b.Run(part.name, func(b *testing.B) {
			if b.N == 1 { // once is enough, and takes long
				part.measure(b, newLab(b), t)
			}
		})
	}
	t.print()
}

// comparison is one thing whose time is compared with and without the agent.
type comparison struct {
	name, work string
	times      int
	inside     bool // of a container
	ratio      bool // the rate's ratio counts, not the difference of one
	target     string
	// Of each pair, by the clock and by the processor time of the worker and its children: the
	// second does not see what the agent's own process does, nor what else the machine does.
	time, processor []float64
}

// add notes a pair.
func (c *comparison) add(with, without took) {
	sample := func(with, without time.Duration) float64 {
		if c.ratio {
			return float64(without) / float64(with)
		}
		return float64(with-without) / float64(c.times)
	}
	c.time = append(c.time, sample(with.time, without.time))
	c.processor = append(c.processor, sample(with.processor, without.processor))
}

// compare measures all comparisons in the same pairs.
func compare(b *testing.B, l *lab, t *table) {
	c := container(b)
	inside := startWorker(b, c)
	binary, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	host := exec.Command(binary)
	host.Env = append(os.Environ(), "COST_WORKER=1")
	outside := serve(b, host)
	comparisons := []*comparison{
		{name: "fork+exec rate in a container, with / without", work: "exec", times: 400, inside: true, ratio: true, target: ">= 0.97"},
		{name: "fork+exec rate on the host, with / without", work: "exec", times: 400, ratio: true},
		{name: "unrelated open() and close() in a container, more", work: "open", times: 100_000, inside: true, target: "< 100 ns for the open"},
		{name: "getppid(), more", work: "call", times: 1_000_000},
	}
	measure := func(into []took) {
		for i, what := range comparisons {
			w := outside
			if what.inside {
				w = inside
			}
			into[i] = w.do(what.work, what.times, 0)
		}
	}
	measure(make([]took, len(comparisons))) // warms up
	for pair := range *pairs {
		with, without := make([]took, len(comparisons)), make([]took, len(comparisons))
		if pair%2 == 0 {
			measure(without)
		}
		agent := l.start()
		measure(with)
		agent.stop()
		if pair%2 == 1 {
			measure(without)
		}
		for i, what := range comparisons {
			what.add(with[i], without[i])
		}
	}
	for _, what := range comparisons {
		unit := " ns"
		if what.ratio {
			unit = ""
		}
		t.row(what.name, newEstimate(what.time).format(unit), what.target)
		t.row("  the same by processor time", newEstimate(what.processor).format(unit), "")
	}
}

// programs has the kernel count what its programs take.
func programs(b *testing.B, l *lab, t *table) {
	inside := startWorker(b, container(b))
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		t.row("time of the kernel's programs", "not available: "+err.Error(), "")
		return
	}
	defer stats.Close()
	others := lastProgram()
	agent := l.start()
	defer agent.stop()
	inside.do("exec", 4000, 0)
	inside.do("open", 100_000, 0)
	for id := others; ; {
		if id, err = ebpf.ProgramGetNextID(id); err != nil {
			return // that was the last
		}
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // it went meanwhile
		}
		row(t, p)
		p.Close()
	}
}

// lastProgram is the program that was loaded last: another agent may run on the machine.
func lastProgram() ebpf.ProgramID {
	var last ebpf.ProgramID
	for {
		next, err := ebpf.ProgramGetNextID(last)
		if err != nil {
			return last
		}
		last = next
	}
}

func row(t *table, p *ebpf.Program) {
	info, err := p.Info()
	if err != nil || !strings.HasPrefix(info.Name, "on_") {
		return
	}
	stats, err := p.Stats()
	if err != nil || stats.RunCount < 1000 {
		return
	}
	t.row("time in the kernel, program "+info.Name, fmt.Sprintf("%d ns, mean of %d runs",
		stats.Runtime.Nanoseconds()/int64(stats.RunCount), stats.RunCount), "")
}

// idleFor is how long the agent is watched while nothing happens.
const idleFor = 20 * time.Second

func resources(b *testing.B, l *lab, t *table) {
	agent := l.start()
	time.Sleep(2 * time.Second) // it has just begun
	before := agent.cpu()
	time.Sleep(idleFor)
	used := agent.cpu() - before
	t.row("processor when idle", fmt.Sprintf("%.2f%% of a core", 100*used.Seconds()/idleFor.Seconds()), "< 1%")
	t.row("resident memory when idle", mib(agent.status("VmRSS")), "< 32 MiB")
	agent.stop()
}

func mib(kb int) string { return fmt.Sprintf("%.1f MiB", float64(kb)/1024) }

// sustained executes 5,000 programs a second, by two workers of one container.
func sustained(b *testing.B, l *lab, t *table) {
	const rate, seconds, workers = 5000, 10, 2
	c := container(b)
	var group sync.WaitGroup
	ws := []*worker{startWorker(b, c), startWorker(b, c)}
	agent := l.start()
	before := agent.cpu()
	var each [workers]took
	for i, w := range ws {
		group.Go(func() { each[i] = w.do("exec", rate*seconds/workers, rate/workers) })
	}
	group.Wait()
	used := agent.cpu() - before
	t.row("resident memory under load", mib(agent.status("VmRSS"))+", at the start for a moment "+mib(agent.status("VmHWM")), "< 32 MiB")
	agent.stop()
	got, lost := l.server.of(c.ID)
	longest := max(each[0].time, each[1].time)
	t.row(fmt.Sprintf("lost of %d execs and as many exits, at %.0f execs/s", rate*seconds, rate*seconds/longest.Seconds()),
		fmt.Sprintf("%d and %d, counted as lost: %v; the agent used %.0f%% of a core", rate*seconds-got.execs, rate*seconds-got.exits,
			lost, 100*used.Seconds()/longest.Seconds()), "0 at 5000/s")
}

// stalled stops the reader on purpose, with a small ring.
func stalled(b *testing.B, l *lab, t *table) {
	const n = 5000
	c := container(b)
	w := startWorker(b, c)
	agent := l.start("--ring-bytes=262144")
	_ = agent.cmd.Process.Signal(syscall.SIGSTOP)
	w.do("exec", n, 0)
	_ = agent.cmd.Process.Signal(syscall.SIGCONT)
	agent.stop()
	got, lost := l.server.of(c.ID)
	counted := lost.GetRingFull() + lost.GetLimitedExecs() + lost.GetLimitedExits()
	t.row(fmt.Sprintf("reader stopped during %d execs and as many exits, ring of 256 KiB", n),
		fmt.Sprintf("%d arrived, %d counted as lost, off by %d", got.execs+got.exits, counted,
			2*n-got.execs-got.exits-int(counted)), "off by 0")
}

// isolated floods from one container, and looks at another's events and at the flooding one's own curl.
func isolated(b *testing.B, l *lab, t *table) {
	const quiet, every = 300, 100
	noisy, other := container(b), container(b)
	flood := []*worker{startWorker(b, noisy), startWorker(b, noisy), startWorker(b, noisy)}
	few := startWorker(b, other)
	agent := l.start()
	var group sync.WaitGroup
	const each = 15_000
	flooding := time.Now()
	for _, w := range flood {
		group.Go(func() { w.do("exec", each, 0) })
	}
	group.Go(func() { few.do("exec", quiet, every) })
	marks := make([]string, 0, 10)
	for i := range cap(marks) {
		mark := "curl-" + strconv.Itoa(i)
		noisy.Exec("/bin/sh", "-c", "/usr/bin/env "+mark+" 2>/dev/null; :")
		marks = append(marks, mark)
	}
	group.Wait()
	flooded := time.Since(flooding)
	agent.stop()
	l.server.mu.Lock()
	defer l.server.mu.Unlock()
	missed := 0
	for _, mark := range marks {
		if !l.server.args[mark] {
			missed++
		}
	}
	got := l.server.counts[other.ID]
	t.row(fmt.Sprintf("fork flood of %.0f execs/s beside it: lost of another container's %d", float64(len(flood)*each)/flooded.Seconds(), quiet),
		strconv.Itoa(quiet-got.execs), "0")
	t.row(fmt.Sprintf("  lost of %d other programs of the flooding container itself", len(marks)), strconv.Itoa(missed), "0")
	itself := l.server.counts[noisy.ID]
	t.row("  the flood itself", fmt.Sprintf("%d of %d told of, %d events that a budget was exceeded, lost: %v",
		itself.execs, len(flood)*each, itself.limits, l.server.lost), "")
}
