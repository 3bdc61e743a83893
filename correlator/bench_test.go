package correlator

import (
	"fmt"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
)

// The shipped rules over events that no rule wants, which is what nearly all are.
func BenchmarkMatch(b *testing.B) {
	schema := field.New()
	h := newHarness(b, schema, shipped(b, schema), nil)
	for name, e := range unwanted() {
		b.Run(name, func(b *testing.B) {
			var candidates []bus.Candidate
			b.ReportAllocs()
			for b.Loop() {
				candidates = h.Match(e)
			}
			if len(candidates) > 0 {
				b.Logf("%d candidates", len(candidates))
			}
		})
	}
}

// unwanted are events that no shipped rule wants.
func unwanted() map[string]*event.Event {
	return map[string]*event.Event{
		"audit":   edit(called(cart(), 0, "get", "leases"), func(e *event.Event) { e.Audit.Caller, e.Audit.User.Extra = event.Pod{}, nil }),
		"process": withoutTerminal(execIn(cart(), 0, "nginx", "-g", "daemon off;")),
		"file":    withoutTerminal(opened(cart(), 0, token)),
	}
}

// From an event that rules want to its place in the join, and every second
// time to a detection.
func BenchmarkIngestToDetection(b *testing.B) {
	schema := field.New()
	h := newHarness(b, schema, shipped(b, schema), nil)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		b.StopTimer()
		pod := cart()
		pod.UID = fmt.Sprintf("%036d", i)
		at := time.Duration(i) * time.Millisecond
		i++
		events := []*event.Event{opened(pod, at, token), called(pod, at+time.Second, "list", "secrets")}
		b.StartTimer()
		h.feed(b, events...)
	}
}
