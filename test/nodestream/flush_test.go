package nodestream

import (
	"slices"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/agent/kerneltest"
)

// TestAFlushIsABarrier: what a container did before a flush is with the pipeline after it, whatever else goes on.
func TestAFlushIsABarrier(t *testing.T) {
	to, p := newPipeline(), newPlace(t)
	server, _ := p.serve(to)
	p.node()
	c := kerneltest.Start(t, kerneltest.Options{})
	connected(t, server)

	// Others keep the stream busy, so that there is always something to gather and to wait for.
	others := c.Command("/bin/sh", "-c", "while :; do /usr/bin/true; done")
	if err := others.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = others.Process.Kill()
		_ = others.Wait()
	})
	shell := kerneltest.Converse(t, c)
	for range 50 {
		word := mark(t)
		shell("/usr/bin/true " + word)
		if err := server.Flush(t.Context(), nodeName); err != nil {
			t.Fatal(err)
		}
		if to.executed(word) == nil {
			t.Fatal("after a flush the pipeline has not what happened before it")
		}
	}
}

// BenchmarkFlush is the price of the barrier on a node where nothing happens: the kernel's ring buffer, the agent, gRPC
// over TLS on this machine, the collector. At once: one flush after another. Now and then: after the node and the
// server have had nothing to do for a while, as it is with an exec.
func BenchmarkFlush(b *testing.B) {
	for name, pause := range map[string]time.Duration{"at once": 0, "now and then": 30 * time.Millisecond} {
		b.Run(name, func(b *testing.B) {
			to, p := newPipeline(), newPlace(b)
			server, _ := p.serve(to)
			p.node()
			connected(b, server)
			took := make([]time.Duration, 0, 1024)
			for b.Loop() {
				time.Sleep(pause)
				begin := time.Now()
				if err := server.Flush(b.Context(), nodeName); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(begin))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}
