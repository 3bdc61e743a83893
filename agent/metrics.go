package agent

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/agent/process"
	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

type metrics struct {
	execs, opens, exits, limits prometheus.Counter

	delay prometheus.Histogram
	stats atomic.Pointer[process.Stats]
}

func newMetrics(register prometheus.Registerer, a *Agent) (*metrics, error) {
	events := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "portcullis_agent_events_total",
		Help: "Events in containers that the agent saw, by kind.",
	}, []string{"kind"})
	m := &metrics{
		execs:  events.WithLabelValues("exec"),
		opens:  events.WithLabelValues("open"),
		exits:  events.WithLabelValues("exit"),
		limits: events.WithLabelValues("limit"),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "portcullis_agent_read_delay_seconds",
			Help:    "Time from an event in the kernel until the agent read it.",
			Buckets: prometheus.ExponentialBuckets(0.000025, 4, 10),
		}),
	}
	m.stats.Store(&process.Stats{})
	lost := func(cause string, value func() float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name:        "portcullis_agent_lost_total",
			Help:        "Records that were lost before they became events, by cause.",
			ConstLabels: prometheus.Labels{"cause": cause},
		}, value)
	}
	gauge := func(name, help string, value func(*process.Stats) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help},
			func() float64 { return value(m.stats.Load()) })
	}
	counter := func(name, help string, value func(*process.Stats) float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
			func() float64 { return value(m.stats.Load()) })
	}
	for _, c := range []prometheus.Collector{
		events, m.delay,
		lost("ring_full", func() float64 { return float64(a.kernelLost().RingFull) }),
		lost("limited_entries", func() float64 { return float64(a.kernelLost().LimitedEntries) }),
		lost("limited_opens", func() float64 { return float64(a.kernelLost().LimitedOpens) }),
		lost("limited_execs", func() float64 { return float64(a.kernelLost().LimitedExecs) }),
		lost("limited_exits", func() float64 { return float64(a.kernelLost().LimitedExits) }),
		lost("undecodable", func() float64 { return float64(a.undecodable.Load()) }),
		gauge("portcullis_agent_programs", "Programs that are kept for the processes running them.",
			func(s *process.Stats) float64 { return float64(s.Images) }),
		gauge("portcullis_agent_programs_bytes", "Memory of the programs that are kept.",
			func(s *process.Stats) float64 { return float64(s.ImageBytes) }),
		counter("portcullis_agent_programs_evicted_total",
			"Programs that were forgotten while a process ran them: their children's events lack the parent's arguments.",
			func(s *process.Stats) float64 { return float64(s.Evicted) }),
		counter("portcullis_agent_strangers_total", "Records from cgroups that look like a pod's and are not.",
			func(s *process.Stats) float64 { return float64(s.Strangers) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "portcullis_agent_processes_full_total",
			Help: "Processes that the kernel's table had no room for: their entry leader is found by looking up the process tree.",
		}, func() float64 { return float64(a.kernelLost().ProcessesFull) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "portcullis_agent_skipped_runs_total",
			Help: "How often a program was not run because the CPU was running it already.",
		}, func() float64 { return float64(a.skipped()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "portcullis_agent_clock_steps_total", Help: "How often the node's clock was set.",
		}, func() float64 { return float64(a.clock.Steps()) }),
	} {
		if err := register.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) count(e *telemetryv1.Event) {
	switch e.GetWhat().(type) {
	case *telemetryv1.Event_Open:
		m.opens.Inc()
	case *telemetryv1.Event_Exit:
		m.exits.Inc()
	case *telemetryv1.Event_Limit:
		m.limits.Inc()
	default:
		m.execs.Inc()
	}
}

func (m *metrics) update(s process.Stats) { m.stats.Store(&s) }
