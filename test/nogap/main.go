// Command nogap asks whether there is a moment between a request and the verdict that follows from it. In a pod somebody reads the
// token and calls the API; when the answer has been read to its end, he asks for an exec at once. He must be refused, thousands
// of times in a row, however late the node tells what it saw.
//
// The API server is a real one, and its audit webhook is in blocking mode; the server is the real one, in a process of
// its own, with its webhook and its policy installed (package test/serverprocess); the rules are the shipped ones, in the mode enforce, and one
// whose subject is a user. The nodes are played: there is no kubelet, so whoever is admitted gets as far as an
// error from dialling the node. What a node's agent does is real from its spool on (package agent/transport). In half of the trials
// it sends what it saw at once, in the other half it keeps that in its ring until it is asked to flush.
//
// Beside pods that are long known there are those that are an instant old, some with the name of a pod just deleted, and containers that
// no status names yet; the server hears of pods late (-watch-lag). Controls must be admitted: a gate that refuses everybody would
// have no gap either.
//
// A wait has an end (gate.barrier.timeout), and then the gate decides with what it knows: it is set to fail open here, so that nothing else
// hides a gap. The API server's own audit log says of each exec whether its wait timed out. An exec that got in without that is
// a gap. Of time-outs there may be some, on a busy machine.
//
// The mode blocking-strict has nothing to add: it also refuses requests whose first stage, RequestReceived, cannot be
// delivered, and the audit policy leaves that one out.
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
		fmt.Fprintf(os.Stderr, "\nnogap: %v\n", err)
		os.Exit(1)
	}
}

// usualLag is much for a watch: pods that are new are unknown then.
const usualLag = 200 * time.Millisecond

// options of a run.
type options struct {
	seed uint64
	// trials is how many there are, lanes how many of them at a time, each on a node of its own.
	trials, lanes int
	// timeout is gate.barrier.timeout.
	timeout time.Duration
	// watchLag is how much later than others the server hears of pods.
	watchLag time.Duration
	// only narrows the trials to those whose name has this in it.
	only string
	// binary is the server's; empty builds it.
	binary string
	// keep is where the server's log and its detections are left; empty leaves nothing.
	keep string
	// progress is told of each trial that is over.
	progress func()
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{}
	flags := flag.NewFlagSet("nogap", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Uint64Var(&o.seed, "seed", 1, "the order of the trials follows from this `number`")
	flags.IntVar(&o.trials, "trials", 3000, "how many trials there are")
	flags.IntVar(&o.lanes, "lanes", 4, "how many trials go on at a time")
	flags.DurationVar(&o.timeout, "timeout", 2*time.Second, "the server's gate.barrier.timeout")
	flags.DurationVar(&o.watchLag, "watch-lag", usualLag, "how much later than others the server hears of pods")
	flags.StringVar(&o.only, "only", "", "only the trials whose name has this `text` in it")
	flags.StringVar(&o.binary, "server", "", "a server that is built already; empty builds cmd/portcullis")
	flags.StringVar(&o.keep, "keep", "", "leave the server's log and its detections in this `directory`")
	err := flags.Parse(args)
	if err == nil && (o.trials < 1 || o.lanes < 1) {
		err = errors.New("-trials and -lanes must be at least 1")
	}
	return o, err
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	var finish func()
	o.progress, finish = progress(o.trials)
	defer finish()
	var out *outcome
	err = standalone.Run(ctx, standalone.Options{Name: "portcullis-nogap", Log: stderr}, func(t standalone.TB) { //nolint:contextcheck // it has the context
		out = try(t, o)
	})
	finish()
	if err != nil {
		return err
	}
	return errors.Join(out.print(stdout), out.err())
}

// progress shows a bar where somebody watches.
func progress(trials int) (one, finish func()) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return func() {}, func() {}
	}
	bar := progressbar.NewOptions(trials,
		progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription("trials"),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
	return func() { _ = bar.Add(1) }, func() { _ = bar.Finish() }
}
