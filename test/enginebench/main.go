// Command enginebench measures the correlator: what an event costs with 71 rules
// and with 1,000, what it would cost to evaluate each rule on its own, and what a
// million open sequences take. `make bench WHAT=engine` prints its tables.
//
// The rules and the events are those of package ruleload. The same measurements
// are Go benchmarks, for benchstat: go test -bench . ./test/enginebench.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/portcullis-dev/portcullis/test/ruleload"
)

func main() {
	count := flag.Int("count", 5, "how often each measurement is repeated; the tables show the median")
	length := flag.Duration("time", 500*time.Millisecond, "how long one measurement of events takes")
	flag.Parse()
	if err := run(os.Stdout, *count, *length); err != nil {
		fmt.Fprintln(os.Stderr, "enginebench:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, count int, length time.Duration) error {
	if err := printEvents(out, count, length); err != nil {
		return err
	}
	if err := printMemory(out); err != nil {
		return err
	}
	return printExpiry(out, count)
}

// cost is what an event costs: time of a processor, whoever else needs one
// meanwhile, and allocations.
type cost struct{ nanoseconds, allocations float64 }

// measure returns the median of several measurements.
func measure(count int, length time.Duration, prepare func() (func(), error)) (cost, error) {
	deliver, err := prepare()
	if err != nil {
		return cost{}, err
	}
	costs := make([]cost, count)
	for i := range costs {
		if costs[i], err = measureOnce(length, deliver); err != nil {
			return cost{}, err
		}
	}
	slices.SortFunc(costs, func(a, b cost) int { return int(a.nanoseconds - b.nanoseconds) })
	return costs[count/2], nil
}

func measureOnce(length time.Duration, deliver func()) (cost, error) {
	unit := len(batch())
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	from, err := processorTime()
	if err != nil {
		return cost{}, err
	}
	var spent time.Duration
	events := 0
	for spent < length {
		deliver()
		events += unit
		now, err := processorTime()
		if err != nil {
			return cost{}, err
		}
		spent = now - from
	}
	runtime.ReadMemStats(&after)
	return cost{float64(spent.Nanoseconds()) / float64(events), float64(after.Mallocs-before.Mallocs) / float64(events)}, nil
}

// processorTime is what the process has had of all processors.
func processorTime() (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, fmt.Errorf("getrusage: %w", err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}

func printEvents(out io.Writer, count int, length time.Duration) error {
	var costs [2][2]cost
	sizes := [2]int{ruleload.Block, 1000}
	for i, rules := range sizes {
		for j, how := range []func(int) (func(), error){together, alone} {
			var err error
			if costs[i][j], err = measure(count, length, func() (func(), error) { return how(rules) }); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(out, "Events that no rule wants, one core, median of %d\n\n", count)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "rules\tµs/event\tallocations\tratio to 71\teach rule alone, µs\ttimes as much\t")
	for i, c := range costs {
		fmt.Fprintf(w, "%d\t%.2f\t%.0f\t%.2f\t%.2f\t%.0f\t\n", sizes[i], c[0].nanoseconds/1000, c[0].allocations,
			c[0].nanoseconds/costs[0][0].nanoseconds, c[1].nanoseconds/1000, c[1].nanoseconds/c[0].nanoseconds)
	}
	return w.Flush()
}

func printMemory(out io.Writer) error {
	m, err := measureMemory()
	if err != nil {
		return err
	}
	const mib = 1 << 20
	fmt.Fprintf(out, "\n%d open sequences: %d rules in each of %d pods, each opened by an event of its own\n\n", m.open, openRules, openPods)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "heap, objects\theap, spans\tbytes each\tthe event itself, bytes\t")
	fmt.Fprintf(w, "%d MiB\t%d MiB\t%d\t%d\t\n", m.allocated/mib, m.inUse/mib, m.allocated/uint64(m.open), eventBytes()) //nolint:gosec // a million
	return w.Flush()
}

func printExpiry(out io.Writer, count int) error {
	fmt.Fprintf(out, "\nMoving the watermark, median of %d\n\n", count)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "open\texpire\tµs\tµs each\t")
	for _, open := range []int{100_000, 1_000_000} {
		rows, err := measureExpiry(open, []int{0, 100, 1000, 10_000}, count)
		if err != nil {
			return err
		}
		for _, x := range rows {
			fmt.Fprintf(w, "%d\t%d\t%.0f\t%.2f\t\n", open, x.expired, micros(x.spent), micros(x.spent)/float64(max(1, x.expired)))
		}
	}
	return w.Flush()
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
