package canary

import "github.com/prometheus/client_golang/prometheus"

// The label source is what the sink proved by certificates; apiserver is an address behind the
// Service "kubernetes".
type metrics struct {
	lag       prometheus.Histogram
	last      *prometheus.GaugeVec
	blind     prometheus.Gauge
	blindAt   *prometheus.GaugeVec
	offset    *prometheus.GaugeVec
	tolerance *prometheus.GaugeVec
	failed    *prometheus.CounterVec
	lost      prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) metrics {
	gauges := func(name, help, label string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "portcullis_audit_" + name, Help: help}, []string{label})
	}
	m := metrics{
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "portcullis_audit_canary_lag_seconds",
			Help:    "Time from a canary request to its audit event at the sink.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 16),
		}),
		last: gauges("canary_last_returned_timestamp_seconds", "When the latest canary came back, per audit source.", "source"),
		blind: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "portcullis_audit_blind",
			Help: "1 while there is an API server whose audit events are not known to reach the sink.",
		}),
		blindAt: gauges("apiserver_blind", "1 while no canary comes back from the API server at the address: its audit is off, filtered, or does not reach the sink.", "apiserver"),
		offset:  gauges("clock_offset_seconds", "How far the clock of an audit source is ahead of ours. Its events' times are corrected by it.", "source"),
		tolerance: gauges("clock_tolerance_seconds", "How far the offset of an audit source's clock may be wrong.",
			"source"),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portcullis_audit_canary_failures_total",
			Help: "What went wrong with canaries: addresses (of the API servers could not be read), request (not answered well), store (a clock could not be stored).",
		}, []string{"what"}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "portcullis_audit_canary_lost_total",
			Help: "Canary requests whose audit event was given up.",
		}),
	}
	m.blind.Set(1)
	for _, what := range []string{"addresses", "request", "store"} {
		m.failed.WithLabelValues(what)
	}
	reg.MustRegister(m.lag, m.last, m.blind, m.blindAt, m.offset, m.tolerance, m.failed, m.lost)
	return m
}

// forget drops what is told of one address.
func (m metrics) forget(address string) { m.blindAt.DeleteLabelValues(address) }

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
