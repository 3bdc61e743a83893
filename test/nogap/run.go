package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	crlog "sigs.k8s.io/controller-runtime/pkg/log"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
	"github.com/portcullis-dev/portcullis/test/serverprocess"
	"github.com/portcullis-dev/portcullis/test/standalone"
)

// try runs all trials.
func try(t standalone.TB, o options) *outcome {
	t.Helper()
	crlog.SetLogger(logr.Discard()) // a global of the library, which says so otherwise
	out := &outcome{options: o, trials: plan(o.seed, o.trials, o.only)}
	if len(out.trials) == 0 {
		t.Fatalf("no trial has %q in its name", o.only)
	}
	site := open(t, o)
	c := cluster{site}
	c.prepare(t)
	far := newNode(t, site, "far")
	still, err := c.make(t.Context(), far.name, "far-away", account, true)
	if err != nil {
		t.Fatal(err)
	}
	lanes := make([]*lane, o.lanes)
	for i := range lanes {
		lanes[i] = newLane(t, c, i, still)
	}
	log := block(t, site)
	awaitAgents(t, far, lanes)
	begin := time.Now()
	if err := race(t.Context(), lanes, out.trials, o.progress); err != nil {
		t.Fatal(err)
	}
	out.took = time.Since(begin)
	out.conclude(t, site, log)
	return out
}

// awaitAgents waits until the server takes what every agent sends.
func awaitAgents(t standalone.TB, far *node, lanes []*lane) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	nodes := append(make([]*node, 0, 1+len(lanes)), far)
	for _, l := range lanes {
		nodes = append(nodes, l.node)
	}
	for _, n := range nodes {
		n.agent.Spool.Push(&telemetryv1.Event{What: &telemetryv1.Event_Limit{Limit: &telemetryv1.LimitExceeded{}}})
		if err := n.agent.Drain(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// race has the lanes do the trials.
func race(ctx context.Context, lanes []*lane, trials []*trial, over func()) error {
	work := make(chan *trial, len(trials))
	for _, t := range trials {
		work <- t
	}
	close(work)
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range lanes {
		group.Go(func() error { return l.run(ctx, work, over) })
	}
	return group.Wait()
}

// conclude adds what the API server and the server have noted.
func (o *outcome) conclude(t standalone.TB, site *serverprocess.Site, log string) {
	t.Helper()
	noted, err := reviews(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, tr := range o.trials {
		r, audited := noted[tr.mark()]
		if !audited {
			err = errors.Join(err, fmt.Errorf("the exec of trial %d is not in the API server's audit log", tr.number))
		}
		tr.review = r
	}
	if err != nil {
		t.Fatal(err)
	}
	if o.waits, err = readWaits(t.Context(), site); err != nil {
		t.Fatal(err)
	}
}
