package sequence

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// names are made beforehand: they belong to the caller, not to the engine.
func names(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s-%08d", prefix, i)
	}
	return all
}

// A sequence of two opens and completes per iteration, in order.
func BenchmarkStepInOrder(b *testing.B) {
	e := mustNew(b, Spec{Stages: stages("AB"), MaxSpan: time.Minute}, Limits{})
	keys := names("key", 4096)
	ids := names("id", 1<<16)
	b.ReportAllocs()
	t, i := epoch, 0
	for b.Loop() {
		key := keys[i%len(keys)]
		e.Step(Hit{Stage: 0, Key: key, Time: t, ID: ids[i%len(ids)]})
		t = t.Add(time.Millisecond)
		e.Step(Hit{Stage: 1, Key: key, Time: t, ID: ids[i%len(ids)]})
		if i++; i%256 == 0 {
			e.Advance(t.Add(-time.Minute))
		}
	}
}

// A hit that opens a partial which is never completed: by far the usual case.
func BenchmarkStepOpens(b *testing.B) {
	e := mustNew(b, Spec{Stages: stages("AB"), MaxSpan: time.Minute}, Limits{})
	keys := names("key", 1<<16)
	b.ReportAllocs()
	t, i := epoch, 0
	for b.Loop() {
		e.Step(Hit{Key: keys[i%len(keys)], Time: t, ID: keys[i%len(keys)]})
		t = t.Add(time.Millisecond)
		if i++; i%256 == 0 {
			e.Advance(t.Add(-time.Minute))
		}
	}
}

// Every second hit is 15 s late, as audit events are in batches, in keys that
// have many hits.
func BenchmarkStepOutOfOrder(b *testing.B) {
	for _, perKey := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("%d-hits-per-key", perKey), func(b *testing.B) {
			e := mustNew(b, Spec{Stages: stages("AB"), MaxSpan: time.Minute}, Limits{HitsPerKey: perKey})
			keys := names("key", 64)
			ids := names("id", 1<<20)
			b.ReportAllocs()
			t, i := epoch, 0
			for b.Loop() {
				key := keys[i%len(keys)]
				e.Step(Hit{Stage: 0, Key: key, Time: t, ID: ids[i%len(ids)]})
				e.Step(Hit{Stage: 1, Key: key, Time: t.Add(-15 * time.Second), ID: ids[i%len(ids)]})
				t = t.Add(time.Millisecond)
				if i++; i%256 == 0 {
					e.Advance(t.Add(-time.Minute))
				}
			}
		})
	}
}

// Memory of open sequences, with keys and IDs as long as real ones.
func BenchmarkOpenSequences(b *testing.B) {
	const open = 1 << 20
	for b.Loop() {
		before := liveBytes()
		e := mustNew(b, Spec{Stages: stages("AB"), MaxSpan: time.Hour}, Limits{Hits: open})
		for i := range open {
			e.Step(Hit{Key: fmt.Sprintf("uid:%036d", i), Time: epoch.Add(time.Duration(i) * time.Millisecond), ID: fmt.Sprintf("%032d", i)})
		}
		used := liveBytes() - before
		start := time.Now()
		e.Advance(epoch.Add(100 * time.Hour))
		b.ReportMetric(float64(time.Since(start).Nanoseconds())/open, "ns/expired")
		b.ReportMetric(float64(used)/open, "B/open")
		if s := e.Stats(); s.Keys != 0 {
			b.Fatal(s)
		}
	}
}

func liveBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// What waits for the watermark, in keys that have many hits: what it costs to take and
// to decide one must not grow with them.
func BenchmarkStepDeferred(b *testing.B) {
	for _, shape := range []string{"ABu", "A!B", "!AB", "AB!"} {
		for _, perKey := range []int{10, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d-hits-per-key", shape, perKey), func(b *testing.B) {
				until := shape == "ABu"
				spec := Spec{Stages: stages(strings.TrimSuffix(shape, "u")), Until: until, MaxSpan: time.Minute}
				e := mustNew(b, spec, Limits{HitsPerKey: 2 * perKey})
				ids := names("id", 1<<20)
				step := time.Minute / time.Duration(perKey)
				b.ReportAllocs()
				t, i := epoch, 0
				for b.Loop() {
					stage := i % len(shape)
					if until && stage == 2 {
						stage = Until
					}
					e.Step(Hit{Stage: stage, Key: "key", Time: t, ID: ids[i%len(ids)]})
					t = t.Add(step)
					if i++; i%8 == 0 {
						e.Advance(t.Add(-10 * step))
					}
				}
			})
		}
	}
}

// Hits of two sources whose clocks leave the order of so many of them in doubt.
func BenchmarkStepInDoubt(b *testing.B) {
	for _, inDoubt := range []int{1, 4, 16, 1000} {
		b.Run(fmt.Sprintf("%d-in-doubt", inDoubt), func(b *testing.B) {
			e := mustNew(b, Spec{Stages: stages("ABC"), MaxSpan: time.Minute}, Limits{HitsPerKey: 1024})
			e.together = maxTogether
			ids := names("id", 1<<20)
			b.ReportAllocs()
			t, i := epoch, 0
			for b.Loop() {
				h := Hit{Stage: i % 3, Key: "key", Time: t, ID: ids[i%len(ids)], Tolerance: time.Duration(inDoubt) * time.Millisecond / 2}
				if i%2 == 0 {
					h.Source = "other"
				}
				e.Step(h)
				t = t.Add(1001 * time.Microsecond)
				if i++; i%256 == 0 {
					e.Advance(t.Add(-time.Minute))
				}
			}
		})
	}
}

// A flood that is over the limit with each hit, of one owner or of very many.
func BenchmarkFlood(b *testing.B) {
	for _, owners := range []int{1, 1 << 16} {
		b.Run(fmt.Sprintf("%d-owners", owners), func(b *testing.B) {
			e := mustNew(b, Spec{Stages: stages("AB"), MaxSpan: time.Hour}, Limits{Hits: 1 << 17})
			keys := names("key", 1<<20)
			b.ReportAllocs()
			t, i := epoch, 0
			for b.Loop() {
				e.Step(Hit{Key: keys[i%len(keys)], Owner: keys[i%owners], Time: t, ID: "id"})
				t = t.Add(time.Microsecond)
				i++
			}
		})
	}
}
