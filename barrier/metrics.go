package barrier

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The outcomes of a wait.
const (
	outcomePassed  = "passed"
	outcomeNoAgent = "no-agent"
	outcomeFailed  = "failed"
)

type metrics struct {
	seconds prometheus.Histogram
	waits   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "portcullis", Subsystem: "gate", Name: "barrier_seconds",
			Help:    "How long admissions waited until everything that had happened before them was judged. It is part of the time of a verdict.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 14),
		}),
		waits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "portcullis", Subsystem: "gate", Name: "barrier_waits_total",
			Help: "Waits by how they ended: passed; no-agent: passed, and no agent of the pod's node was connected; failed: the time was over, " +
				"or an agent went away, and the configured fail mode decided.",
		}, []string{"outcome"}),
	}
	for _, outcome := range []string{outcomePassed, outcomeNoAgent, outcomeFailed} {
		m.waits.WithLabelValues(outcome)
	}
	for _, c := range []prometheus.Collector{m.seconds, m.waits} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) waited(how time.Duration, absent bool, err error) {
	m.seconds.Observe(how.Seconds())
	switch {
	case err != nil:
		m.waits.WithLabelValues(outcomeFailed).Inc()
	case absent:
		m.waits.WithLabelValues(outcomeNoAgent).Inc()
	default:
		m.waits.WithLabelValues(outcomePassed).Inc()
	}
}
