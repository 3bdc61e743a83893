package feed

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	followers prometheus.Gauge
	refused   *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer) (metrics, error) {
	m := metrics{
		followers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "portcullis_session_feed_followers", Help: "Who follows exec sessions now, such as portcullisctl sessions follow.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portcullis_session_feed_refused_total", Help: "Requests for exec sessions that there was no room for.",
		}, []string{"kind"}),
	}
	return m, errors.Join(registerer.Register(m.followers), registerer.Register(m.refused))
}
