package jetstream

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/event"
)

// request is an audit event as an API server reports it of a pod's request, number n.
func request(n int) *event.Event {
	at := time.Date(2026, 1, 2, 3, 4, 5, n, time.UTC)
	uid := fmt.Sprintf("d6cf43d9-2859-4e33-8fbe-%012d", n%1000)
	return &event.Event{
		ID: fmt.Sprintf("%032x", n), Request: fmt.Sprintf("%032x", n+1), Kind: event.KindAudit, Source: "audit/cp1",
		Time: at, StageTime: at.Add(time.Millisecond), Received: at.Add(time.Second), Dataset: "kubernetes.audit_logs",
		Audit: &event.Audit{
			AuditID: fmt.Sprintf("3b030d4d-b56b-41d9-8cee-%012d", n), Stage: "ResponseComplete", Level: "Metadata", Verb: "list",
			RequestURI: "/api/v1/namespaces/shop/configmaps?limit=500", UserAgent: "curl/7.88.1", SourceIPs: []string{"10.244.1.17"},
			User: event.AuditUser{
				Username: "system:serviceaccount:shop:cart", UID: "1f7d6017-c401-490e-b419-ebac1126c769",
				Groups: []string{"system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"},
				Extra: map[string][]string{
					"authentication.kubernetes.io/credential-id": {"JTI=60299d4f-fb55-424f-94c9-896e47c6c953"},
					event.ExtraPodName:                           {"cart-5f6d9"}, event.ExtraPodUID: {uid}, event.ExtraNodeName: {"node1"},
				},
			},
			ObjectRef: event.ObjectRef{APIVersion: "v1", Resource: "configmaps", Namespace: "shop"}, Code: 200,
			Annotations: map[string]string{
				"authorization.k8s.io/decision": "allow",
				"authorization.k8s.io/reason":   `RBAC: allowed by RoleBinding "cart/shop" of Role "cart" to ServiceAccount "cart/shop"`,
			},
			Caller: event.Pod{UID: uid, Namespace: "shop", Name: "cart-5f6d9", Node: "node1", Confidence: event.Exact,
				Labels: map[string]string{"app": "cart", "pod-template-hash": "5f6d9"}},
		},
	}
}

// execution is a process event as an agent reports it, number n.
func execution(n int) *event.Event {
	at := time.Date(2026, 1, 2, 3, 4, 5, n, time.UTC)
	privileged := false
	return &event.Event{
		ID: fmt.Sprintf("%032x", n), Request: fmt.Sprintf("%032x", n), Kind: event.KindProcess, Source: "agent/node1",
		Time: at, StageTime: at, Received: at.Add(time.Millisecond),
		Category: []string{"process"}, Type: []string{"start"}, Action: []string{"exec"}, Dataset: "portcullis.process",
		Pod: event.Pod{UID: fmt.Sprintf("d6cf43d9-2859-4e33-8fbe-%012d", n%1000), Namespace: "shop", Name: "cart-5f6d9", Node: "node1",
			Labels: map[string]string{"app": "cart", "pod-template-hash": "5f6d9"}, Confidence: event.Exact},
		Container: &event.Container{ID: fmt.Sprintf("%064x", n%1000), Name: "cart", Image: "registry.local/cart:1.2.3", Privileged: &privileged},
		Process: &event.Process{
			PID: uint32(n), PPID: 4700, EntityID: fmt.Sprintf("%016x", n), Name: "curl", Executable: "/usr/bin/curl",
			Args:             []string{"curl", "-sk", "-H", "Authorization: Bearer xxxxxxxxxxxxxx", "https://10.96.0.1/api/v1/secrets"},
			WorkingDirectory: "/", Start: at, Interactive: true, TTY: 34816,
			Parent:      &event.ProcessRef{PID: 4700, EntityID: fmt.Sprintf("%016x", n-1), Name: "sh", Executable: "/bin/sh", Args: []string{"sh"}, Interactive: true},
			EntryLeader: &event.EntryLeader{PID: 4700, EntityID: fmt.Sprintf("%016x", n-1), Start: at, MetaType: "container", Interactive: true},
		},
	}
}

// typical is a delivery with so many candidates, numbered from n on: half audit, half process
// events, each of two rules.
func typical(n, candidates int) []bus.Candidate {
	all := make([]bus.Candidate, candidates)
	var e *event.Event
	for i := range all {
		if i%2 == 0 {
			if e = request(n + i); i%4 == 0 {
				e = execution(n + i)
			}
		}
		all[i] = bus.Candidate{Rule: fmt.Sprint("rule-of-a-usual-name-", i%2), Stage: i % 3, Key: "uid:" + e.Pod.UID + fmt.Sprint(n+i-i%2), Event: e}
	}
	return all
}

func BenchmarkCodec(b *testing.B) {
	c := newTestCodec(b)
	for _, size := range []int{1, 8, 40} {
		delivery := typical(0, size)
		data, err := c.marshal(delivery)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("marshal/candidates=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.marshal(delivery); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(data))/float64(size), "bytes/candidate")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/candidate")
		})
		b.Run(fmt.Sprintf("unmarshal/candidates=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.unmarshal(data); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/candidate")
		})
	}
}

func eachSync(b *testing.B, run func(b *testing.B, o Options)) {
	for _, sync := range []bool{false, true} {
		b.Run(fmt.Sprintf("sync=%t", sync), func(b *testing.B) {
			o := options(b.TempDir())
			o.Sync, o.MaxBytes = sync, 8<<30
			run(b, o)
		})
	}
}

func openLargeBus(tb testing.TB, s *Store) *Bus {
	tb.Helper()
	b, err := s.Bus(tb.Context(), BusOptions{Retention: time.Hour, MaxBytes: 7 << 30})
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// percentiles reports what single operations took.
func percentiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1000, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1000, "p99-µs")
}

// BenchmarkPublish is the time until a delivery's candidates are stored.
func BenchmarkPublish(b *testing.B) {
	for _, size := range []int{1, 8, 40, 400} {
		b.Run(fmt.Sprintf("candidates=%d", size), func(b *testing.B) {
			eachSync(b, func(b *testing.B, o Options) {
				bus := openLargeBus(b, open(b, o))
				var took []time.Duration
				n := 0
				for b.Loop() {
					b.StopTimer()
					delivery := typical(n, size)
					n += size
					b.StartTimer()
					start := time.Now()
					publish(b, bus, delivery...)
					took = append(took, time.Since(start))
				}
				percentiles(b, took)
			})
		})
	}
}

// BenchmarkDeliver is the time from before a candidate is published until the handler has it.
func BenchmarkDeliver(b *testing.B) {
	eachSync(b, func(b *testing.B, o Options) {
		store := openLargeBus(b, open(b, o))
		ctx, cancel := context.WithCancel(b.Context())
		arrived := make(chan time.Time, 1)
		done := make(chan error, 1)
		go func() {
			done <- store.Consume(ctx, func(context.Context, bus.Candidate) error { arrived <- time.Now(); return nil })
		}()
		<-store.Replayed()
		var took []time.Duration
		n := 0
		for b.Loop() {
			delivery := typical(n, 1)
			n++
			start := time.Now()
			publish(b, store, delivery...)
			took = append(took, (<-arrived).Sub(start))
		}
		percentiles(b, took)
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkReplay is a start with so many candidates stored, after a crash: until the store is
// open, and until all are delivered again.
func BenchmarkReplay(b *testing.B) {
	for _, size := range []int{1, 8, 40} {
		b.Run(fmt.Sprintf("candidates=1000000/delivery=%d", size), func(b *testing.B) { benchmarkReplay(b, 1_000_000, size) })
	}
}

func benchmarkReplay(b *testing.B, total, delivery int) {
	o := options(b.TempDir())
	o.MaxBytes = 8 << 30
	s := open(b, o)
	bus := openLargeBus(b, s)
	for n := 0; n < total; n += delivery {
		publish(b, bus, typical(n, delivery)...)
	}
	shut(b, s)
	bytes := int64(0)
	blocks, err := filepath.Glob(filepath.Join(o.Directory, streamsPath, candidateStream, "msgs", "*.blk"))
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range blocks {
		info, err := os.Stat(name)
		if err != nil {
			b.Fatal(err)
		}
		bytes += info.Size()
	}
	var opening, replaying time.Duration
	for b.Loop() {
		start := time.Now()
		o.Registerer = options("").Registerer
		s = open(b, o)
		bus = openLargeBus(b, s)
		opening += time.Since(start)
		if n := countAll(b, bus); n != total {
			b.Fatalf("%d candidates", n)
		}
		replaying += time.Since(start)
		b.StopTimer()
		shut(b, s)
		b.StartTimer()
	}
	b.ReportMetric(opening.Seconds()/float64(b.N), "open-s")
	b.ReportMetric(replaying.Seconds()/float64(b.N), "all-s")
	b.ReportMetric(float64(total*b.N)/(replaying-opening).Seconds(), "candidates/s")
	b.ReportMetric(float64(bytes)/float64(total), "bytes/candidate")
}

// countAll returns how many candidates are stored on a bus that nobody has consumed.
func countAll(b *testing.B, stored *Bus) int {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	n := 0
	done := make(chan error, 1)
	go func() {
		done <- stored.Consume(ctx, func(context.Context, bus.Candidate) error { n++; return nil })
	}()
	<-stored.Replayed()
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	return n
}
