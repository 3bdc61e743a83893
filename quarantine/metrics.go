package quarantine

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	outcomes    *prometheus.CounterVec
	ended       *prometheus.CounterVec
	writes      *prometheus.CounterVec
	writeDelay  prometheus.Histogram
	undecodable prometheus.Counter
}

// The outcomes of a detection that are not an Outcome.
const (
	outcomeNoSubject = "no-subject"
	outcomeNoRoom    = "no-room"
	outcomeWould     = "would-quarantine"
)

func newMetrics(reg prometheus.Registerer, m *Manager) (*metrics, error) {
	out := &metrics{
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portcullis_quarantine_detections_total",
			Help: "Detections that asked for a quarantine, by what became of them.",
		}, []string{"outcome"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portcullis_quarantine_ended_total",
			Help: "Quarantines that ended, by why.",
		}, []string{"why"}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portcullis_quarantine_writes_total",
			Help: "Requests to the API server for Quarantine objects and their mirrors, by operation and result.",
		}, []string{"operation", "result"}),
		writeDelay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "portcullis_quarantine_write_delay_seconds",
			Help:    "Time from a quarantine being in force to its object being written.",
			Buckets: []float64{.002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
		undecodable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "portcullis_quarantine_undecodable_total",
			Help: "Objects from the API server that were no Quarantines.",
		}),
	}
	for _, o := range []string{
		string(OutcomeApplied), string(OutcomeProlonged), string(OutcomeRepeated), string(OutcomeReleased),
		outcomeNoSubject, outcomeNoRoom, outcomeWould,
	} {
		out.outcomes.WithLabelValues(o)
	}
	for _, why := range []string{endReleased, endExpired, endPodGone} {
		out.ended.WithLabelValues(why)
	}
	inForce := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "portcullis_quarantine_entries",
		Help: "Quarantines in this process' index.",
	}, func() float64 { return float64(m.opts.Index.Len()) })
	pending := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "portcullis_quarantine_pending_writes",
		Help: "Quarantines in force whose object is not written yet.",
	}, func() float64 { return float64(m.pending()) })
	mirrors := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "portcullis_quarantine_pending_mirrors",
		Help: "Mirrors of quarantines that still had to be written or deleted when they were last gone through.",
	}, func() float64 { return float64(m.mirror.pending.Load()) })
	return out, errors.Join(
		reg.Register(out.outcomes), reg.Register(out.ended), reg.Register(out.writes),
		reg.Register(out.writeDelay), reg.Register(out.undecodable), reg.Register(inForce), reg.Register(pending), reg.Register(mirrors))
}
