package collector

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
	"github.com/portcullis-dev/portcullis/event"
)

func TestStream(t *testing.T) {
	r := newRig(t, nil)
	c := r.agent("node-1", "s-1")
	c.batch(batchOf(1, exec(1, "here"), exec(2, "unheard-of")))
	c.acked(1)
	c.batch(batchOf(2)) // a heartbeat
	c.acked(2)
	if got := len(r.pipeline.ids()); got != 2 {
		t.Errorf("the pipeline got %d events, want 2", got)
	}
	if err := c.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	c.ended(codes.OK)
	if got := testutil.ToFloat64(r.server.metrics.events.WithLabelValues("process")); got != 2 {
		t.Errorf("counted %v events", got)
	}
	if log := r.log.String(); !strings.Contains(log, "agent's coverage is partial") || !strings.Contains(log, "no fentry here") {
		t.Error("an agent that does not see everything was not logged")
	}
}

func TestAcknowledgedOnlyOnceTaken(t *testing.T) {
	r := newRig(t, nil)
	entered, leave := make(chan struct{}), make(chan struct{})
	r.pipeline.answers(func(context.Context, []*event.Event) error {
		close(entered)
		<-leave
		return nil
	})
	c := r.agent("node-1", "s-1")
	acked := make(chan struct{})
	c.batch(batchOf(1, exec(1, "here")))
	<-entered
	go func() {
		defer close(acked)
		_, _ = c.stream.Recv()
	}()
	select {
	case <-acked:
		t.Error("acknowledged before the pipeline had it")
	case <-time.After(20 * time.Millisecond): // can only let a mistake pass, never fail without one
	}
	close(leave)
	<-acked
}

func TestAuthentication(t *testing.T) {
	r := newRig(t, nil)
	roots := r.ca.Bundle().Pool()
	for name, tc := range map[string]struct {
		authorization []string
		code          codes.Code
		text          string
	}{
		"none":           {nil, codes.Unauthenticated, "0 authorization values"},
		"two":            {[]string{"Bearer a", "Bearer b"}, codes.Unauthenticated, "2 authorization values"},
		"another scheme": {[]string{"Basic node-1"}, codes.Unauthenticated, "not of the form"},
		"no token":       {[]string{"Bearer "}, codes.Unauthenticated, "not of the form"},
		"long":           {[]string{"Bearer " + strings.Repeat("x", maxToken+1)}, codes.Unauthenticated, "longer than"},
		"refused":        {[]string{"Bearer bad"}, codes.Unauthenticated, "token refused: it is bad"},
		"of no node":     {[]string{"Bearer nodeless"}, codes.Unauthenticated, "it names no node"},
		"not checked":    {[]string{"Bearer broken"}, codes.Unavailable, "could not be checked"},
	} {
		c := r.connect(roots, tc.authorization...)
		c.hello("s-1")
		if text := c.ended(tc.code); !strings.Contains(text, tc.text) || strings.Contains(text, "API server is away") {
			t.Errorf("%s: %q, want one with %q", name, text, tc.text)
		}
	}
	if got := testutil.ToFloat64(r.server.metrics.auth.WithLabelValues("refused")); got != 7 {
		t.Errorf("counted %v refusals, want 7", got)
	}
	r.connect(r.ca.Bundle().Pool(), "bearer node-1").hello("s-1") // schemes have no case
}

func TestNoStreamBeforeReady(t *testing.T) {
	var ready atomic.Bool
	r := newRig(t, func(o *Options) { o.Ready = ready.Load })
	c := r.dial("node-1")
	c.hello("s-1")
	if text := c.ended(codes.Unavailable); !strings.Contains(text, "does not know all pods yet") {
		t.Errorf("an agent that comes too early hears %q", text)
	}
	// Nobody's token is looked at either.
	r.dial("bad").ended(codes.Unavailable)
	if got := testutil.ToFloat64(r.server.metrics.notReady); got != 2 {
		t.Errorf("counted %v streams, want 2", got)
	}
	ready.Store(true)
	c = r.agent("node-1", "s-1")
	c.batch(batchOf(1, exec(1, "here")))
	c.acked(1)
	r.dial("bad").ended(codes.Unauthenticated)
}

func TestClientThatTrustsSomeoneElse(t *testing.T) {
	r, other := newRig(t, nil), newRig(t, nil)
	if _, err := r.tryConnect(other.ca.Bundle().Pool(), "Bearer node-1"); err == nil || !strings.Contains(err.Error(), "failed to verify certificate") {
		t.Errorf("open stream: %v", err)
	}
}

func TestPodsOfOtherNodes(t *testing.T) {
	r := newRig(t, nil)
	c := r.agent("node-1", "s-1")
	for i := range uint64(20) {
		c.batch(batchOf(i+1, exec(4*i+1, "elsewhere"), exec(4*i+2, "here"), exec(4*i+3, "nowhere"), exec(4*i+4, "unheard-of")))
		c.acked(i + 1)
	}
	if got := len(r.pipeline.ids()); got != 61 {
		t.Errorf("the pipeline got %d events, want 60 and the one that tells of the 20 others", got)
	}
	if got := testutil.ToFloat64(r.server.metrics.refused.WithLabelValues("foreign_pod")); got != 20 {
		t.Errorf("counted %v, want 20", got)
	}
	if n := strings.Count(r.log.String(), "in an attacker's hands"); n != 1 {
		t.Errorf("logged %d times, want once a minute", n)
	}
}

func TestOneBadEventCostsOnlyItself(t *testing.T) {
	r := newRig(t, nil)
	c := r.agent("node-1", "s-1")
	bad := exec(2, "here")
	bad.Time = nil
	c.batch(batchOf(1, exec(1, "here"), bad, exec(3, "here")))
	c.acked(1)
	if got := len(r.pipeline.ids()); got != 2 {
		t.Errorf("the pipeline got %d events, want 2", got)
	}
	if got := testutil.ToFloat64(r.server.metrics.refused.WithLabelValues("bad_time")); got != 1 {
		t.Errorf("counted %v, want 1", got)
	}
	if got := testutil.ToFloat64(r.server.metrics.missingEvents.WithLabelValues("node-1")); got != 0 {
		t.Errorf("the refused one counts as missing: %v", got)
	}
}

func TestResends(t *testing.T) {
	r := newRig(t, nil)
	c := r.agent("node-1", "s-1")
	c.batch(batchOf(1, exec(1, "here")))
	c.acked(1)
	c.batch(batchOf(2, exec(2, "here")))
	c.acked(2)
	c.cancel()

	// The acknowledgements got lost: the agent sends both again, and a new one.
	c = r.agent("node-1", "s-1")
	c.batch(batchOf(1, exec(1, "here")))
	c.acked(2)
	c.batch(batchOf(2, exec(2, "here")))
	c.acked(2)
	c.batch(batchOf(3, exec(3, "here")))
	c.acked(3)
	ids := r.pipeline.ids()
	if len(ids) != 3 {
		t.Errorf("the pipeline got %d events, want each once", len(ids))
	}
	if got := testutil.ToFloat64(r.server.metrics.duplicates); got != 2 {
		t.Errorf("counted %v duplicates", got)
	}

	// Another agent process starts at 1 again, and so does another node's with the same session id.
	r.agent("node-1", "s-2").batch(batchOf(1, exec(1, "here")))
	other := r.agent("node-2", "s-1")
	other.batch(batchOf(1, exec(1, "elsewhere")))
	other.acked(1)

	// Another replica does not know the session: same events, same IDs.
	replica := newRig(t, nil)
	c = replica.agent("node-1", "s-1")
	c.batch(batchOf(2, exec(2, "here")))
	c.acked(2)
	c.batch(batchOf(3, exec(3, "here")))
	c.acked(3)
	if diff := cmp.Diff(ids[1:3], replica.pipeline.ids()); diff != "" {
		t.Errorf("IDs at another replica (-first +second):\n%s", diff)
	}
	if got := testutil.ToFloat64(replica.server.metrics.missingBatches.WithLabelValues("node-1")); got != 0 {
		t.Errorf("batches that another replica had count as missing: %v", got)
	}
}

func TestPipelineDecides(t *testing.T) {
	t.Run("busy for a while", func(t *testing.T) {
		r := newRig(t, nil)
		tries := 0
		r.pipeline.answers(func(context.Context, []*event.Event) error {
			if tries++; tries < 4 {
				return busyError{}
			}
			return nil
		})
		c := r.agent("node-1", "s-1")
		c.batch(batchOf(1, exec(1, "here")))
		c.acked(1)
		if len(r.pipeline.ids()) != 1 {
			t.Error("the events were not offered again")
		}
	})
	for name, tc := range map[string]struct {
		err  error
		code codes.Code
		text string
	}{
		"busy for too long": {busyError{}, codes.ResourceExhausted, "busy for 50ms"},
		"failed":            {errors.New("the disk is gone: secret detail"), codes.Unavailable, "the pipeline failed; the server's log says why"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(o *Options) { o.IngestTimeout = 50 * time.Millisecond })
			r.pipeline.answers(func(context.Context, []*event.Event) error { return tc.err })
			c := r.agent("node-1", "s-1")
			c.batch(batchOf(1, exec(1, "here")))
			if text := c.ended(tc.code); !strings.Contains(text, tc.text) {
				t.Errorf("%q, want one with %q", text, tc.text)
			}
			r.pipeline.answers(nil)
			c = r.agent("node-1", "s-1")
			c.batch(batchOf(1, exec(1, "here")))
			c.acked(1)
			if len(r.pipeline.ids()) != 1 {
				t.Error("what was not acknowledged is treated as a duplicate")
			}
		})
	}
}

func TestLossIsCounted(t *testing.T) {
	r := newRig(t, nil)
	m := r.server.metrics
	c := r.agent("node-1", "s-1")
	send := func(b *telemetryv1.Batch, lost *telemetryv1.Lost) {
		t.Helper()
		b.Lost = lost
		c.batch(b)
		c.acked(b.GetSequence())
	}
	send(batchOf(5, exec(10, "here")), &telemetryv1.Lost{RingFull: 3})
	send(batchOf(6, exec(11, "here"), exec(14, "here")), &telemetryv1.Lost{RingFull: 3, LimitedExecs: 7})
	send(batchOf(9, exec(15, "here")), &telemetryv1.Lost{RingFull: 5, LimitedExecs: 7, SpoolFull: 1, Undecodable: 2})
	c.cancel()
	c = r.agent("node-1", "s-1")
	send(batchOf(9, exec(15, "here")), &telemetryv1.Lost{RingFull: 5, LimitedExecs: 7, SpoolFull: 1, Undecodable: 2})
	send(batchOf(10), &telemetryv1.Lost{})
	for name, tc := range map[string]struct{ got, want float64 }{
		"ring_full":   {testutil.ToFloat64(m.lost.WithLabelValues("node-1", "ring_full")), 2}, // three of them before this server heard of the session
		"limited":     {testutil.ToFloat64(m.lost.WithLabelValues("node-1", "limited_execs")), 7},
		"spool_full":  {testutil.ToFloat64(m.lost.WithLabelValues("node-1", "spool_full")), 1},
		"undecodable": {testutil.ToFloat64(m.lost.WithLabelValues("node-1", "undecodable")), 2},
		"batches":     {testutil.ToFloat64(m.missingBatches.WithLabelValues("node-1")), 2},
		"events":      {testutil.ToFloat64(m.missingEvents.WithLabelValues("node-1")), 2},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: counted %v, want %v", name, tc.got, tc.want)
		}
	}
	if n := strings.Count(r.log.String(), "telemetry was lost"); n != 1 {
		t.Errorf("logged %d times, want once a minute", n)
	}
}

func TestProtocolErrors(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MaxBatchEvents, o.MaxMessageBytes = 2, 64<<10 })
	hello := func(c *client) { c.hello("s-1") }
	for name, tc := range map[string]struct {
		do   func(*client)
		code codes.Code
		text string
	}{
		"a batch before the greeting": {func(c *client) { c.batch(batchOf(1)) }, codes.InvalidArgument, "must be a Hello"},
		"an empty message":            {func(c *client) { c.send(&telemetryv1.AgentMessage{}) }, codes.InvalidArgument, "must be a Hello"},
		"no session":                  {func(c *client) { c.hello("") }, codes.InvalidArgument, "session_id"},
		"an odd session":              {func(c *client) { c.hello("a\x1bb") }, codes.InvalidArgument, "session_id"},
		"two greetings":               {func(c *client) { hello(c); hello(c) }, codes.InvalidArgument, "a second Hello"},
		"a batch without a number":    {func(c *client) { hello(c); c.batch(batchOf(0)) }, codes.InvalidArgument, "without a sequence"},
		"too many events": {func(c *client) { hello(c); c.batch(batchOf(1, exec(1, "here"), exec(2, "here"), exec(3, "here"))) },
			codes.InvalidArgument, "a batch of 3 events, 2 is the most"},
		"too large": {func(c *client) {
			hello(c)
			e := exec(1, "here")
			e.Process.Args = []string{strings.Repeat("x", 65<<10)}
			c.batch(batchOf(1, e))
		}, codes.ResourceExhausted, "larger than max"},
	} {
		c := r.dial("node-1")
		tc.do(c)
		if text := c.ended(tc.code); !strings.Contains(text, tc.text) {
			t.Errorf("%s: %q, want one with %q", name, text, tc.text)
		}
	}
	if got := len(r.pipeline.ids()); got != 0 {
		t.Errorf("the pipeline got %d events", got)
	}
}

func TestNewerStreamTakesOver(t *testing.T) {
	r := newRig(t, nil)
	old := r.agent("node-1", "s-1")
	unrelated := r.agent("node-1", "s-2")
	c := r.agent("node-1", "s-1")
	old.ended(codes.Aborted)
	for _, c := range []*client{c, unrelated} {
		c.batch(batchOf(1))
		c.acked(1)
	}
}

func TestStopFinishesTheBatchInHand(t *testing.T) {
	r := newRig(t, nil)
	entered, leave := make(chan struct{}), make(chan struct{})
	r.pipeline.answers(func(context.Context, []*event.Event) error {
		close(entered)
		<-leave
		return nil
	})
	idle, c := r.agent("node-2", "s-2"), r.agent("node-1", "s-1")
	c.batch(batchOf(1, exec(1, "here")))
	<-entered
	r.stop()
	if text := idle.ended(codes.Unavailable); !strings.Contains(text, "stopping") {
		t.Errorf("%q", text)
	}
	close(leave)
	c.acked(1)
	c.ended(codes.Unavailable)
}

func TestStopCutsOffWhatHangs(t *testing.T) {
	r := newRig(t, func(o *Options) { o.StopTimeout = 10 * time.Millisecond })
	entered := make(chan struct{})
	r.pipeline.answers(func(ctx context.Context, _ []*event.Event) error {
		close(entered)
		time.Sleep(50 * time.Millisecond) // a pipeline that does not listen
		return ctx.Err()
	})
	c := r.agent("node-1", "s-1")
	c.batch(batchOf(1, exec(1, "here")))
	<-entered
	r.stop()
	c.ended(codes.Unavailable)
}

func TestStreamsAge(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MaxStreamAge = 10 * time.Millisecond })
	if text := r.agent("node-1", "s-1").ended(codes.Unavailable); !strings.Contains(text, "age") {
		t.Errorf("%q", text)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MaxStreams = maxStreamsPerNode + 1 })
	open := make([]*client, 0, maxStreamsPerNode+1)
	for i := range maxStreamsPerNode {
		open = append(open, r.agent("node-1", "s-"+string(rune('a'+i))))
	}
	if text := r.dial("node-1").ended(codes.ResourceExhausted); !strings.Contains(text, `node "node-1" has 8 streams`) {
		t.Errorf("%q", text)
	}
	open = append(open, r.agent("node-2", "s-1"))
	if text := r.dial("node-3").ended(codes.ResourceExhausted); !strings.Contains(text, "9 agents are connected") {
		t.Errorf("%q", text)
	}
	for _, c := range open {
		if err := c.stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		c.ended(codes.OK)
	}
	r.agent("node-3", "s-1")
}

func TestPanicIsContained(t *testing.T) {
	r := newRig(t, nil)
	r.pipeline.answers(func(context.Context, []*event.Event) error { panic("bug") })
	c := r.agent("node-1", "s-1")
	c.batch(batchOf(1, exec(1, "here")))
	c.ended(codes.Internal)
	r.pipeline.answers(nil)
	c = r.agent("node-1", "s-1")
	c.batch(batchOf(1, exec(1, "here")))
	c.acked(1)
	if !strings.Contains(r.log.String(), "server_test.go") {
		t.Error("the panic was logged without its stack")
	}
}

func TestTokensAreNotLogged(t *testing.T) {
	r := newRig(t, nil)
	for _, token := range []string{"bad", "broken"} {
		c := r.connect(r.ca.Bundle().Pool(), "Bearer "+token)
		_, _ = c.stream.Recv()
	}
	for line := range strings.Lines(r.log.String()) {
		if strings.Contains(line, "Bearer") || strings.Contains(line, "broken") {
			t.Errorf("logged: %s", line)
		}
	}
}

func TestServeReportsABrokenListener(t *testing.T) {
	r := newRig(t, nil)
	server, err := New(Options{
		Pipeline: r.pipeline, Authenticator: tokens{}, Placement: placement{}, TLS: r.server.opts.TLS,
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), Clock: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Serve(context.Background(), brokenListener{}); err == nil || !strings.Contains(err.Error(), "serve agents: no more sockets") {
		t.Errorf("serve: %v", err)
	}
}

func TestNewNamesTheField(t *testing.T) {
	full := newRig(t, nil).server.opts
	full.Registerer = prometheus.NewRegistry()
	for field, change := range map[string]func(*Options){
		"Pipeline":       func(o *Options) { o.Pipeline = nil },
		"Authenticator":  func(o *Options) { o.Authenticator = nil },
		"Placement":      func(o *Options) { o.Placement = nil },
		"TLS":            func(o *Options) { o.TLS = nil },
		"Logger":         func(o *Options) { o.Logger = nil },
		"Registerer":     func(o *Options) { o.Registerer = nil },
		"Clock":          func(o *Options) { o.Clock = nil },
		"MaxStreams":     func(o *Options) { o.MaxStreams = -1 },
		"MaxBatchEvents": func(o *Options) { o.MaxBatchEvents = -1 },
		"StopTimeout":    func(o *Options) { o.StopTimeout = -1 },
	} {
		o := full
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got error %v", field, err)
		}
	}
}

func TestSessionsAreForgotten(t *testing.T) {
	now := happened
	var forgotten []string
	table := newSessions(func() time.Time { return now }, noLosses{}, func(node string) { forgotten = append(forgotten, node) })
	ids := func(node string) []string {
		out := make([]string, 0, maxSessionsPerNode)
		for _, s := range table.byNode[node] {
			out = append(out, s.id)
		}
		slices.Sort(out)
		return out
	}
	for i, id := range []string{"a", "b", "c", "d", "e"} {
		now = happened.Add(time.Duration(i) * time.Second)
		st := &stream{superseded: make(chan struct{})}
		table.detach(table.attach("node-1", id, st), st)
	}
	if diff := cmp.Diff([]string{"b", "c", "d", "e"}, ids("node-1")); diff != "" {
		t.Errorf("sessions of one node (-want +got):\n%s", diff)
	}
	table.attach("node-2", "stays", &stream{})
	now = now.Add(keepSession)
	table.attach("node-3", "x", &stream{})
	if len(ids("node-1")) != 0 || len(ids("node-2")) != 1 {
		t.Errorf("after an hour: %v, %v", ids("node-1"), ids("node-2"))
	}
	if diff := cmp.Diff([]string{"node-1"}, forgotten); diff != "" {
		t.Errorf("forgotten nodes (-want +got):\n%s", diff)
	}
}

func TestForgottenNodesLeaveNoMetrics(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry())
	for _, node := range []string{"node-1", "node-2"} {
		m.lost.WithLabelValues(node, "ring_full").Inc()
		m.clockOffset.WithLabelValues(node).Set(1)
		m.partial.WithLabelValues(node).Set(1)
	}
	m.forget("node-1")
	if a, b, c := testutil.CollectAndCount(m.lost), testutil.CollectAndCount(m.clockOffset), testutil.CollectAndCount(m.partial); a+b+c != 3 {
		t.Errorf("%d, %d and %d series are left, want those of node-2", a, b, c)
	}
}

func (c *client) pong(number uint64, at *timestamppb.Timestamp) {
	c.t.Helper()
	c.send(&telemetryv1.AgentMessage{Message: &telemetryv1.AgentMessage_Pong{Pong: &telemetryv1.Pong{Number: number, At: at}}})
}

// TestClocksAreCompared: the times of events are corrected by what the answer to the welcome tells.
func TestClocksAreCompared(t *testing.T) {
	for name, test := range map[string]struct {
		number uint64
		ahead  time.Duration
		want   time.Duration
	}{
		"an agent that is an hour ahead":      {0, time.Hour, time.Hour},
		"an agent that may agree":             {0, 0, 0},
		"an answer to no question of ours":    {7, time.Hour, 0},
		"an answer from before there was any": {0, -200 * 365 * 24 * time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			c := r.agent("node-1", "s-1")
			c.pong(test.number, timestamppb.New(time.Now().Add(test.ahead)))
			c.batch(batchOf(1, exec(1, "here")))
			c.acked(1)
			r.pipeline.mu.Lock()
			defer r.pipeline.mu.Unlock()
			e := r.pipeline.events[0]
			// What passed between question and answer is all that is uncertain.
			if d := e.Clock.Offset - test.want; d.Abs() > time.Minute || !e.Time.Add(e.Clock.Offset).Equal(happened) {
				t.Errorf("the clock is %+v, the event's time %v, sent as %v", e.Clock, e.Time, happened)
			}
			if measured := test.number == 0 && test.ahead >= 0; e.Clock.Measured != measured || e.Clock.Tolerance > time.Minute {
				t.Errorf("the clock is %+v", e.Clock)
			}
		})
	}
}
