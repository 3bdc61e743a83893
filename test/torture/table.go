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

// print prints the tables.
func (o *outcome) print(w io.Writer) error {
	names, same := groups(o.pods)
	d, v := o.disorder, o.portcullis
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
		{"requests told at the pod's birth", fmt.Sprintf("%d, the watch of pods lags by %s", o.count(func(a *act) bool { return a.hasty }), o.options.watchLag)},
		{"requests that last", fmt.Sprintf("%d, for %s", o.count(func(a *act) bool { return a.lasts > 0 }), o.options.lasts)},
		{"rules", fmt.Sprintf("as shipped, the longest span %s; lateness %s", o.options.span, o.options.lateness)},
		{"told while it could change", fmt.Sprintf("%d provisional detections, %d taken back later", v.provisional, v.takenBack)},
		{"final", fmt.Sprintf("all, %s after the pods stopped acting; %d just as they were told, without another line", o.toFinal.Round(100*time.Millisecond), v.silent)},
		{"named with others, rightly", fmt.Sprintf("%d of those made: the request names no UID and was made when its name changed hands, or the server was away", v.unsure)},
		{"named as another's candidate", fmt.Sprintf("%d besides those made, each the other side of such a request; nothing is done about them", v.aside)},
		{"lines said twice", fmt.Sprintf("%d, word for word, of what was said within %s before a kill: not counted as doubled, by their id readers drop them", v.repeated, recordTime)},
		{"name something unseen", unseen(v.holes) + "; of the requests that last: " + unseen(v.lasting)},
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

// count counts what was done.
func (o *outcome) count(is func(*act) bool) int {
	n := 0
	for _, p := range o.pods {
		for i := range p.acts {
			if is(&p.acts[i]) {
				n++
			}
		}
	}
	return n
}

// unseen says what detections say that was not seen. All was sent, but not all at once.
func unseen(holes map[string]int) string {
	if len(holes) == 0 {
		return "none"
	}
	var all []string
	for _, cause := range slices.Sorted(maps.Keys(holes)) {
		all = append(all, fmt.Sprintf("%d %s", holes[cause], cause))
	}
	return strings.Join(all, ", ")
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
