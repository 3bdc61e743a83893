package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing/fstest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/correlator"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
	"github.com/portcullis-dev/portcullis/test/ruleload"
)

// opening is a rule of which ruleload.Opening's events open a sequence each, and
// that nothing completes.
const opening = "sequence with maxspan=1h\n" +
	"  [process where process.args == \"tool-0\"] by orchestrator.resource.name\n" +
	"  [any where kubernetes.audit.verb == \"never\"] by `kubernetes.audit.user.extra.authentication.kubernetes.io/pod-name`"

// rules are ruleload's, and others.
func rules(schema *field.Schema, others ...string) (*rule.Set, error) {
	queries := others
	for i := range ruleload.Block {
		queries = append(queries, ruleload.Query(i))
	}
	files := fstest.MapFS{}
	for i, query := range queries {
		files[fmt.Sprintf("%03d.yaml", i)] = &fstest.MapFile{Data: fmt.Appendf(nil, "apiVersion: portcullis.dev/v1alpha1\nkind: DetectionRule\n"+
			"metadata: {name: rule-%d}\nspec:\n  title: Rule\n  description: To measure with.\n  severity: low\n  riskScore: 1\n  query: |\n    %s\n",
			i, strings.ReplaceAll(query, "\n", "\n    "))}
	}
	return rule.Load(files, rule.Options{Schema: schema})
}

func newCorrelator(handover bus.Bus, registry *prometheus.Registry, others ...string) (*correlator.Correlator, error) {
	schema := field.New()
	set, err := rules(schema, others...)
	if err != nil {
		return nil, err
	}
	return correlator.New(correlator.Options{
		Rules: set, Schema: schema, Bus: handover,
		Detections: correlator.DetectionsFunc(func(context.Context, *event.Detection) {}),
		Clock:      time.Now, Logger: slog.New(slog.DiscardHandler), Registerer: registry,
	})
}

// nowhere is a bus for who only matches.
type nowhere struct{}

// Publish implements bus.Bus.
func (nowhere) Publish(context.Context, ...bus.Candidate) error { return nil }

// Consume implements bus.Bus.
func (nowhere) Consume(ctx context.Context, _ bus.Handler) error {
	<-ctx.Done()
	return nil
}
