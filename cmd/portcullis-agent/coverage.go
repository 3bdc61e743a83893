package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/agent/bpf"
	"github.com/portcullis-dev/portcullis/agent/session"
	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// capabilityEndSession: exec sessions can be ended on command.
const capabilityEndSession = "end-session"

// coverage is what the agent sees and can do on this kernel, with what it was given.
type coverage []bpf.Capability

func newCoverage(programs *bpf.Programs) coverage {
	c := append(coverage{}, programs.Coverage()...)
	end := bpf.Capability{Name: capabilityEndSession, Available: true, Complete: true, Detail: "pidfd"}
	if err := session.Supported(); err != nil {
		end.Available, end.Complete, end.Detail = false, false, err.Error()
	} else if err := session.CanTell(); err != nil {
		end.Detail += ", and nobody is told why: " + err.Error()
	}
	return append(c, end)
}

// The words of a coverage.
const (
	coverageComplete = "complete"
	coveragePartial  = "partial"
)

// word is "complete" if there is nothing that the agent sees or does in part or not at all.
func (c coverage) word() string {
	for _, capability := range c {
		if !capability.Available || !capability.Complete {
			return coveragePartial
		}
	}
	return coverageComplete
}

// proto is the coverage as the greeting carries it.
func (c coverage) proto() []*telemetryv1.Capability {
	out := make([]*telemetryv1.Capability, 0, len(c))
	for _, capability := range c {
		out = append(out, &telemetryv1.Capability{
			Name: capability.Name, Available: capability.Available, Complete: capability.Complete, Detail: capability.Detail,
		})
	}
	return out
}

// register makes the coverage a metric.
func (c coverage) register(register prometheus.Registerer) error {
	gauge := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "portcullis_agent_coverage",
		Help: "How much the agent sees or can do: 1 for all, 0.5 for a part, 0 for nothing.",
	}, []string{"capability"})
	for _, capability := range c {
		value := 0.0
		switch {
		case capability.Available && capability.Complete:
			value = 1
		case capability.Available:
			value = 0.5
		}
		gauge.WithLabelValues(capability.Name).Set(value)
	}
	return register.Register(gauge)
}
