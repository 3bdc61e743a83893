package pki

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	expiry   *prometheus.GaugeVec
	repaired *prometheus.CounterVec
	failures prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) metrics {
	auto := promauto.With(reg)
	return metrics{
		expiry: auto.NewGaugeVec(prometheus.GaugeOpts{
			Name: "portcullis_pki_certificate_expiry_timestamp_seconds",
			Help: "When a certificate ends: the server's own, the audit sink's, the serving CA, the sink CA.",
		}, []string{"certificate"}),
		repaired: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "portcullis_pki_trust_published_total",
			Help: "How often the serving CA had to be written to an object that lacked it.",
		}, []string{"object"}),
		failures: auto.NewCounter(prometheus.CounterOpts{
			Name: "portcullis_pki_check_failures_total",
			Help: "Checks of certificates and published trust that failed.",
		}),
	}
}

func (m metrics) expires(certificate string, at time.Time) {
	m.expiry.WithLabelValues(certificate).Set(float64(at.Unix()))
}
