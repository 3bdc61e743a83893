package cost

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// kernelPrograms has the kernel count what its programs take.
func kernelPrograms(b *testing.B, l *lab, t *table) {
	inside := startWorker(b, container(b))
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		t.row("time of the kernel's programs", "not available: "+err.Error(), "", "")
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
		stats.Runtime.Nanoseconds()/int64(stats.RunCount), stats.RunCount), "", "")
}

// idleFor is how long the agent is watched while nothing happens.
const idleFor = 20 * time.Second

func resources(b *testing.B, l *lab, t *table) {
	agent := l.start()
	time.Sleep(2 * time.Second) // it has just begun
	before := agent.cpu()
	time.Sleep(idleFor)
	used := agent.cpu() - before
	share := used.Seconds() / idleFor.Seconds()
	t.row("processor when idle", fmt.Sprintf("%.2f%% of a core", 100*share), "< 1%", verdict(share < 0.01))
	idle, start := agent.status("VmRSS"), agent.status("VmHWM")
	t.row("resident memory when idle", mib(idle), "< 32 MiB", verdict(idle < memoryTarget))
	t.row("resident memory at the start, for a moment", mib(start), "< 32 MiB", verdict(start < memoryTarget))
	agent.stop()
}

// memoryTarget is in kB, as the kernel counts.
const memoryTarget = 32 << 10

func mib(kb int) string { return fmt.Sprintf("%.1f MiB", float64(kb)/1024) }

func verdict(kept bool) string {
	if kept {
		return met
	}
	return missed
}
