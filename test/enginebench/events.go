package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/correlator"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/eql/program"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
	"github.com/portcullis-dev/portcullis/test/ruleload"
)

// batch is one delivery, of the events of package ruleload.
func batch() []*event.Event {
	const repeat = 10
	all := ruleload.Events()
	events := make([]*event.Event, 0, repeat*len(all))
	for range repeat {
		for _, e := range all {
			events = append(events, e.Event)
		}
	}
	return events
}

// newCorrelator returns one that runs rules, over a bus that delivers at once.
func newCorrelator(schema *field.Schema, rules *rule.Set, handover bus.Bus, registry *prometheus.Registry) (*correlator.Correlator, error) {
	return correlator.New(correlator.Options{
		Rules: rules, Schema: schema, Bus: handover,
		Detections: correlator.DetectionsFunc(func(context.Context, *event.Detection) {}),
		Clock:      time.Now, Logger: slog.New(slog.DiscardHandler), Registerer: registry,
	})
}

// together returns what takes one delivery of events: the whole way from
// normalised events to "no rule wants them".
func together(rules int) (deliver func(), err error) {
	schema := field.New()
	set, err := ruleload.Rules(rules, schema)
	if err != nil {
		return nil, err
	}
	c, err := newCorrelator(schema, set, &directBus{}, prometheus.NewRegistry())
	if err != nil {
		return nil, err
	}
	events := batch()
	deliver = func() {
		if err := c.Ingest(context.Background(), events); err != nil {
			panic(err)
		}
	}
	deliver() // What is linked for the first event is not what events cost.
	return deliver, nil
}

// alone returns what evaluates every stage of every rule for each event of a
// delivery, one after the other, compiled but with nothing in common.
func alone(rules int) (deliver func(), err error) {
	schema := field.New()
	set, err := ruleload.Rules(rules, schema)
	if err != nil {
		return nil, err
	}
	var stages []*program.Stage
	for _, r := range set.All() {
		stages = append(stages, r.Program.Stages()...)
	}
	events := batch()
	record, matched := schema.NewRecord(), 0
	return func() {
		for _, e := range events {
			record.Reset(e)
			for _, s := range stages {
				if s.Match(record) {
					matched++
				}
			}
		}
	}, nil
}

// directBus hands over within Publish.
type directBus struct{ handle bus.Handler }

// Publish implements bus.Bus.
func (d *directBus) Publish(ctx context.Context, candidates ...bus.Candidate) error {
	if d.handle == nil {
		return fmt.Errorf("%d candidates of events that no rule should want, the first of rule %s", len(candidates), candidates[0].Rule)
	}
	for _, c := range candidates {
		if err := d.handle(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// Consume implements bus.Bus.
func (d *directBus) Consume(ctx context.Context, handle bus.Handler) error {
	d.handle = handle
	<-ctx.Done()
	return nil
}
