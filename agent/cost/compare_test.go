package cost

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"
)

// comparison is one thing whose time is compared with and without the agent.
type comparison struct {
	name, work string
	times      int
	inside     bool // of a container
	ratio      bool // the rate's ratio counts, not the difference of one
	target     target
	// Of each pair, by the clock and by the processor time of the worker and its children: the
	// second does not see what the agent's own process does, nor what else the machine does.
	time, processor []float64
}

// target is what is promised of a comparison's median.
type target struct {
	text string
	kept func(median float64) bool
}

// repeated is how often each half of a pair is measured: its median leaves out what else the machine did for a moment.
const repeated = 7

func (c *comparison) measure(w *worker) (median took) {
	clock, processor := make([]time.Duration, repeated), make([]time.Duration, repeated)
	for i := range repeated {
		t := w.do(c.work, c.times, 0)
		clock[i], processor[i] = t.time, t.processor
	}
	slices.Sort(clock)
	slices.Sort(processor)
	return took{clock[repeated/2], processor[repeated/2]}
}

// add notes a pair.
func (c *comparison) add(with, without took) {
	sample := func(with, without float64) float64 {
		if c.ratio {
			return without / with
		}
		return (with - without) / float64(c.times)
	}
	c.time = append(c.time, sample(float64(with.time), float64(without.time)))
	c.processor = append(c.processor, sample(float64(with.processor), float64(without.processor)))
}

// without is what is left of a comparison's pairs when another's are taken off.
func (c *comparison) without(other *comparison, name string, t target) *comparison {
	left := &comparison{name: name, target: t}
	for i := range c.time {
		left.time = append(left.time, c.time[i]-other.time[i])
		left.processor = append(left.processor, c.processor[i]-other.processor[i])
	}
	return left
}

// print makes two rows. The verdict goes by processor time, if there is a target.
func (c *comparison) print(t *table) {
	byClock, byProcessor := newEstimate(c.time), newEstimate(c.processor)
	unit := " ns"
	if c.ratio {
		unit = ""
	}
	t.row(c.name, byClock.format(unit), c.target.text, "")
	t.row("  the same by processor time", byProcessor.format(unit), c.target.text, c.target.judge(byProcessor))
}

// judge says whether a target is met, and whether the interval leaves doubt.
func (t target) judge(e estimate) string {
	if t.kept == nil {
		return ""
	}
	word := verdict(t.kept(e.median))
	if t.kept(e.low) != t.kept(e.high) {
		word += ", within the interval's doubt"
	}
	return word
}

// compare measures all comparisons in the same pairs.
func compare(b *testing.B, l *lab, t *table) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // the server's: it is not on the node otherwise
	l.codec.numbers.Store(true)
	inside, outside := startWorker(b, container(b)), startHostWorker(b)
	rate := target{">= 0.97", func(median float64) bool { return median >= 0.97 }}
	open := &comparison{name: "unrelated open() and close() in a container, more", work: "open", times: 20_000, inside: true}
	call := &comparison{name: "any other system call (getppid), more", work: "call", times: 100_000, inside: true}
	comparisons := []*comparison{
		{name: "fork+exec rate in a container, with / without", work: "exec", times: 100, inside: true, ratio: true, target: rate},
		{name: "the same of a program of three instructions", work: "nothing", times: 500, inside: true, ratio: true},
		{name: "fork+exec rate on the host", work: "exec", times: 100, ratio: true},
		open, call,
	}
	measure := func() []took {
		half := make([]took, len(comparisons))
		for i, what := range comparisons {
			w := outside
			if what.inside {
				w = inside
			}
			half[i] = what.measure(w)
		}
		return half
	}
	alone := measure() // warms up
	t.row("fork+exec without the agent, by processor time", fmt.Sprintf("%d us, of three instructions %d us",
		int(alone[0].processor.Microseconds())/comparisons[0].times, int(alone[1].processor.Microseconds())/comparisons[1].times), "", "")
	for pair := range *pairs {
		var with, without []took
		if pair%2 == 0 {
			without = measure()
		}
		agent := l.start()
		measure() // Its start is another matter.
		with = measure()
		agent.stop()
		if pair%2 == 1 {
			without = measure()
		}
		for i, what := range comparisons {
			what.add(with[i], without[i])
		}
	}
	for _, what := range append(comparisons, open.without(call, "unrelated open() alone: less what any call costs",
		target{"< 100 ns", func(median float64) bool { return median < 100 }})) {
		what.print(t)
	}
}
