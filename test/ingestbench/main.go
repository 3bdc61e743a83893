// Command ingestbench measures the way of audit events into the server.
//
// First, what an event costs from the JSON of its list to the candidates that 71
// rules make of it, beside what only parsing the same bytes costs with the fastest JSON
// parser (see folder parsers), and what encoding/json costs into the API's own types. The
// events are recorded ones.
//
// Then the whole way: a client that sends lists over HTTP/2 and TLS as an API
// server does, and in a process of its own what the server has: the sink, the
// pipeline, the correlator and the bus, with its store on disk.
//
// `make bench WHAT=ingest` prints its tables. It fails if a ratio is worse than
// what is promised; what depends on the machine's speed is only printed.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

func main() {
	o := options{}
	flag.StringVar(&o.recording, "recording", "docs/samples/audit.log.gz", "the audit log to take events from")
	flag.IntVar(&o.rounds, "rounds", 15, "how often each measurement is repeated; the tables show medians")
	flag.DurationVar(&o.length, "time", 100*time.Millisecond, "how much time of a processor one measurement of decoding takes")
	flag.IntVar(&o.batches, "batches", 400, "how many lists are sent to the server for one measurement")
	serve := flag.Int("serve", -1, "be the server, with that many open sequences; for the process that the command starts")
	write := flag.String("write", "", "only write the measured list of events to this `file`")
	flag.Parse()
	var err error
	switch {
	case *serve >= 0:
		err = server(os.Stdin, os.Stdout, *serve)
	case *write != "":
		err = writeList(*write, o.recording)
	default:
		err = run(os.Stdout, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ingestbench:", err)
		os.Exit(1)
	}
}

type options struct {
	recording string
	rounds    int
	length    time.Duration
	batches   int
}

func run(out io.Writer, o options) error {
	events, err := recorded(o.recording)
	if err != nil {
		return err
	}
	decoded := decoding(out, events, o.rounds, o.length)
	fmt.Fprintln(out)
	return errors.Join(decoded, wholeWay(out, events, o.batches))
}

// writeList writes a list of recorded events.
func writeList(path, recording string) error {
	events, err := recorded(recording)
	if err != nil {
		return err
	}
	return os.WriteFile(path, list(events), 0o600)
}
