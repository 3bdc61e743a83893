package execsession

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/event"
)

type metrics struct {
	requests, attributed, dropped, stored    *prometheus.CounterVec
	roots, unaudited, probes, contradictions prometheus.Counter
	delay                                    prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, t *Tracker) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "portcullis_sessions_" + name, Help: help})
	}
	counters := func(name, help, label string, values ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "portcullis_sessions_" + name, Help: help}, []string{label})
		for _, value := range values {
			v.WithLabelValues(value)
		}
		return v
	}
	m := &metrics{
		requests: counters("requested_total", "Requests for sessions, by the door they came to.", "door", DoorExec, DoorAttach, DoorPortForward, DoorDebug),
		attributed: counters("attributed_total", "Sessions with a process of their own, by how sure it was who asked for them once the audit stream had told everything.",
			"attribution", string(event.AttributionExact), string(event.AttributionCandidates), string(event.AttributionNone)),
		dropped: counters("dropped_total", "What found no room: sessions of the history, roots and requests to be joined, followers that were too slow, requests for debug containers.",
			"what", "session", "join", "follower", "debug"),
		stored:    counters("stored_total", "Sessions written to the store, by outcome.", "outcome", "stored", "failed"),
		roots:     counter("started_total", "Processes that came into containers and were neither their first nor a probe."),
		unaudited: counter("unaudited_total", "Processes that came into containers and that nobody had asked the API server for."),
		probes:    counter("probes_total", "Processes that were taken for the kubelet's probes and hooks."),
		contradictions: counter("contradictions_total",
			"Audit events whose session belongs to another user: they were taken as requests of their own."),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "portcullis_sessions_attribution_delay_seconds", Help: "From the start of a session's process to its first exact user.",
			Buckets: []float64{.5, 1, 2, 5, 10, 20, 30, 60, 120, 300},
		}),
	}
	known := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "portcullis_sessions_known", Help: "Sessions in the history, open ones included."},
		func() float64 { n, _ := t.size(); return float64(n) })
	bytes := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "portcullis_sessions_bytes", Help: "About how much memory the history takes."},
		func() float64 { _, n := t.size(); return float64(n) })
	return m, errors.Join(reg.Register(m.requests), reg.Register(m.attributed), reg.Register(m.dropped), reg.Register(m.stored), reg.Register(m.roots),
		reg.Register(m.unaudited), reg.Register(m.probes), reg.Register(m.contradictions), reg.Register(m.delay), reg.Register(known), reg.Register(bytes))
}

func (t *Tracker) size() (sessions int, bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.order.Len(), t.bytes
}
