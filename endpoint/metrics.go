package endpoint

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	connections prometheus.Gauge
	displaced   prometheus.Counter
	shed        prometheus.Counter
	errors      *prometheus.CounterVec
}

func newMetrics(name string, reg prometheus.Registerer) (metrics, error) {
	labels := prometheus.Labels{"endpoint": name}
	m := metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "portcullis_endpoint_connections", Help: "Connections that are open.", ConstLabels: labels,
		}),
		displaced: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "portcullis_endpoint_displaced_connections_total", ConstLabels: labels,
			Help: "Connections that were closed because there were too many and their address had most of them.",
		}),
		shed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "portcullis_endpoint_shed_requests_total", ConstLabels: labels,
			Help: "Requests that were answered with 503 because too many were under way.",
		}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portcullis_endpoint_http2_errors_total", ConstLabels: labels,
			Help: "What clients did against the rules of HTTP/2, or connections that broke, by net/http's name for it.",
		}, []string{"type"}),
	}
	for _, c := range []prometheus.Collector{m.connections, m.displaced, m.shed, m.errors} {
		if err := reg.Register(c); err != nil {
			return metrics{}, err
		}
	}
	return m, nil
}

// http2Error is for http.HTTP2Config.CountError, whose types are constants of net/http.
func (m metrics) http2Error(kind string) { m.errors.WithLabelValues(kind).Inc() }
