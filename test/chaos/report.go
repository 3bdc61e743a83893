package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// maxComplaints bounds what is told of what is wrong.
const maxComplaints = 40

// report is what a suite comes to.
type report struct {
	suite   *suite
	verdict *verdict
	// receiverFailed is how often whoever was told of detections refused to listen.
	receiverFailed int
}

// problems are why the exit status is not zero.
func (r *report) problems() []string {
	out := slices.Clone(r.verdict.complaints)
	if lost := r.verdict.damaged + r.verdict.undone; lost > 0 && !r.suite.damages.told() {
		out = append(out, fmt.Sprintf("%d detections or releases were lost to damage, and the server has counted none of it", lost))
	}
	if r.suite.injected[longAway] > 0 && r.suite.refused == 0 {
		out = append(out, "the server was away for long, and has counted nothing as too late")
	}
	if r.verdict.expected == 0 {
		out = append(out, "nothing has happened that is to be detected")
	}
	if kills := r.kills(); kills < r.suite.opts.leastKills {
		out = append(out, fmt.Sprintf("the server was killed %d times, which proves too little: it must be %d", kills, r.suite.opts.leastKills))
	}
	for _, p := range points() {
		if r.suite.hits[p.when] == 0 && r.suite.misses[p.when] >= pointTries {
			out = append(out, fmt.Sprintf("the server never got to be killed where: %s; it no longer enters %s", p.when, p.function))
		}
	}
	return out
}

// kills is how often the server's process ended without warning.
func (r *report) kills() int { return r.suite.server.life - len(r.suite.server.graceful) }

// print writes what was found to be wrong, and then the table.
func (r *report) print(w io.Writer) error {
	problems := r.problems()
	for _, p := range problems[:min(len(problems), maxComplaints)] {
		fmt.Fprintln(w, p)
	}
	if more := len(problems) - maxComplaints; more > 0 {
		fmt.Fprintf(w, "… and %d more\n", more)
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	r.printFaults(t)
	r.printEvents(t)
	r.printVerdict(t)
	r.printTimes(t)
	return t.Flush()
}

func (r *report) printFaults(w io.Writer) {
	s := r.suite
	fmt.Fprintf(w, "FAULTS INJECTED (seed %d, %s)\t\n", s.opts.seed, s.opts.long)
	names := make([]fault, 0, len(s.injected))
	for f := range s.injected {
		names = append(names, f)
	}
	slices.Sort(names)
	for _, f := range names {
		fmt.Fprintf(w, "  %s\t%d\n", f, s.injected[f])
	}
	for _, p := range points() {
		if n := s.hits[p.when] + s.misses[p.when]; n > 0 {
			fmt.Fprintf(w, "    at: %s\t%d of %d\n", p.when, s.hits[p.when], n)
		}
	}
	for _, bucket := range slices.Sorted(maps.Keys(s.damages.records)) {
		fmt.Fprintf(w, "    flipped in: %s\t%d\n", bucket, s.damages.records[bucket])
	}
	fmt.Fprintf(w, "  receiver of detections refused\t%d\n", r.receiverFailed)
	fmt.Fprintf(w, "  ends without warning in all\t%d, at least %d\n", r.kills(), s.opts.leastKills)
	if s.points == nil {
		fmt.Fprintln(w, "  (killing at chosen points is not possible here)\t")
	}
	if s.disk == nil {
		fmt.Fprintln(w, "  (no disk of its own: not full, not slow)\t")
	}
}

func (r *report) printEvents(w io.Writer) {
	fmt.Fprintln(w, "EVENTS SENT AND ACKNOWLEDGED\t")
	sent := r.suite.ledger.counts()
	for _, what := range []string{sentAudit, sentAgain, sentTelemetry} {
		fmt.Fprintf(w, "  %s\t%d\n", what, sent[what])
	}
}

func (r *report) printVerdict(w io.Writer) {
	v, d := r.verdict, r.suite.damages
	fmt.Fprintln(w, "DETECTIONS\t")
	for _, line := range []struct {
		what string
		n    int
	}{
		{"expected", v.expected},
		{"made", v.made},
		{"lost", v.lost},
		{"doubled", v.doubled},
		{"wrong", v.wrong},
		{"notices", v.notices},
		{"  of them sent again after a kill", v.repeated},
		{"  of them sent again with other gaps in what was seen", v.updated},
	} {
		fmt.Fprintf(w, "  %s\t%d\n", line.what, line.n)
	}
	if r.suite.injected[longAway] > 0 {
		fmt.Fprintf(w, "  not made when it came too late\t%d\n", r.suite.tooLate)
		fmt.Fprintf(w, "    nor after the next start, which allowed for more\t%d\n", v.tooLate)
		fmt.Fprintf(w, "    counted by the server as too late\t%.0f events\n", r.suite.refused)
	}
	if d.atRisk > 0 {
		fmt.Fprintf(w, "  at risk when a disk was damaged on purpose\t%d\n", d.atRisk)
		fmt.Fprintf(w, "    lost to that\t%d\n", v.damaged)
		fmt.Fprintf(w, "    counted by the server as lost\t%.0f messages, %.0f bytes\n", d.messages, d.bytes)
	}
	fmt.Fprintln(w, "QUARANTINES\t")
	fmt.Fprintf(w, "  expected\t%d\n", v.quarantines)
	fmt.Fprintf(w, "  released\t%d\n", v.released)
	fmt.Fprintf(w, "    undone as the record of it was damaged\t%d\n", v.undone)
	fmt.Fprintf(w, "  wrong\t%d\n", v.quarantinesWrong)
}

func (r *report) printTimes(w io.Writer) {
	s := r.suite
	fmt.Fprintln(w, "TIMES (they depend on the machine)\t")
	fmt.Fprintf(w, "  from start to ready\t%s\n", spread(s.server.took))
	fmt.Fprintf(w, "  graceful stop\t%s\n", spread(s.server.stopping))
	for _, f := range []fault{diskFull, diskFullAtStart, diskSlow, diskHangs, apiServerDown} {
		var took []time.Duration
		for _, o := range s.waits {
			if o.fault == f {
				took = append(took, o.took)
			}
		}
		if len(took) > 0 {
			fmt.Fprintf(w, "  ready again after: %s\t%s\n", f, spread(took))
		}
	}
	fmt.Fprintf(w, "  longest that a delivery waited for its acknowledgement\t%s\n", round(s.ledger.longest()))
}

// spread says how long something took.
func spread(took []time.Duration) string {
	if len(took) == 0 {
		return "-"
	}
	sorted := slices.Sorted(slices.Values(took))
	return strings.Join([]string{
		"median " + round(sorted[len(sorted)/2]), "p95 " + round(sorted[len(sorted)*95/100]), "max " + round(sorted[len(sorted)-1]),
		fmt.Sprintf("of %d", len(sorted)),
	}, ", ")
}

func round(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }
