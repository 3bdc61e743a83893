package cost

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"text/tabwriter"

	"golang.org/x/sys/unix"

	"github.com/portcullis-dev/portcullis/agent/kerneltest"
)

// pairs is how many pairs are measured of each comparison.
var pairs = flag.Int("pairs", 100, "pairs of measurements, with and without the agent")

// table is what is printed in the end.
type table struct {
	rows []string
}

// row is one measurement. target is what is promised of it and verdict whether that was kept; both may be empty.
func (t *table) row(what, result, target, verdict string) {
	t.rows = append(t.rows, strings.Join([]string{what, result, target, verdict}, "\t"))
	fmt.Fprintf(os.Stderr, "cost: %s: %s\n", what, result)
}

func (t *table) print() {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	defer w.Flush()
	fmt.Fprintf(w, "\n%s\n", machine())
	fmt.Fprintln(w, "what\tmedian [95% interval]\ttarget\tverdict")
	for _, row := range t.rows {
		fmt.Fprintln(w, row)
	}
}

const (
	met    = "met"
	missed = "MISSED"
)

// promise prints a row of what must hold on any machine, and fails the benchmark if it does not.
func (t *table) promise(b *testing.B, what, result, target string, kept bool) {
	b.Helper()
	if kept {
		t.row(what, result, target, met)
		return
	}
	t.row(what, result, target, missed)
	b.Errorf("%s: %s, promised is %s", what, result, target)
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
		{"compare", compare}, {"programs", kernelPrograms}, {"resources", resources},
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
