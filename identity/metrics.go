package identity

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/event"
)

// The sides of an identity, as the metrics name them.
const (
	sideTelemetry = iota
	sideCaller
	sideTarget
	sides
)

type metrics struct {
	// resolved is by side and confidence, looked up once because events are many.
	resolved     [sides][event.Exact + 1]prometheus.Counter
	contradicted prometheus.Counter
	foreign      prometheus.Counter
	nameless     prometheus.Counter
	evicted      prometheus.Counter
	cut          prometheus.Counter
	stored       *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, r *Resolver) (*metrics, error) {
	resolved := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "portcullis_identity_resolved_total",
		Help: "Pods looked up, by side (telemetry, caller or target of an API request) and by how sure the result is.",
	}, []string{"side", "confidence"})
	m := &metrics{
		contradicted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "portcullis_identity_contradictions_total",
			Help: "Pod UIDs in audit events that did not fit the pods of the cluster at that time.",
		}),
		foreign: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "portcullis_identity_foreign_total",
			Help: "Telemetry events not believed because their pod runs on another node than the one that reported them, a sign of an attack.",
		}),
		nameless: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "portcullis_identity_unknown_containers_total",
			Help: "Telemetry events of known pods that were passed on without the container's name, because the pod's status did not tell it.",
		}),
		evicted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "portcullis_identity_evicted_total",
			Help: "Deleted pods forgotten before their retention because there were too many, or they took too much memory.",
		}),
		cut: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "portcullis_identity_cut_labels_total",
			Help: "Pods with so many labels that only some of them are kept: rules see no others.",
		}),
	}
	m.stored = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "portcullis_identity_stored_total",
		Help: "Records of the history written to the store, by outcome: stored, failed, or too-large to be stored with labels and containers (and stored without).",
	}, []string{"outcome"})
	for _, outcome := range []string{storedWell, storedFailed, storedTooLarge} {
		m.stored.WithLabelValues(outcome)
	}
	for side, label := range [sides]string{"telemetry", "caller", "target"} {
		for c := event.Unknown; c <= event.Exact; c++ {
			m.resolved[side][c] = resolved.WithLabelValues(label, c.String())
		}
	}
	pods := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "portcullis_identity_pods",
		Help: "Pods that exist.",
	}, func() float64 { alive, _ := r.size(); return float64(alive) })
	gone := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "portcullis_identity_deleted_pods",
		Help: "Deleted pods that are remembered.",
	}, func() float64 { _, gone := r.size(); return float64(gone) })
	unstored := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "portcullis_identity_unstored_pods",
		Help: "Pods of which something is known that the store does not have yet.",
	}, func() float64 { return float64(r.unstored.size()) })
	return m, errors.Join(
		reg.Register(resolved), reg.Register(m.contradicted), reg.Register(m.foreign), reg.Register(m.nameless),
		reg.Register(m.evicted), reg.Register(m.cut), reg.Register(m.stored), reg.Register(pods), reg.Register(gone), reg.Register(unstored))
}

func (m *metrics) count(side int, c event.Confidence) { m.resolved[side][c].Inc() }

// size is how many pods exist, and how many deleted ones are remembered.
func (r *Resolver) size() (alive, gone int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.history.alive, len(r.history.pods) - r.history.alive
}
