package main

import (
	"context"
	"fmt"
	"math"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/portcullis-dev/portcullis/test/serverprocess"
)

// waits are those of the gate's barrier, as the server's metrics tell.
type waits struct {
	passed, noAgent, failed int
	// bounds are the upper ones of the histogram's classes, in seconds, counts those of the waits up to each. The last class has
	// none.
	bounds []float64
	counts []uint64
	total  uint64
	sum    float64
}

func readWaits(ctx context.Context, site *serverprocess.Site) (waits, error) {
	families, err := site.Metrics(ctx)
	if err != nil {
		return waits{}, err
	}
	const outcomes, seconds = "portcullis_gate_barrier_waits_total", "portcullis_gate_barrier_seconds"
	for _, name := range []string{outcomes, seconds} {
		if families[name] == nil {
			return waits{}, fmt.Errorf("the server has no metric %s", name)
		}
	}
	w := waits{passed: count(families[outcomes], "passed"), noAgent: count(families[outcomes], "no-agent"), failed: count(families[outcomes], "failed")}
	h := families[seconds].GetMetric()[0].GetHistogram()
	w.total, w.sum = h.GetSampleCount(), h.GetSampleSum()
	for _, b := range h.GetBucket() {
		if math.IsInf(b.GetUpperBound(), 1) {
			continue
		}
		w.bounds, w.counts = append(w.bounds, b.GetUpperBound()), append(w.counts, b.GetCumulativeCount())
	}
	return w, nil
}

func count(family *dto.MetricFamily, outcome string) int {
	for _, m := range family.GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == "outcome" && l.GetValue() == outcome {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	return 0
}

// quantile is the least bound that q of 100 are not above.
func (w *waits) quantile(q uint64) string {
	for i, n := range w.counts {
		if n*100 >= w.total*q {
			return "up to " + time.Duration(w.bounds[i]*float64(time.Second)).String()
		}
	}
	if len(w.bounds) == 0 {
		return "unknown"
	}
	return "more than " + time.Duration(w.bounds[len(w.bounds)-1]*float64(time.Second)).String()
}

func (w *waits) String() string {
	mean := time.Duration(w.sum / float64(max(1, w.total)) * float64(time.Second)).Round(10 * time.Microsecond)
	return fmt.Sprintf("%d waits, mean %s, p50 %s, p99 %s, the longest %s; %d passed, %d found no agent, %d failed",
		w.total, mean, w.quantile(50), w.quantile(99), w.quantile(100), w.passed, w.noAgent, w.failed)
}
