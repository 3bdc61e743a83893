package record

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Why a record is forgotten, as the metrics name it.
const (
	forgottenOld     = "old"
	forgottenForRoom = "no-room"
)

type metrics struct {
	forgotten   *prometheus.CounterVec
	undecodable prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, b *Book) (*metrics, error) {
	m := &metrics{
		forgotten: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portcullis_record_forgotten_total",
			Help: "Records of detections that were let go: old ones as they should be, others because there was no room.",
		}, []string{"why"}),
		undecodable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "portcullis_record_undecodable_total",
			Help: "Records of detections that could not be read at the start.",
		}),
	}
	for _, why := range []string{forgottenOld, forgottenForRoom} {
		m.forgotten.WithLabelValues(why)
	}
	records := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "portcullis_record_detections",
		Help: "Detections of which it is recorded what was done.",
	}, func() float64 { return float64(b.Len()) })
	size := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "portcullis_record_bytes",
		Help: "About how much the records of detections take, in memory and in the store.",
	}, func() float64 {
		b.mu.Lock()
		defer b.mu.Unlock()
		return float64(b.size)
	})
	return m, errors.Join(reg.Register(m.forgotten), reg.Register(m.undecodable), reg.Register(records), reg.Register(size))
}
