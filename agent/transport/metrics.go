package transport

import (
	"errors"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Registerer is where the client's metrics go.
type Registerer = prometheus.Registerer

type metrics struct {
	connected    atomic.Bool
	streamErrors prometheus.Counter
	resent       prometheus.Counter
}

func newMetrics(register Registerer, spool *Spool) (*metrics, error) {
	if register == nil {
		return nil, errors.New("options: a Registerer is required")
	}
	m := &metrics{
		streamErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "portcullis_agent_stream_errors_total",
			Help: "Streams to the server that could not be opened or ended early.",
		}),
		resent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "portcullis_agent_batches_resent_total",
			Help: "Batches that were sent again because their acknowledgement did not come.",
		}),
	}
	gauge := func(name, help string, value func(SpoolStats) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help},
			func() float64 { return value(spool.Stats()) })
	}
	counter := func(name, help string, value func(SpoolStats) float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
			func() float64 { return value(spool.Stats()) })
	}
	for _, c := range []prometheus.Collector{
		m.streamErrors, m.resent,
		gauge("portcullis_agent_connected", "1 while the server has welcomed the stream.", func(SpoolStats) float64 {
			if m.connected.Load() {
				return 1
			}
			return 0
		}),
		gauge("portcullis_agent_spool_bytes", "Memory of the events that the server has not acknowledged.",
			func(s SpoolStats) float64 { return float64(s.Bytes) }),
		gauge("portcullis_agent_spool_events", "Events that have not been sent.",
			func(s SpoolStats) float64 { return float64(s.Pending) }),
		gauge("portcullis_agent_spool_files", "Files of the spool's directory.",
			func(s SpoolStats) float64 { return float64(s.Files) }),
		counter("portcullis_agent_spool_dropped_total", "Events that were dropped because the spool was full, or its files could not be used.",
			func(s SpoolStats) float64 { return float64(s.Dropped) }),
		gauge("portcullis_agent_spool_batches", "Batches that were sent and not acknowledged.",
			func(s SpoolStats) float64 { return float64(s.Flight) }),
		counter("portcullis_agent_events_sent_total", "Events that were sent.",
			func(s SpoolStats) float64 { return float64(s.Events) }),
		counter("portcullis_agent_batches_sent_total", "Batches that were sent.",
			func(s SpoolStats) float64 { return float64(s.Sent) }),
		counter("portcullis_agent_batches_acknowledged_total", "Batches that the server has taken over.",
			func(s SpoolStats) float64 { return float64(s.Acked) }),
	} {
		if err := register.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
