package bpf_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/agent/bpf"
	"github.com/portcullis-dev/portcullis/agent/kerneltest"
)

// small budgets: some 300 short execs at once, 20 a second.
var small = bpf.Options{ContainerRate: 8 << 10, ContainerBurst: 128 << 10}

// flood is a shell script that executes one program many times, with long arguments.
func flood(n int) string {
	return "i=0; while [ $i -lt " + strconv.Itoa(n) + " ]; do /usr/bin/true " + strings.Repeat("x", 4000) + "; i=$((i+1)); done; "
}

func command(name string) func(*bpf.Record) bool {
	return func(r *bpf.Record) bool { return len(r.Args) > 0 && r.Args[0] == name }
}

func TestFloodHidesNeitherItsOwnNorOthers(t *testing.T) {
	const n = 100
	w := watch(t, small)
	noisy, quiet := kerneltest.Start(t, kerneltest.Options{}), kerneltest.Start(t, kerneltest.Options{})
	noisy.Exec("/bin/sh", "-c", flood(n)+"/usr/bin/env true curl; cat "+account+"token; exec /usr/bin/true last")
	noisy.Exec("/usr/bin/true", "session")
	quiet.Exec("/usr/bin/true", "quiet")

	w.one("the quiet container's exec", in(quiet), args("/usr/bin/true", "quiet"))
	w.one("its own other program", in(noisy), kind(bpf.KindExec), args("/usr/bin/env", "true", "curl"))
	w.one("its own open", in(noisy), kind(bpf.KindOpen), file("token"))
	w.one("a session that begins meanwhile", in(noisy), kind(bpf.KindExec), args("/usr/bin/true", "session"))
	limit := w.one("the budget being exceeded", in(noisy), kind(bpf.KindLimit))
	if limit.Class != bpf.ClassExec || limit.Suppressed == 0 || !command("/usr/bin/true")(limit) {
		t.Errorf("the record of the exceeded budget is %+v", limit)
	}
	seen, suppressed := 0, 0
	for _, r := range w.all(in(noisy)) {
		suppressed += int(r.Suppressed)
		if r.Kind == bpf.KindExec && len(r.Args) > 1 && len(r.Args[1]) == 4000 {
			seen++
		}
	}
	// The last exec of the script may be told of or not.
	if total := seen + suppressed; seen == 0 || suppressed == 0 || total < n || total > n+2 {
		t.Errorf("%d execs were reported and %d said to be suppressed, of %d", seen, suppressed, n)
	}
	lost, err := w.programs.Lost()
	if err != nil {
		t.Fatal(err)
	}
	if lost.RingFull != 0 || int(lost.LimitedExecs) < suppressed || lost.LimitedOpens != 0 || lost.LimitedEntries != 0 {
		t.Errorf("the counters are %+v", lost)
	}
}

// TestAStalledReaderLosesOnlyTheFlood: a container within its budgets fills no more than half of the ring
// buffer while nobody reads it, and what it rarely executes has room beyond.
func TestAStalledReaderLosesOnlyTheFlood(t *testing.T) {
	const n, ring = 300, 1 << 20
	w := load(t, bpf.Options{RingSize: ring, ContainerRate: 1 << 30, ContainerBurst: 1 << 30})
	noisy, quiet := kerneltest.Start(t, kerneltest.Options{}), kerneltest.Start(t, kerneltest.Options{})
	noisy.Exec("/bin/sh", "-c", flood(n)+"/usr/bin/env true curl; :")
	quiet.Exec("/bin/sh", "-c", "/usr/bin/true quiet; cat "+account+"token; :")
	w.read()

	w.one("the quiet container's exec", in(quiet), kind(bpf.KindExec), args("/usr/bin/true", "quiet"))
	w.one("the quiet container's open", in(quiet), kind(bpf.KindOpen), file("token"))
	w.one("the noisy one's other program", in(noisy), kind(bpf.KindExec), args("/usr/bin/env", "true", "curl"))
	w.stop()
	size := 0
	for _, r := range w.all(in(noisy)) {
		size += r.Size()
	}
	if size < ring*3/8 || size > ring*5/8 {
		t.Errorf("the flood has %d of the ring's %d bytes", size, ring)
	}
	lost, err := w.programs.Lost()
	if err != nil {
		t.Fatal(err)
	}
	if lost.RingFull == 0 || lost.Limited() != 0 {
		t.Errorf("the counters are %+v", lost)
	}
}

func TestOpensHaveABudget(t *testing.T) {
	w := watch(t, small)
	c := kerneltest.Start(t, kerneltest.Options{})
	c.Exec("/bin/sh", "-c", "i=0; while [ $i -lt 500 ]; do read x < "+account+"token; i=$((i+1)); done; exec /usr/bin/true after")

	limit := w.one("the budget being exceeded", in(c), kind(bpf.KindLimit))
	if limit.Class != bpf.ClassOpen {
		t.Errorf("the exceeded budget is %+v", limit)
	}
	w.one("an exec after it", in(c), kind(bpf.KindExec), args("/usr/bin/true", "after"))
}

// TestManyProcessesOfOneContainer: they fill no more than the container's share
// of the table, and are told of all the same.
func TestManyProcessesOfOneContainer(t *testing.T) {
	w := watch(t, bpf.Options{ContainerProcesses: 10})
	crowd, other := kerneltest.Start(t, kerneltest.Options{}), kerneltest.Start(t, kerneltest.Options{})
	crowd.Exec("/bin/sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 0.2 & done; /usr/bin/true crowded; wait")
	other.Exec("/bin/sh", "-c", "/usr/bin/true alone; :")

	r := w.one("an exec in the crowd", in(crowd), kind(bpf.KindExec), args("/usr/bin/true", "crowded"))
	if r.EntryPID != r.PPID {
		t.Errorf("its entry leader is %d, want its parent, %d", r.EntryPID, r.PPID)
	}
	alone := w.one("an exec elsewhere", in(other), kind(bpf.KindExec), args("/usr/bin/true", "alone"))
	if p, ok, err := w.programs.Process(alone.PID); err != nil || ok && p.Start == alone.Start {
		t.Errorf("after its end it is known as %+v, %v", p, err)
	}
	if lost, err := w.programs.Lost(); err != nil || lost.ProcessesFull == 0 {
		t.Errorf("the counters are %+v, %v", lost, err)
	}
	crowd.Exec("/bin/sh", "-c", "/usr/bin/true again; :")
	again := w.one("an exec after the crowd went", in(crowd), kind(bpf.KindExec), args("/usr/bin/true", "again"))
	if again.ParentImage.IsZero() {
		t.Error("there is no room for processes although the crowd is gone")
	}
}
