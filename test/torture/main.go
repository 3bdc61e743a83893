package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/portcullis-dev/portcullis/test/standalone"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "\ntorture: %v\n", err)
		os.Exit(1)
	}
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{late: late{usual: 2 * time.Second, worst: 20 * time.Second, again: 0.2}, cut: true, skew: true, drift: true}
	o.churn, o.pause = 0.5, 2500*time.Millisecond
	flags := flag.NewFlagSet("torture", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Uint64Var(&o.seed, "seed", 1, "what is drawn follows from this `number`")
	flags.DurationVar(&o.length, "for", 2*time.Minute, "how long the pods act; starting and judging take a minute more")
	flags.IntVar(&o.namespaces, "namespaces", 40, "how many namespaces have pods of the same names")
	flags.IntVar(&o.names, "names", 25, "how many names there are in each")
	flags.IntVar(&o.nodes, "nodes", 10, "how many nodes there are, each with an agent")
	flags.IntVar(&o.restarts, "restarts", -1, "how often the server is killed; -1 is about every ten seconds")
	flags.DurationVar(&o.late.worst, "late", o.late.worst, "how late an API server may deliver a batch")
	flags.DurationVar(&o.lateness, "lateness", 30*time.Second, "the server's: how late an event may come; more than -late, and the time that a restart takes")
	flags.DurationVar(&o.span, "span", 20*time.Second, "that of the rule with the longest span, in whole seconds; as shipped it has 1m")
	flags.DurationVar(&o.watchLag, "watch-lag", 200*time.Millisecond, "how much later than others the server hears of pods")
	flags.DurationVar(&o.lasts, "lasts", 75*time.Second, "how long requests last that go on for long")
	flags.BoolVar(&o.skew, "skew", o.skew, "clocks are minutes apart")
	flags.BoolVar(&o.drift, "drift", o.drift, "clocks of API servers are set now and then, by milliseconds")
	flags.BoolVar(&o.cut, "cut", o.cut, "agents lose their connections")
	flags.StringVar(&o.binary, "server", "", "a server that is built already; empty builds cmd/portcullis")
	flags.StringVar(&o.keep, "keep", "", "leave the server's log and its detections in this `directory`")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.outlast = o.lateness + o.span
	if o.restarts < 0 {
		o.restarts = int(o.length / (10 * time.Second))
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	var finish func()
	o.progress, finish = progress(o.length)
	defer finish()
	var out *outcome
	err = standalone.Run(ctx, standalone.Options{Name: "portcullis-torture", Log: stderr}, func(t standalone.TB) { //nolint:contextcheck // it has the context
		out = torture(t, o)
	})
	finish()
	if err != nil {
		return err
	}
	if err := out.err(); err != nil {
		return errors.Join(err, out.print(stdout))
	}
	return out.print(stdout)
}

// progress shows a bar where somebody watches.
func progress(length time.Duration) (show func(time.Duration), finish func()) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return func(time.Duration) {}, func() {}
	}
	bar := progressbar.NewOptions64(int64(length/time.Second),
		progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription("pods act"),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
	return func(done time.Duration) { _ = bar.Set64(int64(min(done, length) / time.Second)) }, func() { _ = bar.Finish() }
}
