package webhook

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	verdicts *prometheus.CounterVec
	rejected *prometheus.CounterVec
	failures *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portcullis_webhook_verdicts_total",
			Help: "Answers to reviews, by door and decision; failed-open and failed-closed where no judgement could be had.",
		}, []string{"door", "decision"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portcullis_webhook_rejected_calls_total",
			Help: "Calls that were no review to judge, by what was wrong. The API server's failurePolicy applies to them.",
		}, []string{"reason"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portcullis_webhook_failures_total",
			Help: "Requests that could not be judged, by why.",
		}, []string{"why"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "portcullis_webhook_seconds",
			Help:    "Time from a review's arrival to its answer, by door.",
			Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"door"}),
	}
	for _, door := range Doors() {
		m.seconds.WithLabelValues(door)
		for _, decision := range []string{"allow", "deny", "failed-open", "failed-closed"} {
			m.verdicts.WithLabelValues(door, decision)
		}
	}
	for _, why := range []string{"panic", "error", "timeout", "canceled"} {
		m.failures.WithLabelValues(why)
	}
	return m, errors.Join(reg.Register(m.verdicts), reg.Register(m.rejected), reg.Register(m.failures), reg.Register(m.seconds))
}

func (m *metrics) answered(door, decision string, took time.Duration) {
	m.verdicts.WithLabelValues(door, decision).Inc()
	m.seconds.WithLabelValues(door).Observe(took.Seconds())
}
