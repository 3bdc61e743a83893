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

// row is a way to read a batch.
type row struct {
	name string
	// parser: it only parses.
	parser bool
	// judged: it must keep the promises.
	judged bool
	// body is what it reads, that of most rows if nil.
	body []byte
	// prepare returns what reads the body once.
	prepare func(body []byte) (func() error, error)

	read func() error
	// costs of each round: nanoseconds of a processor, allocations and bytes per event.
	nanoseconds, allocations, bytes []float64
}

// ours decodes, and matches if there is a correlator.
func ours(decoder *auditsink.Decoder, match *correlator.Correlator) func([]byte) (func() error, error) {
	from := auditsink.Delivery{APIServer: "bench"}
	return func(body []byte) (func() error, error) {
		return func() error {
			batch, err := decoder.Decode(body, from)
			if err != nil || len(batch.Events) != batchSize {
				return fmt.Errorf("%d events: %w", len(batch.Events), err)
			}
			if match != nil {
				for _, e := range batch.Events {
					match.Match(e)
				}
			}
			batch.Release()
			return nil
		}, nil
	}
}

// decoding measures what becomes of the events, and what else would.
func decoding(out io.Writer, events []string, rounds int, length time.Duration) error {
	match, err := newCorrelator(nowhere{}, prometheus.NewRegistry())
	if err != nil {
		return err
	}
	decoder := auditsink.NewDecoder()
	wanted, unwanted, err := apart(events, func(text []byte) (bool, error) {
		e, bad := decoder.DecodeEvent(text, auditsink.Delivery{APIServer: "bench"})
		return bad == nil && len(match.Match(e)) > 0, bad
	})
	if err != nil {
		return err
	}
	if len(wanted) == 0 || len(unwanted) == 0 {
		return errors.New("the recording has no events that some rule wants, or none that no rule wants")
	}
	most := list(unwanted)
	rows := []row{
		{name: "encoding/json into audit.EventList", prepare: apiTypes},
		{name: "valyala/fastjson, Parse", parser: true, prepare: fastestParser},
		{name: "our decoder", prepare: ours(decoder, nil)},
		{name: "our decoder, match", judged: true, prepare: ours(decoder, match)},
		{name: "the same with the wanted events", body: list(events), prepare: ours(decoder, match)},
		{name: "the same, every user a stranger", prepare: newcomers(unwanted, decoder, match)},
	}
	if err := measure(rows, most, rounds, length); err != nil {
		return err
	}
	fmt.Fprintf(out, "Lists of %d recorded events of %d bytes, %d of %d of which no rule of 71 wants; median of %d rounds\n\n",
		batchSize, len(most)/batchSize, len(unwanted), len(events), rounds)
	return judge(out, rows)
}

// newcomers reads batches of so many different users that none is known again.
func newcomers(events []string, decoder *auditsink.Decoder, match *correlator.Correlator) func([]byte) (func() error, error) {
	return func([]byte) (func() error, error) {
		const batches = 64
		reads := make([]func() error, batches)
		for i := range reads {
			var err error
			if reads[i], err = ours(decoder, match)(strangers(events, i)); err != nil {
				return nil, err
			}
		}
		next := 0
		return func() error {
			next++
			return reads[next%batches]()
		}, nil
	}
}

// measure fills in the costs of the rows, each once per round: whatever else the
// machine does meanwhile hits all of them.
func measure(rows []row, body []byte, rounds int, length time.Duration) error {
	for i := range rows {
		if rows[i].body == nil {
			rows[i].body = body
		}
		var err error
		if rows[i].read, err = rows[i].prepare(rows[i].body); err != nil {
			return fmt.Errorf("%s: %w", rows[i].name, err)
		}
		if err := rows[i].read(); err != nil {
			return fmt.Errorf("%s: %w", rows[i].name, err)
		}
	}
	for range rounds {
		for i := range rows {
			if err := rows[i].measure(length); err != nil {
				return fmt.Errorf("%s: %w", rows[i].name, err)
			}
		}
	}
	return nil
}

func (r *row) measure(length time.Duration) error {
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	from, events := processorTime(), 0
	spent := time.Duration(0)
	for ; spent < length; spent = processorTime() - from {
		if err := r.read(); err != nil {
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

// judge prints the rows, and returns an error if one that is judged breaks a promise.
func judge(out io.Writer, rows []row) error {
	api, fastest := &rows[0], (*row)(nil)
	for i := range rows {
		if rows[i].parser && (fastest == nil || median(rows[i].nanoseconds) < median(fastest.nanoseconds)) {
			fastest = &rows[i]
		}
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tns/event\tallocations\tbytes\tof the fastest parser\tfaster than encoding/json\t")
	var broken []error
	for i := range rows {
		r := &rows[i]
		of, than := ratios(r, fastest), ratios(r, api)
		fmt.Fprintf(w, "%s\t%.0f\t%.2f\t%.0f\t%.2f\t%.1f\t\n", r.name, median(r.nanoseconds), median(r.allocations), median(r.bytes), median(of), 1/median(than))
		if least := quartile(of); r.judged && least > mostOfParsing {
			broken = append(broken, fmt.Errorf("%s: at least %.2f times the cost of %s, promised are %.1f", r.name, least, fastest.name, mostOfParsing))
		}
		if most := 1 / quartile(than); r.judged && most < leastOfAPITypes {
			broken = append(broken, fmt.Errorf("%s: at most %.1f times as fast as encoding/json, promised are %d", r.name, most, leastOfAPITypes))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return errors.Join(broken...)
}
