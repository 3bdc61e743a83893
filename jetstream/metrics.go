package jetstream

import "github.com/prometheus/client_golang/prometheus"

// metrics of a Store. Those of the bus have the names that every bus has.
type metrics struct {
	available prometheus.Gauge
	failures  prometheus.Counter
	// by stream
	bytes, messages *prometheus.GaugeVec
	mended, damaged *prometheus.CounterVec
	undecodable     prometheus.Counter

	published, delivered, repeated prometheus.Counter
	refused                        prometheus.Counter
	redelivered, left, replayed    prometheus.Counter
	lost, unreadable               prometheus.Counter
	trimmed, unstorable, overShare prometheus.Counter
	publishing                     prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		available: gauge("store_available", "1 while the store can be written, 0 while it waits for the disk."),
		failures:  counter("store_failures_total", "Times that the store could not be written and was started again."),
		bytes:     gauges("store_bytes", "Bytes that a stream of the store holds."),
		messages:  gauges("store_messages", "Messages that a stream of the store holds."),
		mended:    counters("store_mended_total", "Streams whose description was damaged. Nothing of them was lost."),

		damaged: counters("store_unreadable_bytes_total", "Bytes at the ends of a stream's blocks that could not be read at a start: damaged by the disk, or the one write that was cut off when the process ended."),

		undecodable: counter("store_undecodable_total", "Values of a bucket of events that this version cannot decode. They are set aside."),

		published:   counter("bus_published_total", "Candidates that the bus has taken over."),
		delivered:   counter("bus_delivered_total", "Candidates that the consumer has acknowledged, those replayed after a start included."),
		replayed:    counter("bus_replayed_total", "Candidates that were delivered again after a start."),
		repeated:    counter("bus_repeated_total", "Candidates that were published again shortly after they had been stored, and were not stored again."),
		refused:     counter("bus_refused_total", "Candidates that could not be stored because the store was full, slow or not available. The publisher has been told."),
		redelivered: counter("bus_redelivered_total", "Candidates delivered again because the consumer ended with an error."),
		left:        counter("bus_left_total", "Messages that were not delivered when a stopping consumer's time was over. They are delivered after the next start."),
		lost:        counter("bus_lost_total", "Messages that were stored and could not be read again: the disk has damaged them."),
		unreadable:  counter("bus_unreadable_total", "Messages that this version cannot decode. They are set aside."),
		trimmed:     counter("bus_trimmed_total", "Events of whose request large objects, and what is behind the beginning of long texts and lists, were not stored. Rules have seen all of it."),
		unstorable:  counter("bus_unstorable_total", "Candidates that can never be stored, such as one that is too large. They are dropped."),
		overShare:   counter("bus_over_share_total", "Candidates that were dropped because the pod or user whose events they are fills the bus."),
		publishing: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "portcullis", Name: "bus_publish_seconds", Help: "Time until the candidates of a delivery were stored.",
			Buckets: prometheus.ExponentialBuckets(20e-6, 2.5, 14),
		}),
	}
	for _, c := range []prometheus.Collector{
		m.available, m.failures, m.bytes, m.messages, m.mended, m.damaged,
		m.published, m.delivered, m.replayed, m.repeated, m.refused, m.redelivered, m.left, m.lost, m.unreadable, m.trimmed, m.unstorable, m.overShare, m.undecodable, m.publishing,
	} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "portcullis", Name: name, Help: help})
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "portcullis", Name: name, Help: help})
}

func counters(name, help string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "portcullis", Name: name, Help: help}, []string{"stream"})
}

func gauges(name, help string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "portcullis", Name: name, Help: help}, []string{"stream"})
}
