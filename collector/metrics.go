package collector

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// The label node is taken from tokens that were checked, so that its values are
// the cluster's nodes; those of nodes that are gone are deleted.
type metrics struct {
	auth *prometheus.CounterVec
	// notReady is not a result of auth: no token was looked at.
	notReady prometheus.Counter
	streams  prometheus.Gauge
	ended    *prometheus.CounterVec

	batches    prometheus.Counter
	duplicates prometheus.Counter
	repeated   prometheus.Counter
	events     *prometheus.CounterVec
	refused    *prometheus.CounterVec
	lag        prometheus.Histogram
	ingest     prometheus.Histogram

	lost           *prometheus.CounterVec
	missingBatches *prometheus.CounterVec
	missingEvents  *prometheus.CounterVec
	clockOffset    *prometheus.GaugeVec
	clockTolerance *prometheus.GaugeVec
	partial        *prometheus.GaugeVec
	commands       *prometheus.CounterVec
	flushes        *prometheus.CounterVec
	flush          prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) metrics {
	auto := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return auto.NewCounter(prometheus.CounterOpts{Name: "portcullis_collector_" + name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return auto.NewCounterVec(prometheus.CounterOpts{Name: "portcullis_collector_" + name, Help: help}, labels)
	}
	return metrics{
		auth:       counters("authentications_total", "Streams that were opened, by what became of their token.", "result"),
		ended:      counters("streams_ended_total", "Streams of authenticated agents that ended, by gRPC status.", "code"),
		notReady:   counter("not_ready_total", "Streams sent away because the server did not know all pods yet."),
		batches:    counter("batches_total", "Batches taken over and acknowledged."),
		duplicates: counter("duplicate_batches_total", "Batches that had been acknowledged before."),
		repeated:   counter("repeated_events_total", "Events that an earlier process of the agent had sent, and that had arrived then."),
		events:     counters("events_total", "Events handed to the pipeline.", "kind"),
		refused:    counters("refused_events_total", "Events that were not taken. foreign_pod: about a pod that runs on another node, a sign of an attack.", "reason"),
		streams: auto.NewGauge(prometheus.GaugeOpts{
			Name: "portcullis_collector_streams",
			Help: "Agents' streams that are open.",
		}),
		lag: auto.NewHistogram(prometheus.HistogramOpts{
			Name:    "portcullis_collector_lag_seconds",
			Help:    "Time from an event to its arrival, as far as the clocks agree.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30, 300},
		}),
		ingest: auto.NewHistogram(prometheus.HistogramOpts{
			Name:    "portcullis_collector_ingest_seconds",
			Help:    "Time from a batch's arrival to its acknowledgement.",
			Buckets: prometheus.ExponentialBuckets(.0001, 2.5, 13),
		}),
		lost:           counters("lost_events_total", "Events that an agent saw and could not send, as it counts them.", "node", "cause"),
		missingBatches: counters("missing_batches_total", "Numbers of batches that an agent skipped.", "node"),
		missingEvents:  counters("missing_events_total", "Numbers of events that an agent skipped.", "node"),
		clockOffset: auto.NewGaugeVec(prometheus.GaugeOpts{
			Name: "portcullis_collector_clock_offset_seconds",
			Help: "How far the agent's clock is taken to be ahead of the server's: its events' times are corrected by it.",
		}, []string{"node"}),
		clockTolerance: auto.NewGaugeVec(prometheus.GaugeOpts{
			Name: "portcullis_collector_clock_tolerance_seconds",
			Help: "How wrong that may be, either way.",
		}, []string{"node"}),
		partial: auto.NewGaugeVec(prometheus.GaugeOpts{
			Name: "portcullis_collector_partial_coverage",
			Help: "Of how many things the node's agent sees or does only a part, or none: its log and the server's say which.",
		}, []string{"node"}),
		flushes: counters("flushes_total", "Flushes of a node's telemetry that were asked for, by what became of them.", "outcome"),
		flush: auto.NewHistogram(prometheus.HistogramOpts{
			Name:    "portcullis_collector_flush_seconds",
			Help:    "Time that a flush of a node's telemetry took.",
			Buckets: prometheus.ExponentialBuckets(.00025, 2, 13),
		}),
		commands: counters("commands_total", "Commands to agents, by what became of them.", "outcome"),
	}
}

// forget deletes what is kept about one node.
func (m metrics) forget(node string) {
	label := prometheus.Labels{"node": node}
	m.lost.DeletePartialMatch(label)
	m.missingBatches.DeletePartialMatch(label)
	m.missingEvents.DeletePartialMatch(label)
	m.clockOffset.DeletePartialMatch(label)
	m.clockTolerance.DeletePartialMatch(label)
	m.partial.DeletePartialMatch(label)
}
