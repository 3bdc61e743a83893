package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// print prints the tables.
func (o *outcome) print(w io.Writer) error {
	names, same := groups(o.pods)
	d := o.disorder
	fmt.Fprintf(w, "Same-name torture, seed %d, %s\n\n", o.options.seed, o.options.length)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"identities", fmt.Sprint(len(o.pods))},
		{"same-name groups", fmt.Sprintf("%d, with %d identities, in %d namespaces", names, same, o.options.namespaces)},
		{"rounds in which all act at once", fmt.Sprint(o.rounds)},
		{"events", fmt.Sprint(d.events)},
		{"arrival disorder", fmt.Sprintf("%d events overtaken (%d%%), the latest came %s late", d.overtaken, 100*d.overtaken/max(1, d.events), d.latest.Round(100*time.Millisecond))},
		{"clock skew", fmt.Sprintf("API servers %s, set by up to %s; nodes %s", spread(o.serverSkew), o.drifted(), spread(o.nodeSkew[:min(len(o.nodeSkew), o.options.nodes)]))},
		{"duplicates", fmt.Sprintf("%d of %d batches (%d events) sent again though acknowledged, %d as they were not", d.again, d.batches, d.eventsAgain, o.resent)},
		{"restarts", fmt.Sprintf("%d (kill -9), back in service after %s at most", len(o.kills), o.slowest.Round(10*time.Millisecond))},
		{"taken back by later events", fmt.Sprint(o.portcullis.takenBack)},
		{"said to be ambiguous", fmt.Sprint(o.portcullis.unsure)},
		{"told again, right after a kill", fmt.Sprint(o.portcullis.toldAgain)},
	} {
		fmt.Fprintf(table, "%s\t%s\n", row[0], row[1])
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	table = tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "detections\texpected\tmade\twrong\tmissed\tdoubled\t")
	for _, row := range []struct {
		name string
		score
	}{{"by identity (Portcullis)", o.portcullis.score}, {"by name", o.byName}} {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t\n", row.name, row.expected, row.made, row.wrong, row.missed, row.doubled)
	}
	return table.Flush()
}

// drifted is how far clocks were set.
func (o *outcome) drifted() time.Duration {
	if !o.options.drift {
		return 0
	}
	return steps
}

func spread(aheads []time.Duration) string {
	return fmt.Sprintf("%s to +%s", slices.Min(aheads), slices.Max(aheads))
}

// err says what is not as it should be, in at most a few lines.
func (o *outcome) err() error {
	if o.portcullis.perfect() && o.portcullis.expected > 0 {
		return nil
	}
	const most = 12
	shown := o.portcullis.complaints
	more := ""
	if len(shown) > most {
		more = fmt.Sprintf("\n… and %d more", len(shown)-most)
		shown = shown[:most]
	}
	return fmt.Errorf("%d wrong, %d missed, %d doubled of %d:\n%s%s", o.portcullis.wrong, o.portcullis.missed, o.portcullis.doubled,
		o.portcullis.expected, strings.Join(shown, "\n"), more)
}
