package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/auditsink"
	"github.com/portcullis-dev/portcullis/correlator"
)

// What is promised of one event, from JSON to matched candidates.
const (
	// mostOfParsing is how many times as much as only parsing it may cost.
	mostOfParsing = 1.5
	// leastOfAPITypes is how many times as much encoding/json into the API's types must cost.
	leastOfAPITypes = 5
)

// table is lists of events, and the ways to read them.
type table struct {
	title string
	// judged: who reads these must keep the promises.
	judged bool
	// bodies are read in turn.
	bodies [][]byte
	rows   []row
}

// row is a way to read a list.
type row struct {
	name string
	// judged: it must keep the promises where its table does.
	judged bool
	read   func(body []byte) error
	// costs of each round: nanoseconds of a processor, allocations and bytes per event.
	nanoseconds, allocations, bytes []float64
}

// Places in a table's rows.
const (
	rowAPITypes = iota
	rowParser
)

// decoding measures what becomes of the events, and what else would.
func decoding(out io.Writer, events []string, rounds int, length time.Duration) error {
	match, err := newCorrelator(nowhere{}, prometheus.NewRegistry())
	if err != nil {
		return err
	}
	decoder := auditsink.NewDecoder()
	candidates := 0
	wanted, unwanted, err := apart(events, func(text []byte) (bool, error) {
		e, bad := decoder.DecodeEvent(text, auditsink.Delivery{APIServer: "bench"})
		if bad != nil {
			return false, bad
		}
		found := len(match.Match(e))
		candidates += found
		return found > 0, nil
	})
	if err != nil {
		return err
	}
	if len(wanted) == 0 || len(unwanted) == 0 {
		return errors.New("the recording has no events that some rule wants, or none that no rule wants")
	}
	most, all := list(unwanted), list(events)
	tables := []table{
		{judged: true, bodies: [][]byte{most}, title: fmt.Sprintf("What no rule wants: %d of the recording's %d events, %d bytes each", len(unwanted), len(events), len(most)/batchSize)},
		{judged: true, bodies: [][]byte{all}, title: fmt.Sprintf("The whole recording: %.0f%% wanted, %.1f candidates each; %d bytes each",
			100*float64(len(wanted))/float64(len(events)), float64(candidates)/float64(len(wanted)), len(all)/batchSize)},
		{bodies: newcomers(unwanted), title: "What no rule wants, every user a stranger"},
	}
	for i := range tables {
		tables[i].rows = ways(decoder, match)
	}
	if err := measure(tables, rounds, length); err != nil {
		return err
	}
	fmt.Fprintf(out, "From JSON to candidates of 71 rules: lists of %d recorded events, median of %d rounds\n", batchSize, rounds)
	return judge(out, tables)
}

// ways are the ways to read a list, each table's own.
func ways(decoder *auditsink.Decoder, match *correlator.Correlator) []row {
	return []row{
		{name: "encoding/json into audit.EventList", read: apiTypes},
		{name: "valyala/fastjson, Parse", read: fastestParser()},
		{name: "our decoder", read: ours(decoder, nil)},
		{name: "our decoder, match", judged: true, read: ours(decoder, match)},
	}
}

// ours decodes, and matches if there is a correlator.
func ours(decoder *auditsink.Decoder, match *correlator.Correlator) func([]byte) error {
	from := auditsink.Delivery{APIServer: "bench"}
	return func(body []byte) error {
		batch, err := decoder.Decode(body, from)
		if err != nil || len(batch.Events) != batchSize {
			return fmt.Errorf("%d events: %w", len(batch.Events), err)
		}
		if match != nil {
			match.Match(batch.Events...)
		}
		batch.Release()
		return nil
	}
}

// newcomers are lists of so many different users that none is known again.
func newcomers(events []string) [][]byte {
	bodies := make([][]byte, 64)
	for i := range bodies {
		bodies[i] = strangers(events, i)
	}
	return bodies
}

// measure fills in the costs of the rows, each once per round: whatever else the
// machine does meanwhile hits all of them.
func measure(tables []table, rounds int, length time.Duration) error {
	for round := range rounds + 1 {
		for t := range tables {
			for i := range tables[t].rows {
				r := &tables[t].rows[i]
				if err := r.measure(tables[t].bodies, length); err != nil {
					return fmt.Errorf("%s: %w", r.name, err)
				}
				if round == 0 { // What is made for the first lists is not what lists cost.
					r.nanoseconds, r.allocations, r.bytes = nil, nil, nil
				}
			}
		}
	}
	return nil
}

func (r *row) measure(bodies [][]byte, length time.Duration) error {
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	from, events := processorTime(), 0
	spent := time.Duration(0)
	for ; spent < length; spent = processorTime() - from {
		if err := r.read(bodies[events/batchSize%len(bodies)]); err != nil {
			return err
		}
		events += batchSize
	}
	runtime.ReadMemStats(&after)
	per := func(n float64) float64 { return n / float64(events) }
	r.nanoseconds = append(r.nanoseconds, per(float64(spent.Nanoseconds())))
	r.allocations = append(r.allocations, per(float64(after.Mallocs-before.Mallocs)))
	r.bytes = append(r.bytes, per(float64(after.TotalAlloc-before.TotalAlloc)))
	return nil
}

// processorTime is what the process has had of all processors.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // It fails for bad arguments only.
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// quartile is what a quarter of the values are below: if even that is too much, it is not noise.
func quartile(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/4]
}

// ratios are a row's cost to another one's, round by round.
func ratios(of, to *row) []float64 {
	out := make([]float64, len(of.nanoseconds))
	for i := range out {
		out[i] = of.nanoseconds[i] / to.nanoseconds[i]
	}
	return out
}

// judge prints the tables, and returns an error if a row that is judged breaks a promise.
func judge(out io.Writer, tables []table) error {
	var broken []error
	for _, t := range tables {
		fmt.Fprintf(out, "\n%s\n\n", t.title)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(w, "\tns/event\tallocations\tbytes\tof the fastest parser\tfaster than encoding/json\t")
		for i := range t.rows {
			r := &t.rows[i]
			of, than := ratios(r, &t.rows[rowParser]), ratios(r, &t.rows[rowAPITypes])
			fmt.Fprintf(w, "%s\t%.0f\t%.2f\t%.0f\t%.2f\t%.1f\t\n", r.name, median(r.nanoseconds), median(r.allocations), median(r.bytes), median(of), 1/median(than))
			if !t.judged || !r.judged {
				continue
			}
			if least := quartile(of); least > mostOfParsing {
				broken = append(broken, fmt.Errorf("%s: %s: at least %.2f times the cost of only parsing, promised are %.1f", t.title, r.name, least, mostOfParsing))
			}
			if most := 1 / quartile(than); most < leastOfAPITypes {
				broken = append(broken, fmt.Errorf("%s: %s: at most %.1f times as fast as encoding/json, promised are %d", t.title, r.name, most, leastOfAPITypes))
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return errors.Join(broken...)
}
