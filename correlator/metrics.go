package correlator

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/correlator/sequence"
	"github.com/portcullis-dev/portcullis/event"
)

// metrics of one Correlator. Labels are bounded: kinds, causes, actions, and
// the names of the loaded rules.
type metrics struct {
	events                     [kinds]prometheus.Counter
	candidates, detections     *prometheus.CounterVec
	dropped, failures, changes *prometheus.CounterVec
	late, refused              *prometheus.CounterVec
	partials, hits, bytes      prometheus.Gauge
	matches, suspended         prometheus.Gauge
	watermark, lag             prometheus.Gauge
	matching                   prometheus.Histogram
}

// Causes of portcullis_correlator_dropped_total.
const (
	dropExpired = sequence.CauseExpired
	// dropBegan is the last stage of a request that was under way for longer than events are kept. Its
	// first stage came in time, and is the same hit.
	dropBegan       = "began-too-long-ago"
	dropInvalid     = sequence.CauseInvalid
	dropOverKey     = sequence.CauseOverKey
	dropOverTotal   = sequence.CauseOverTotal
	dropKeys        = "too-many-keys"
	dropUnknownRule = "unknown-rule"
	dropOldRule     = "changed-rule"
	dropUnread      = "object-too-large"
	dropPanic       = "rule-panicked"
)

// kinds is how many kinds of events there are.
const kinds = int(event.KindFile) + 1

// kindIndex is a kind's place among the kinds; one that is unheard of counts as unknown.
func kindIndex(k event.Kind) int {
	if int(k) < kinds {
		return int(k)
	}
	return int(event.KindUnknown)
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "portcullis_correlator_" + name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "portcullis_correlator_" + name, Help: help})
	}
	events := counter("events_total", "Events that were matched against all rules.", "kind")
	m := &metrics{
		candidates: counter("candidates_total", "Events that a rule wanted, per rule, term and join key.", "rule"),
		detections: counter("detections_total", "Detections concluded.", "rule", "action"),
		dropped: counter("dropped_total", "What could not be taken into account: candidates that came too late or that make no sense, "+
			"hits forgotten over a limit, join keys beyond the limit of one event, objects too large to be read, "+
			"candidates and open sequences of a rule that was changed or removed, or whose code failed.", "cause"),
		failures:  counter("rule_failures_total", "Rules that panicked or were too slow for an event; rule is * where several share what did.", "rule", "cause"),
		changes:   counter("match_changes_total", "What late events did to sequences that had matched.", "rule", "change"),
		late:      counter("late_total", "Candidates that arrived behind the watermark. Those that are not refused still join.", "source"),
		refused:   counter("refused_total", "Candidates that arrived too late to be joined. They count as dropped, too.", "source"),
		partials:  gauge("open_partials", "Sequences that have begun and are not complete."),
		hits:      gauge("kept_hits", "Candidates kept for sequences."),
		bytes:     gauge("kept_bytes", "About how much memory the kept candidates take."),
		matches:   gauge("open_matches", "Matches of sequences that later events can still change."),
		suspended: gauge("suspended_rules", "Rules that are suspended because they were too slow."),
		watermark: gauge("watermark_timestamp_seconds", "The event time below which nothing more is expected."),
		lag:       gauge("source_lag_seconds", "How far the last source that is heard of is behind the clock, as far as it is waited for."),
		matching: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "portcullis_correlator_match_seconds",
			Help: "Time to match one delivery of events against all rules.", Buckets: prometheus.ExponentialBuckets(1e-6, 4, 12)}),
	}
	for _, c := range []prometheus.Collector{events, m.candidates, m.detections, m.dropped, m.failures, m.changes,
		m.late, m.refused, m.lag, m.matches, m.partials, m.hits, m.bytes, m.suspended, m.watermark, m.matching} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	for _, cause := range []string{dropExpired, dropBegan, dropInvalid, dropOverKey, dropOverTotal, dropKeys, dropUnknownRule, dropOldRule, dropUnread, dropPanic} {
		m.dropped.WithLabelValues(cause)
	}
	for _, kind := range sourceKinds() {
		m.late.WithLabelValues(kind)
		m.refused.WithLabelValues(kind)
	}
	for i := range m.events {
		m.events[i] = events.WithLabelValues(event.Kind(i).String())
	}
	return m, nil
}

// matched notes a delivery: how many events of each kind, and how long it took.
func (m *metrics) matched(events [kinds]int, spent time.Duration) {
	for i, n := range events {
		if n > 0 {
			m.events[i].Add(float64(n))
		}
	}
	m.matching.Observe(spent.Seconds())
}

// forget removes what is told of a rule that is no more.
func (m *metrics) forget(rule string) {
	for _, vec := range []*prometheus.CounterVec{m.candidates, m.detections, m.failures, m.changes} {
		vec.DeletePartialMatch(prometheus.Labels{"rule": rule})
	}
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
