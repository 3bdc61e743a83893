package auditsink

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// The label apiserver is taken from verified certificates and tokens only, so that its
// values are those that somebody has issued one for; it is empty where a client has proved nothing.
type metrics struct {
	events      *prometheus.CounterVec
	bytes       *prometheus.CounterVec
	lag         *prometheus.HistogramVec
	redelivered *prometheus.CounterVec
	clientCert  *prometheus.GaugeVec
	clientToken *prometheus.GaugeVec
	reused      *prometheus.CounterVec

	refused     *prometheus.CounterVec
	rejected    *prometheus.CounterVec
	undecodable *prometheus.CounterVec
	cut         *prometheus.CounterVec

	ingest       prometheus.Histogram
	inFlight     prometheus.Gauge
	pendingBytes prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) metrics {
	auto := promauto.With(reg)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return auto.NewCounterVec(prometheus.CounterOpts{Name: "portcullis_auditsink_" + name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return auto.NewGauge(prometheus.GaugeOpts{Name: "portcullis_auditsink_" + name, Help: help})
	}
	return metrics{
		events:      counter("events_total", "Audit events handed to the pipeline.", "apiserver"),
		bytes:       counter("received_bytes_total", "Bytes of EventLists received.", "apiserver"),
		redelivered: counter("redelivered_batches_total", "EventLists that came again, byte for byte.", "apiserver"),
		lag: auto.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "portcullis_auditsink_lag_seconds",
			Help:    "Time from an event's stageTimestamp to its arrival: what the API server's batching costs.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 30, 60, 300, 1800},
		}, []string{"apiserver"}),
		clientCert: auto.NewGaugeVec(prometheus.GaugeOpts{
			Name: "portcullis_auditsink_client_certificate_expiry_timestamp_seconds",
			Help: "When the certificate that an API server shows ends. From then on its audit events are lost.",
		}, []string{"apiserver"}),
		reused: counter("reused_audit_ids_total", "Audit events whose Audit-ID another request had before. Rules see it as kubernetes.audit.auditID_reused.", "apiserver"),
		clientToken: auto.NewGaugeVec(prometheus.GaugeOpts{
			Name: "portcullis_auditsink_client_token_expiry_timestamp_seconds",
			Help: "When the token that an API server shows ends. From then on its audit events are lost.",
		}, []string{"apiserver"}),
		refused: counter("refused_requests_total", "Requests not answered with 200, by the API server that the client has proved to be. "+
			"Those with reason busy, pipeline_busy, pipeline_error or timeout arrive later; those with too_large never do.", "reason", "apiserver"),
		rejected:    counter("rejected_events_total", "Events, or whole bodies, that could not be read: kept aside, or dropped because they could not be.", "outcome"),
		undecodable: counter("undecodable_bodies_total", "Bodies that were no EventList. They are kept aside, and their events are lost.", "apiserver"),
		cut:         counter("cut_fields_total", "Lists of an event that were longer than what is kept.", "field"),
		ingest: auto.NewHistogram(prometheus.HistogramOpts{
			Name:    "portcullis_auditsink_ingest_seconds",
			Help:    "Time from a request's last byte to its answer: decoding, and the pipeline.",
			Buckets: prometheus.ExponentialBuckets(.0001, 2.5, 13),
		}),
		inFlight:     gauge("in_flight_requests", "Requests being received or ingested."),
		pendingBytes: gauge("in_flight_bytes", "Bytes of the requests being received or ingested."),
	}
}
