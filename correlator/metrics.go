package correlator

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/bus"
)

// metrics of one Correlator. Labels are bounded: kinds, causes, actions, and
// the names of the loaded rules.
type metrics struct {
	events, candidates, detections *prometheus.CounterVec
	dropped, failures, changes     *prometheus.CounterVec
	late                           prometheus.Counter
	partials, hits, bytes          prometheus.Gauge
	suspended                      prometheus.Gauge
	watermark                      prometheus.Gauge
	matching                       prometheus.Histogram
}

// Causes of portcullis_correlator_dropped_total.
const (
	dropExpired     = "expired"
	dropInvalid     = "invalid"
	dropOverKey     = "over-key-limit"
	dropOverTotal   = "over-total-limit"
	dropKeys        = "too-many-keys"
	dropUnknownRule = "unknown-rule"
	dropUnread      = "object-too-large"
)

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "portcullis_correlator_" + name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "portcullis_correlator_" + name, Help: help})
	}
	m := &metrics{
		events:     counter("events_total", "Events that were matched against all rules.", "kind"),
		candidates: counter("candidates_total", "Events that a rule wanted, per rule, term and join key.", "rule"),
		detections: counter("detections_total", "Detections concluded.", "rule", "action"),
		dropped: counter("dropped_total", "What could not be taken into account: candidates that came too late or that make no sense, "+
			"hits forgotten over a limit, join keys beyond the limit of one event, objects too large to be read.", "cause"),
		failures: counter("rule_failures_total", "Rules that panicked or were too slow for an event.", "rule", "cause"),
		changes:  counter("match_changes_total", "What late events did to sequences that had matched.", "rule", "change"),
		late: prometheus.NewCounter(prometheus.CounterOpts{Name: "portcullis_correlator_late_total",
			Help: "Candidates that arrived behind the watermark. Those that are not dropped still join."}),
		partials:  gauge("open_partials", "Sequences that have begun and are not complete."),
		hits:      gauge("kept_hits", "Candidates kept for sequences."),
		bytes:     gauge("kept_bytes", "About how much memory the kept candidates take."),
		suspended: gauge("suspended_rules", "Rules that are suspended because they were too slow."),
		watermark: gauge("watermark_timestamp_seconds", "The event time below which nothing more is expected."),
		matching: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "portcullis_correlator_match_seconds",
			Help: "Time to match one delivery of events against all rules.", Buckets: prometheus.ExponentialBuckets(1e-6, 4, 12)}),
	}
	for _, c := range []prometheus.Collector{m.events, m.candidates, m.detections, m.dropped, m.failures, m.changes,
		m.late, m.partials, m.hits, m.bytes, m.suspended, m.watermark, m.matching} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	for _, cause := range []string{dropExpired, dropInvalid, dropOverKey, dropOverTotal, dropKeys, dropUnknownRule, dropUnread} {
		m.dropped.WithLabelValues(cause)
	}
	return m, nil
}

func (m *metrics) drop(cause string, n int) {
	if n > 0 {
		m.dropped.WithLabelValues(cause).Add(float64(n))
	}
}

func (m *metrics) published(candidates []bus.Candidate) {
	for _, c := range candidates {
		m.candidates.WithLabelValues(c.Rule).Inc()
	}
}
