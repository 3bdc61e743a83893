package rulebook

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/rule"
)

// metrics of one Book. They are called as Prometheus calls its own, so that
// what watches those can watch these.
type metrics struct {
	successful, timestamp, kept prometheus.Gauge
	reloads                     *prometheus.CounterVec
	rules                       *prometheus.GaugeVec
}

// States of portcullis_rules_loaded.
const (
	stateRunning = "running"
	stateNotRun  = "not-run"
)

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		successful: prometheus.NewGauge(prometheus.GaugeOpts{Name: "portcullis_rules_last_reload_successful",
			Help: "Whether the rule files are right as they are now. If not (0), the rules of before go on."}),
		timestamp: prometheus.NewGauge(prometheus.GaugeOpts{Name: "portcullis_rules_last_reload_success_timestamp_seconds",
			Help: "When rules were last put in force."}),
		kept: prometheus.NewGauge(prometheus.GaugeOpts{Name: "portcullis_rules_kept",
			Help: "Whether the rule files in force are kept on disk. If not (0), a start with wrong files fails."}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "portcullis_rules_reloads_total",
			Help: "Attempts to put changed rule files in force. One that failed is repeated until the files are right."}, []string{"outcome"}),
		rules: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "portcullis_rules_loaded",
			Help: "Rules, by whose format they are written in and whether they run."}, []string{"origin", "state"}),
	}
	for _, c := range []prometheus.Collector{m.successful, m.timestamp, m.kept, m.reloads, m.rules} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	for _, outcome := range []string{"success", "failure"} {
		m.reloads.WithLabelValues(outcome)
	}
	return m, nil
}

func (m *metrics) succeeded(now time.Time, loaded *Rules) {
	m.successful.Set(1)
	m.reloads.WithLabelValues("success").Inc()
	m.inForce(now, loaded)
}

// inForce shows the rules that are in force since then.
func (m *metrics) inForce(since time.Time, loaded *Rules) {
	m.timestamp.Set(float64(since.UnixMilli()) / 1000)
	running := map[rule.Origin]int{rule.Portcullis: 0, rule.Elastic: 0}
	for _, r := range loaded.Set.All() {
		running[r.Origin]++
	}
	for origin, n := range running {
		m.rules.WithLabelValues(string(origin), stateRunning).Set(float64(n))
	}
	m.rules.WithLabelValues(string(rule.Elastic), stateNotRun).Set(float64(len(loaded.NotRun)))
}

func (m *metrics) failed() {
	m.successful.Set(0)
	m.reloads.WithLabelValues("failure").Inc()
}
