// Command chaos lets everything go wrong that can, and counts what became of it: the server, the real one, in a
// process of its own with its store on disk, is killed hundreds of times, in the middle of whatever it does, while real
// sources (package test/serverprocess) send it what they see.
//
//	make chaos SEED=1 FOR=10m
//
// # What happens
//
// Pods play stories of which it is known what must be detected (plot.go). What happens reaches the server in any
// order, late, and more than once (feed.go), and is sent until it is acknowledged: so all of it must be detected, once. Some
// pods are released from their quarantine, and must stay released.
//
// # What goes wrong
//
// faults.go has the faults. Most are kills (SIGKILL): at random instants, while it starts, some milliseconds after a request
// was written, and where the server enters a function (points.go, package killpoint): after a candidate was stored and
// before that was acknowledged, after a detection was made and before anything was done about it, and so on. The server's
// binary is the ordinary one. It stays away for longer than events may be late (away.go). Its disk is full, slow or hangs; its
// store is damaged (damage.go); its clock jumps; kube-apiserver goes away; agents lose their connections; and whoever is told of
// detections refuses to listen.
//
// # What is judged
//
// verdict.go: a detection that was not made is lost; one that was made under two ids, or told in two ways, or told twice
// although nobody was killed in between, is doubled; one of something that did not happen is wrong. After a kill a notice may
// come again, the very same: nobody can know whether it had arrived. What a disk that was damaged on
// purpose has lost, and what came too late, is counted apart, and the server must have counted it, too.
//
// The table comes last. The exit status is not zero unless nothing is lost, doubled or wrong. It is not zero either if the
// server was killed less than once in three seconds, or never got to one of the points: then nothing is proven.
//
// Decisions follow from the seed; the instants at which they meet the server are the machine's.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/portcullis-dev/portcullis/test/chaos/disk"
	"github.com/portcullis-dev/portcullis/test/standalone"
)

func main() {
	seed := flag.Uint64("seed", 1, "what chance decides")
	long := flag.Duration("for", 10*time.Minute, "how long faults are injected")
	keep := flag.String("keep", "", "a directory that the server's log is copied to")
	binary := flag.String("binary", "", "a server that is built already, with its symbols")
	only := flag.String("only", "", "inject only faults with this in their name")
	flag.Parse()
	isolated, status, err := disk.Isolate()
	if !isolated && err == nil {
		os.Exit(status)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos: the server gets no disk of its own, so it is never full or slow:", err)
	}
	log.SetLogger(logr.Discard()) // The API client's.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	opts := full(*seed, *long, isolated)
	opts.keep, opts.binary = *keep, *binary
	if *only != "" {
		maps.DeleteFunc(opts.deck, func(f fault, _ int) bool { return !strings.Contains(string(f), *only) })
		opts.leastKills = 0 // Not all faults are kills.
	}
	err = errNoFault
	if len(opts.deck) > 0 {
		err = chaos(ctx, opts)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

var (
	errBroken  = errors.New("something was lost, doubled or wrong, or too little was tried")
	errNoFault = errors.New("there is no such fault")
)

func chaos(ctx context.Context, opts options) error {
	var r *report
	err := standalone.Run(ctx, standalone.Options{Name: "portcullis-chaos", Log: os.Stderr}, func(t standalone.TB) { //nolint:contextcheck // t has it
		var err error
		if r, err = run(t, opts); err != nil {
			t.Errorf("%v", err)
		}
	})
	if r == nil {
		return errors.Join(err, ctx.Err())
	}
	if printing := r.print(os.Stdout); printing != nil {
		return printing
	}
	if err == nil && len(r.problems()) > 0 {
		err = errBroken
	}
	return err
}

// killEvery is how much time there may be for each kill: ten minutes are two hundred at least, of which some hundred
// are at an instant of chance, whatever else they are about.
const killEvery = 3 * time.Second

// full is the suite with everything in it.
func full(seed uint64, long time.Duration, withDisk bool) options {
	o := options{
		seed: seed, long: long, late: 8 * time.Second, disk: withDisk,
		casts: map[plot]int{tokenUsed: 160, clientRun: 20, session: 10, shell: 10, harmless: 60},
		rates: map[plot]float64{tokenUsed: 1.2, clientRun: 1.5, session: 2, shell: 2, harmless: 0.5},
		deck: map[fault]int{
			killAtRandom: 24, killAtStart: 10, killAtDelivery: 24, killAtPoint: 2 * len(points()), killAtRelease: 8, releasedDown: 4,
			stopped: 2, killAtStop: 4, longAway: 1, streamDamaged: 1, blockDamaged: 2, recordsDamaged: 2, historyDamaged: 1,
			clockJumps: 1, clockSet: 1, peerClockJumps: 1, apiServerDown: 1,
		},
		leastKills: int(long / killEvery),
	}
	if withDisk {
		o.deck[diskFull], o.deck[diskFullAtStart], o.deck[diskSlow], o.deck[diskHangs] = 1, 1, 1, 1
	}
	o.out = func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	return o
}
