package canary

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/portcullis-dev/portcullis/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fixture struct {
	*Canary
	now    time.Time
	agents chan string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{now: time.Unix(1000, 0), agents: make(chan string, 100)}
	c, err := New(Options{
		Request:    func(_ context.Context, agent string) error { f.agents <- agent; return nil },
		Period:     10 * time.Second,
		BlindAfter: time.Minute,
		Clock:      func() time.Time { return f.now },
		Logger:     slog.New(slog.DiscardHandler),
		Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Canary = c
	return f
}

func (f *fixture) returns(agent string) bool {
	return f.Observe(&event.Event{Source: "audit/a", Received: f.now, Audit: &event.Audit{UserAgent: agent}})
}

func TestBlindUntilTheFirstReturns(t *testing.T) {
	f := newFixture(t)
	if !f.Blind() {
		t.Error("sees before anything came back")
	}
	f.fly(t.Context())
	f.now = f.now.Add(50 * time.Millisecond)
	if !f.returns(<-f.agents) {
		t.Error("the canary's own event was not recognised")
	}
	if f.Blind() {
		t.Error("blind although a canary came back")
	}
}

func TestBlindAgainWhenNothingReturns(t *testing.T) {
	f := newFixture(t)
	f.fly(t.Context())
	f.returns(<-f.agents)
	f.now = f.now.Add(59 * time.Second)
	f.judge()
	if f.Blind() {
		t.Error("blind before BlindAfter")
	}
	f.now = f.now.Add(2 * time.Second)
	f.judge()
	if !f.Blind() {
		t.Error("still sees after BlindAfter of silence")
	}
	if got := testutil.ToFloat64(f.metrics.blind); got != 1 {
		t.Errorf("blind gauge is %v", got)
	}
}

func TestForgedCanaryProvesNothing(t *testing.T) {
	f := newFixture(t)
	f.fly(t.Context())
	if f.returns(UserAgentPrefix + "GUESSED") {
		t.Error("a nonce that was never sent was taken for a canary")
	}
	agent := <-f.agents
	f.returns(agent)
	if f.returns(agent) {
		t.Error("a nonce was accepted twice")
	}
	if f.Observe(&event.Event{Kind: event.KindProcess}) {
		t.Error("a process event was taken for a canary")
	}
}

func TestLostCanariesAreBounded(t *testing.T) {
	f := newFixture(t)
	for range maxFlying + 5 {
		f.now = f.now.Add(time.Second)
		f.fly(t.Context())
		<-f.agents
	}
	if len(f.flying) != maxFlying {
		t.Errorf("%d canaries are awaited, want %d", len(f.flying), maxFlying)
	}
	if got := testutil.ToFloat64(f.metrics.lost); got != 5 {
		t.Errorf("lost counter is %v, want 5", got)
	}
}

func TestRunStopsWithItsContext(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	<-f.agents
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("New took empty options")
	}
}
