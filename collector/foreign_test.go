package collector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/portcullis-dev/portcullis/event"
)

// claims are the events of Portcullis' own among those that the pipeline has.
func (p *pipeline) claims() (claims []*event.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if slices.Equal(e.Action, []string{ActionForeignPod}) {
			claims = append(claims, e)
		}
	}
	return claims
}

func TestWhatIsNotBelievedBecomesAnEvent(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Clock = func() time.Time { return happened.Add(time.Second) } })
	c := r.agent("node-1", "s-1")
	for i := range uint64(3) { // once, however often it is told
		c.batch(batchOf(i+1, exec(2*i+1, "elsewhere"), exec(2*i+2, "here")))
		c.acked(i + 1)
	}
	claims := r.pipeline.claims()
	if len(claims) != 1 {
		t.Fatalf("%d events tell of it, want 1", len(claims))
	}
	now := happened.Add(time.Second)
	want := &event.Event{
		ID: claims[0].ID, Request: claims[0].ID, Kind: event.KindProcess, Dataset: "portcullis.process", Source: "agent/node-1",
		Time: now, StageTime: now, Received: now, Clock: event.Clock{Measured: true},
		Category: []string{"intrusion_detection"}, Type: []string{"denied"}, Action: []string{"foreign-pod-telemetry"},
		Pod: event.Pod{Node: "node-1", Confidence: event.Ambiguous, Candidates: []string{"elsewhere"}},
	}
	if diff := cmp.Diff(want, claims[0]); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	if pod := claims[0].SubjectPod(); !pod.IsZero() {
		t.Errorf("a response would hit %v, of which nothing is known but that somebody spoke of it", pod)
	}
}

// TestWhatIsNotBelievedIsToldUntilItIsTaken: a batch that comes again tells of it again, as the same event.
func TestWhatIsNotBelievedIsToldUntilItIsTaken(t *testing.T) {
	r := newRig(t, nil)
	var offered []*event.Event
	r.pipeline.answers(func(_ context.Context, events []*event.Event) error {
		offered = append(offered, events...)
		return errors.New("the disk is full")
	})
	c := r.agent("node-1", "s-1")
	c.batch(batchOf(1, exec(1, "elsewhere")))
	c.ended(codes.Unavailable)
	r.pipeline.answers(nil)
	again := r.agent("node-1", "s-1")
	again.batch(batchOf(1, exec(1, "elsewhere")))
	again.acked(1)
	if diff := cmp.Diff(offered, r.pipeline.claims()); diff != "" || len(offered) != 1 {
		t.Errorf("events (-at first +again):\n%s", diff)
	}
}

func TestClaimsAreTimedAndBounded(t *testing.T) {
	now := happened
	c := NewClaims(func() time.Time { return now })
	about := func(node, pod string, n int) *event.Event {
		return c.Event(&event.Event{ID: fmt.Sprint(n), Pod: event.Pod{UID: pod, Node: node}})
	}
	first := about("node-1", "a", 1)
	if first == nil || about("node-1", "a", 2) != nil {
		t.Error("the first is not told of, or the second is")
	}
	if about("node-1", "b", 3) == nil || about("node-2", "a", 4) == nil {
		t.Error("another pod, or another node, is not told of")
	}
	now = now.Add(tellAgain)
	if later := about("node-1", "a", 5); later == nil || later.ID == first.ID {
		t.Errorf("after a while it is told of as %v", later)
	}
	told := 0
	for i := range 10 * maxClaimsPerNode {
		if about("node-1", fmt.Sprint("pod-", i), i) != nil {
			told++
		}
	}
	if told != maxClaimsPerNode-1 {
		t.Errorf("%d more pods are told of, want %d", told, maxClaimsPerNode-1)
	}
}
