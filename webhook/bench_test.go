package webhook_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/portcullis-dev/portcullis/webhook"
)

// BenchmarkVerdict measures a review over TLS and HTTP/2, one at a time on one
// connection as API servers send them, beside a controller-runtime webhook that does
// nothing. The two take turns, so that whatever else the machine does hits both
// alike; the ratios are what to look at.
func BenchmarkVerdict(b *testing.B) {
	ours, _ := newHandler(b, func(context.Context, webhook.Request) (webhook.Verdict, error) {
		return webhook.Verdict{Allowed: true}, nil
	})
	theirs := &admission.Webhook{Handler: admission.HandlerFunc(func(context.Context, admission.Request) admission.Response {
		return admission.Allowed("")
	})}
	body := sample(b, "exec")
	sides := []*side{newSide(b, "ours", ours), newSide(b, "empty", theirs)}
	for range 200 { // connections, buffers and caches
		for _, s := range sides {
			s.call(b, body)
		}
	}
	for _, s := range sides {
		s.took = s.took[:0]
	}
	for b.Loop() {
		for _, s := range sides {
			s.call(b, body)
		}
	}
	b.ReportMetric(0, "ns/op") // of both together, which says nothing
	for _, q := range []int{50, 99} {
		var at [2]time.Duration
		for i, s := range sides {
			at[i] = s.quantile(q)
			b.ReportMetric(float64(at[i].Nanoseconds())/1e3, fmt.Sprintf("p%d-%s-µs", q, s.name))
		}
		b.ReportMetric(float64(at[0])/float64(at[1]), fmt.Sprintf("p%d-ratio", q))
	}
}

// side is one of the two webhooks.
type side struct {
	name   string
	client *http.Client
	url    string
	took   []time.Duration
}

func newSide(b *testing.B, name string, h http.Handler) *side {
	b.Helper()
	client, url, _ := serve(b, h)
	return &side{name: name, client: client, url: url}
}

func (s *side) call(b *testing.B, body []byte) {
	b.Helper()
	begin := time.Now()
	resp, err := s.client.Post(s.url, "application/json", bytes.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	s.took = append(s.took, time.Since(begin))
	if err != nil || resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
		b.Fatalf("status %d over %s, %v", resp.StatusCode, resp.Proto, err)
	}
}

func (s *side) quantile(q int) time.Duration {
	slices.Sort(s.took)
	return s.took[min(len(s.took)*q/100, len(s.took)-1)]
}

// BenchmarkHandler measures the handler alone: on one goroutine, and on a new one for each review, as net/http has it, whose
// stack has to grow.
func BenchmarkHandler(b *testing.B) {
	h, _ := newHandler(b, allow)
	body := sample(b, "exec")
	b.Run("goroutine=same", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			post(h, body)
		}
	})
	b.Run("goroutine=new", func(b *testing.B) {
		done := make(chan struct{})
		b.ReportAllocs()
		for b.Loop() {
			go func() {
				post(h, body)
				done <- struct{}{}
			}()
			<-done
		}
	})
}
