package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing/fstest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/correlator/sequence"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
	"github.com/portcullis-dev/portcullis/test/ruleload"
)

// A million open sequences: ten sequence rules, as the families have, in each of
// 100,000 pods. Every one is opened by an event of its own.
const (
	openRules = 10
	openPods  = 100_000
)

// sequences are ten rules, four joined by the pod and six by container and process.
func sequences(schema *field.Schema) (*rule.Set, error) {
	var text strings.Builder
	for i := range openRules {
		query := fmt.Sprintf("sequence by container.id, process.parent.entity_id with maxspan=10m\n      [process where process.args == \"tool-%d\"]\n      [file where file.path == \"/proc/1/environ\"]", i)
		if i < 4 {
			query = fmt.Sprintf("sequence with maxspan=10m\n      [process where process.args == \"tool-%d\"] by orchestrator.resource.name\n"+
				"      [any where event.dataset == \"kubernetes.audit_logs\"] by `kubernetes.audit.user.extra.authentication.kubernetes.io/pod-name`", i)
		}
		fmt.Fprintf(&text, "apiVersion: portcullis.dev/v1alpha1\nkind: DetectionRule\nmetadata: {name: sequence-%d}\n"+
			"spec:\n  title: Sequence\n  description: To measure with.\n  severity: low\n  riskScore: 1\n  query: |\n      %s\n---\n", i, query)
	}
	return rule.Load(fstest.MapFS{"rules.yaml": {Data: []byte(text.String())}}, rule.Options{Schema: schema})
}

// memory is what open sequences take.
type memory struct {
	open int
	// allocated are the bytes of live objects, inUse those of the spans that they
	// are in, both after a garbage collection.
	allocated, inUse uint64
}

// measureMemory opens a million sequences and looks at the heap before and after.
func measureMemory() (memory, error) {
	schema := field.New()
	rules, err := sequences(schema)
	if err != nil {
		return memory{}, err
	}
	handover := &directBus{}
	registry := prometheus.NewRegistry()
	c, err := newCorrelator(schema, rules, handover, registry)
	if err != nil {
		return memory{}, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	for handover.handle == nil {
		runtime.Gosched()
	}
	before := heap()
	start := time.Now()
	for pod := range openPods {
		for i := range openRules {
			if err := c.Ingest(ctx, []*event.Event{ruleload.Opening(pod, i, start)}); err != nil {
				cancel()
				return memory{}, err
			}
		}
	}
	after := heap()
	m := memory{open: openPods * openRules, allocated: after.HeapAlloc - before.HeapAlloc, inUse: after.HeapInuse - before.HeapInuse}
	cancel()
	if err := <-done; err != nil {
		return memory{}, err
	}
	return m, checkOpen(registry, m.open)
}

// checkOpen asks the correlator's metrics whether so many sequences are really open.
func checkOpen(registry *prometheus.Registry, want int) error {
	families, err := registry.Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		if f.GetName() == "portcullis_correlator_open_partials" {
			if open := int(f.GetMetric()[0].GetGauge().GetValue()); open != want {
				return fmt.Errorf("%d sequences are open, want %d", open, want)
			}
			return nil
		}
	}
	return errors.New("there is no metric of open sequences")
}

func heap() runtime.MemStats {
	runtime.GC()
	runtime.GC() // What the first has only marked as free.
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m
}

// eventBytes is what one event of those that open sequences takes in memory.
func eventBytes() uint64 {
	const n = 10_000
	events := make([]*event.Event, n)
	before := heap()
	for i := range events {
		events[i] = ruleload.Opening(i, i%openRules, time.Now())
	}
	bytes := (heap().HeapAlloc - before.HeapAlloc) / n
	runtime.KeepAlive(events)
	return bytes
}

// opened returns an engine with open sequences that began a millisecond after
// each other.
func opened(n int) (*sequence.Engine, error) {
	e, err := sequence.New(sequence.Spec{Stages: make([]sequence.Stage, 2), MaxSpan: time.Minute}, sequence.Limits{Hits: n + 1})
	if err != nil {
		return nil, err
	}
	for i := range n {
		id := fmt.Sprintf("%032x", i)
		e.Step(sequence.Hit{Key: id, Time: epoch().Add(time.Duration(i) * time.Millisecond), ID: id})
	}
	return e, nil
}

func epoch() time.Time { return time.Date(2026, 8, 22, 12, 0, 0, 0, time.UTC) }

// expiry is what it costs to move the watermark.
type expiry struct {
	expired int
	spent   time.Duration
}

// measureExpiry moves the watermark of an engine in steps, in each of which so
// many sequences expire, and returns the median for each number.
func measureExpiry(open int, expired []int, count int) ([]expiry, error) {
	e, err := opened(open)
	if err != nil {
		return nil, err
	}
	runtime.GC()
	// Half way between two hits, so that steps of milliseconds are exact.
	at := epoch().Add(time.Minute - time.Millisecond/2)
	e.Advance(at) // Nothing is older than its span yet.
	rows, left := make([]expiry, 0, len(expired)), open
	for _, n := range expired {
		spent := make([]time.Duration, count)
		for i := range spent {
			from, err := processorTime()
			if err != nil {
				return nil, err
			}
			at = at.Add(max(time.Nanosecond, time.Duration(n)*time.Millisecond))
			e.Advance(at)
			to, err := processorTime()
			if err != nil {
				return nil, err
			}
			spent[i] = to - from
			left -= n
		}
		slices.Sort(spent)
		rows = append(rows, expiry{n, spent[count/2]})
	}
	if got := e.Stats().Partials; got != left {
		return nil, fmt.Errorf("%d sequences are open, want %d", got, left)
	}
	return rows, nil
}
