package main

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/test/ruleload"
)

// BenchmarkEvent takes deliveries of events that no rule wants; cpu-ns/event is
// what one of them costs.
func BenchmarkEvent(b *testing.B) {
	for _, rules := range []int{ruleload.Block, 1000} {
		for how, prepare := range map[string]func(int) (func(), error){"together": together, "alone": alone} {
			b.Run(fmt.Sprintf("rules=%d/how=%s", rules, how), func(b *testing.B) {
				deliver, err := prepare(rules)
				if err != nil {
					b.Fatal(err)
				}
				perEvent(b, len(batch()), deliver)
			})
		}
	}
}

// BenchmarkKind takes events one by one, kind by kind.
func BenchmarkKind(b *testing.B) {
	for _, rules := range []int{ruleload.Block, 1000} {
		schema := field.New()
		set, err := ruleload.Rules(rules, schema)
		if err != nil {
			b.Fatal(err)
		}
		c, err := newCorrelator(schema, set, &directBus{}, prometheus.NewRegistry())
		if err != nil {
			b.Fatal(err)
		}
		for _, e := range ruleload.Events() {
			b.Run(fmt.Sprintf("rules=%d/kind=%s", rules, e.Name), func(b *testing.B) {
				c.Match(e.Event)
				perEvent(b, 1, func() { c.Match(e.Event) })
			})
		}
	}
}

// perEvent reports what one of the events costs that deliver takes, in time of a
// processor: it is less sensitive to what else the machine does.
func perEvent(b *testing.B, events int, deliver func()) {
	b.Helper()
	b.ReportAllocs()
	from, err := processorTime()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		deliver()
	}
	to, err := processorTime()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64((to-from).Nanoseconds())/float64(b.N*events), "cpu-ns/event")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkOpen opens a million sequences; B/open is what each takes.
func BenchmarkOpen(b *testing.B) {
	for b.Loop() {
		m, err := measureMemory()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(m.allocated)/float64(m.open), "B/open")
		b.ReportMetric(float64(m.inUse)/float64(m.open), "B-spans/open")
	}
}

// BenchmarkExpiry moves the watermark past 10,000 sequences; cpu-ns/expired is
// what each of them costs.
func BenchmarkExpiry(b *testing.B) {
	for _, open := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprintf("open=%d", open), func(b *testing.B) {
			for b.Loop() {
				rows, err := measureExpiry(open, []int{10_000}, 5)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(rows[0].spent.Nanoseconds())/10_000, "cpu-ns/expired")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// TestEventsCostNoMemory: no rule wants the events of a cluster at work, and they
// allocate nothing, however many rules there are.
func TestEventsCostNoMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector sync.Pool forgets at random")
	}
	for _, rules := range []int{ruleload.Block, 1000} {
		schema := field.New()
		set, err := ruleload.Rules(rules, schema)
		if err != nil {
			t.Fatal(err)
		}
		c, err := newCorrelator(schema, set, &directBus{}, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range ruleload.Events() {
			if wanted := c.Match(e.Event); len(wanted) > 0 {
				t.Errorf("%d rules, %s: rule %s wants it", rules, e.Name, wanted[0].Rule)
			}
			if n := testing.AllocsPerRun(100, func() { c.Match(e.Event) }); n != 0 {
				t.Errorf("%d rules, %s: %v allocations", rules, e.Name, n)
			}
		}
	}
}

// TestOpeningEventsOpen: what is measured is really open.
func TestOpeningEventsOpen(t *testing.T) {
	schema := field.New()
	rules, err := sequences(schema)
	if err != nil {
		t.Fatal(err)
	}
	c, err := newCorrelator(schema, rules, &directBus{}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for pod := range 20 {
		for i := range openRules {
			wanted := c.Match(ruleload.Opening(pod, i, epoch()))
			if len(wanted) != 1 || wanted[0].Stage != 0 {
				t.Fatalf("pod %d, program %d: %d candidates", pod, i, len(wanted))
			}
			keys[wanted[0].Rule+wanted[0].Key] = true
		}
	}
	if len(keys) != 20*openRules {
		t.Errorf("%d keys", len(keys))
	}
}
