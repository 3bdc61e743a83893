package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// maxLate is how many of a hundred waits may time out. On a machine that is so busy, nothing has been shown.
const maxLate = 5

// outcome is what a run shows.
type outcome struct {
	options options
	trials  []*trial
	waits   waits
	took    time.Duration
}

// tally counts trials of one kind.
type tally struct {
	name                        string
	kind                        kind
	last                        bool
	trials, refused, byPolicy   int
	admitted, late, unexplained int
}

func (c *tally) add(t *trial) {
	c.trials++
	switch {
	case !t.admitted:
		c.refused++
	case t.review.late || t.review.failed != "":
		c.late++
	default:
		c.admitted++
	}
	if t.byPolicy() {
		c.byPolicy++
	}
	if t.wrong() {
		c.unexplained++
	}
}

// wrong reports whether the gate did what it must not do: let somebody in without having said that it could not know, or refuse
// one who did nothing.
func (t *trial) wrong() bool {
	if t.welcome {
		return !t.admitted
	}
	return t.admitted && !t.review.late && t.review.failed == ""
}

// tallies are in the order of the kinds.
func (o *outcome) tallies() []*tally {
	type row struct {
		name string
		last bool
	}
	tried := kinds()
	rows, all := map[row]*tally{}, make([]*tally, 0, 2*len(tried))
	for _, k := range tried {
		for _, last := range []bool{false, true} {
			c := &tally{name: k.name, kind: k, last: last}
			rows[row{k.name, last}] = c
			all = append(all, c)
		}
	}
	for _, t := range o.trials {
		rows[row{t.name, t.last}].add(t)
	}
	return all
}

// print prints the tables.
func (o *outcome) print(w io.Writer) error {
	fmt.Fprintf(w, "An exec right after a pod's request was answered: %d trials in %s, seed %d, %d at a time\n\n",
		len(o.trials), o.took.Round(time.Second), o.options.seed, o.options.lanes)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "trial\ttelemetry\tby\tinto\tmust be\ttrials\trefused\tby the policy\tadmitted\tadmitted after a time-out\twrong\t")
	for _, c := range o.tallies() {
		if c.trials == 0 {
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t\n", c.name, c.telemetry(), c.kind.by, c.kind.into, c.kind.must(),
			c.trials, c.refused, c.byPolicy, c.admitted, c.late, c.unexplained)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	late, failed := o.late()
	fmt.Fprintf(w, "\nThe gate's barrier (at most %s): %s; %d execs judged without it after a time-out, %d reviews failed\n",
		o.options.timeout, o.waits.String(), late, failed)
	return nil
}

func (c *tally) telemetry() string {
	switch {
	case c.kind.seen == nil:
		return "none"
	case c.last:
		return "last"
	default:
		return "at once"
	}
}

func (k *kind) must() string {
	if k.welcome {
		return "admitted"
	}
	return "refused"
}

// late counts the execs whose wait timed out, whatever became of them, and those that the webhook did not judge.
func (o *outcome) late() (late, failed int) {
	for _, t := range o.trials {
		if t.review.late {
			late++
		}
		if t.review.failed != "" {
			failed++
		}
	}
	return late, failed
}

// err says what is not as it should be, in at most a few trials.
func (o *outcome) err() error {
	const most = 10
	var errs []error
	wrong := 0
	for _, t := range o.trials {
		if !t.wrong() {
			continue
		}
		if wrong++; wrong <= most {
			errs = append(errs, errors.New(t.timeline()))
		}
	}
	if wrong > most {
		errs = append(errs, fmt.Errorf("… and %d more", wrong-most))
	}
	if late, failed := o.late(); 100*(late+failed) > maxLate*len(o.trials) {
		errs = append(errs, fmt.Errorf("%d of %d waits timed out and %d reviews failed: the machine is too busy to show anything", late, len(o.trials), failed))
	}
	if o.waits.noAgent > 0 {
		errs = append(errs, fmt.Errorf("%d waits found no agent: they have shown nothing", o.waits.noAgent))
	}
	return errors.Join(errs...)
}

// timeline is what happened in a trial, by our clock from when the node had recorded.
func (t *trial) timeline() string {
	what := "somebody got in"
	if t.welcome {
		what = "somebody was refused who did nothing"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: trial %d, %q, into %s by %s, telemetry last: %t\n", what, t.number, t.name, t.into, t.by, t.last)
	at := func(name string, when time.Time) {
		fmt.Fprintf(&b, "  %9.3f ms  %s\n", float64(when.Sub(t.recorded))/1e6, name)
	}
	at("the node has recorded", t.recorded)
	at("the pod asks", t.asked)
	at("its answer is read to the end", t.answered)
	at("the exec is sent", t.knocked)
	at("the API server has it", t.review.received)
	at("it is audited", t.review.answered)
	at("it is answered", t.done)
	fmt.Fprintf(&b, "  session %q, late: %t, failed: %q, answer %.300q", t.review.session, t.review.late, t.review.failed, t.message)
	return b.String()
}
