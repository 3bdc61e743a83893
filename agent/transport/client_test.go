package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portcullis-dev/portcullis/agent/collectortest"
	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// agentSide is a client under test, with its files.
type agentSide struct {
	t         testing.TB
	spool     *Spool
	client    *Client
	ca, token string
	result    chan error
	cancel    context.CancelFunc
}

const serverName = "portcullis.test"

func newAgent(t testing.TB, server string, trusted *collectortest.Authority, change func(*Options, *SpoolOptions)) *agentSide {
	t.Helper()
	dir := t.TempDir()
	a := &agentSide{t: t, ca: filepath.Join(dir, "ca.crt"), token: filepath.Join(dir, "token"), result: make(chan error, 1)}
	if trusted == nil {
		trusted = collectortest.NewAuthority(t)
	}
	a.write(a.ca, string(trusted.PEM))
	a.write(a.token, "first\n")
	opts := Options{
		Server: server, ServerName: serverName, CAFile: a.ca, TokenFile: a.token,
		Hello:      func() *telemetryv1.Hello { return &telemetryv1.Hello{SessionId: "session"} },
		Lost:       func() *telemetryv1.Lost { return &telemetryv1.Lost{RingFull: 3} },
		Logger:     slog.New(slog.DiscardHandler),
		MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond, AckTimeout: patience, Heartbeat: time.Hour,
	}
	spool := SpoolOptions{}
	if change != nil {
		change(&opts, &spool)
	}
	a.spool = newSpool(t, spool)
	opts.Spool = a.spool
	var err error
	if a.client, err = New(opts, prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *agentSide) run() {
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	go func() { a.result <- a.client.Run(ctx) }()
	a.t.Cleanup(func() {
		cancel()
		a.wait()
	})
}

func (a *agentSide) wait() error {
	err := <-a.result
	a.result <- err
	return err
}

func (a *agentSide) write(name, content string) {
	a.t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func TestEventsArrive(t *testing.T) {
	ca := collectortest.NewAuthority(t)
	c := &collectortest.Collector{Token: "first"}
	addr, _ := c.Serve(t, ca.Certificate(t, serverName), "127.0.0.1:0")
	a := newAgent(t, addr, ca, nil)
	a.spool.Push(event(1))
	a.run()
	c.Wait(t, "the first event", func() bool { return len(c.Events) == 1 })
	for pid := range uint32(1000) {
		a.spool.Push(event(pid + 2))
	}
	a.spool.Close()
	if err := a.wait(); err != nil {
		t.Errorf("the client ended with %v", err)
	}

	if len(c.Events) != 1001 {
		t.Fatalf("%d events arrived, want 1001", len(c.Events))
	}
	for i, e := range c.Events {
		if e.GetSequence() != uint64(i+1) || e.GetProcess().GetPid() != uint32(i+1) {
			t.Fatalf("event %d is %v", i+1, e)
		}
	}
	for i, b := range c.Batches {
		if b.GetSequence() != uint64(i+1) || b.GetSentAt() == nil || b.GetLost().GetRingFull() != 3 {
			t.Errorf("batch %d is number %d, sent at %v, lost %v", i+1, b.GetSequence(), b.GetSentAt(), b.GetLost())
		}
	}
	if len(c.Hellos) != 1 || c.Hellos[0].GetSessionId() != "session" || c.Hellos[0].GetSentAt() == nil {
		t.Errorf("greetings: %v", c.Hellos)
	}
}

func TestUnacknowledgedBatchesAreSentAgain(t *testing.T) {
	ca := collectortest.NewAuthority(t)
	c := &collectortest.Collector{Token: "first"}
	var broken sync.Once
	c.Before = func(b *telemetryv1.Batch) (bool, error) {
		switch {
		case len(c.Hellos) > 1:
			return true, nil
		case b.GetSequence() == 1:
			return false, nil
		default:
			var err error
			broken.Do(func() { err = status.Error(codes.Unavailable, "broken on purpose") })
			return false, err
		}
	}
	addr, _ := c.Serve(t, ca.Certificate(t, serverName), "127.0.0.1:0")
	a := newAgent(t, addr, ca, func(_ *Options, s *SpoolOptions) { s.BatchEvents = 1 })
	for pid := range uint32(3) {
		a.spool.Push(event(pid + 1))
	}
	a.spool.Close()
	a.run()
	if err := a.wait(); err != nil {
		t.Errorf("the client ended with %v", err)
	}

	again := make([]uint64, 0, len(c.Batches))
	for _, b := range c.Batches {
		again = append(again, b.GetSequence())
		if len(b.GetEvents()) != 1 || b.GetEvents()[0].GetSequence() != b.GetSequence() {
			t.Errorf("batch %d holds %v", b.GetSequence(), b.GetEvents())
		}
	}
	if len(again) != 4 || again[0] != 1 || again[1] != 1 || again[2] != 2 || again[3] != 3 {
		t.Errorf("batches arrived as %v, want 1, then 1, 2, 3 again", again)
	}
	if len(c.Hellos) != 2 {
		t.Errorf("%d streams were opened, want 2", len(c.Hellos))
	}
}

func TestServerThatComesLate(t *testing.T) {
	ca := collectortest.NewAuthority(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	refused := make(chan struct{}, 1)
	a := newAgent(t, addr, ca, func(o *Options, s *SpoolOptions) {
		s.MaxBytes = 10 * cost(event(1))
		o.Logger = slog.New(signal{refused})
	})
	a.run()
	<-refused
	for pid := range uint32(100) { // returns, although nobody is there
		a.spool.Push(event(pid + 1))
	}
	c := &collectortest.Collector{Token: "first"}
	c.Serve(t, ca.Certificate(t, serverName), addr)
	a.spool.Close()
	if err := a.wait(); err != nil {
		t.Errorf("the client ended with %v", err)
	}
	if n := len(c.Events); n != 10 || c.Events[0].GetProcess().GetPid() != 91 || c.Events[0].GetSequence() != 1 {
		t.Errorf("%d events arrived, the first is %v; want 10 from 91 on", n, c.Events[0])
	}
	if lost := c.Batches[0].GetLost().GetSpoolFull(); lost != 90 {
		t.Errorf("the spool is said to have lost %d events, want 90", lost)
	}
}

// signal is a log handler that tells of every line.
type signal struct{ lines chan struct{} }

func (signal) Enabled(context.Context, slog.Level) bool { return true }
func (s signal) WithAttrs([]slog.Attr) slog.Handler     { return s }
func (s signal) WithGroup(string) slog.Handler          { return s }
func (s signal) Handle(context.Context, slog.Record) error {
	select {
	case s.lines <- struct{}{}:
	default:
	}
	return nil
}

func TestTrust(t *testing.T) {
	ca, stranger := collectortest.NewAuthority(t), collectortest.NewAuthority(t)
	for name, test := range map[string]struct {
		cert  tls.Certificate
		ca    []byte
		token string
		want  string
	}{
		"another authority": {cert: stranger.Certificate(t, serverName), ca: ca.PEM, token: "first", want: "certificate"},
		"another name":      {cert: ca.Certificate(t, "other.test"), ca: ca.PEM, token: "first", want: serverName},
		"another token":     {cert: ca.Certificate(t, serverName), ca: ca.PEM, token: "other", want: "Unauthenticated"},
		"no token":          {cert: ca.Certificate(t, serverName), ca: ca.PEM, token: " \n", want: "token file"},
		"a token that breaks the header": {
			cert: ca.Certificate(t, serverName), ca: ca.PEM, token: "a\r\nx: b", want: "token file",
		},
		"no certificate": {cert: ca.Certificate(t, serverName), ca: []byte("nonsense"), token: "first", want: "CA file"},
	} {
		t.Run(name, func(t *testing.T) {
			c := &collectortest.Collector{Token: "first"}
			addr, _ := c.Serve(t, test.cert, "127.0.0.1:0")
			a := newAgent(t, addr, ca, nil)
			a.write(a.ca, string(test.ca))
			a.write(a.token, test.token)
			a.spool.Push(event(1))
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if _, err := a.client.stream(ctx); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the stream ended with %v, want something about %q", err, test.want)
			}
			if len(c.Events) > 0 || a.client.Connected() {
				t.Error("telemetry went to a server that is not trusted")
			}
		})
	}
}

func TestRotation(t *testing.T) {
	before, after := collectortest.NewAuthority(t), collectortest.NewAuthority(t)
	c := &collectortest.Collector{Token: "first"}
	addr, stop := c.Serve(t, before.Certificate(t, serverName), "127.0.0.1:0")
	a := newAgent(t, addr, before, nil)
	a.spool.Push(event(1))
	a.run()
	c.Wait(t, "the first event", func() bool { return len(c.Events) == 1 })
	stop()

	a.write(a.ca, string(after.PEM))
	a.write(a.token, "second")
	next := &collectortest.Collector{Token: "second"}
	next.Serve(t, after.Certificate(t, serverName), addr)
	a.spool.Push(event(2))
	a.spool.Close()
	if err := a.wait(); err != nil {
		t.Errorf("the client ended with %v", err)
	}
	if len(next.Events) == 0 || next.Events[len(next.Events)-1].GetProcess().GetPid() != 2 {
		t.Errorf("after the rotation arrived %v", next.Events)
	}
}

func TestSilentServerIsGivenUp(t *testing.T) {
	ca := collectortest.NewAuthority(t)
	c := &collectortest.Collector{Token: "first"}
	c.Before = func(*telemetryv1.Batch) (bool, error) { return false, nil }
	addr, _ := c.Serve(t, ca.Certificate(t, serverName), "127.0.0.1:0")
	a := newAgent(t, addr, ca, func(o *Options, _ *SpoolOptions) { o.AckTimeout = 300 * time.Millisecond })
	a.spool.Push(event(1))
	if welcomed, err := a.client.stream(context.Background()); !welcomed || !errors.Is(err, errOverdue) {
		t.Errorf("the stream ended with %v, %v, want %v", welcomed, err, errOverdue)
	}

	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	a = newAgent(t, mute.Addr().String(), ca, func(o *Options, _ *SpoolOptions) { o.AckTimeout = 300 * time.Millisecond })
	if _, err := a.client.stream(context.Background()); !errors.Is(err, errOverdue) {
		t.Errorf("a stream to a mute server ended with %v, want %v", err, errOverdue)
	}
}

func TestHeartbeats(t *testing.T) {
	ca := collectortest.NewAuthority(t)
	c := &collectortest.Collector{Token: "first"}
	addr, _ := c.Serve(t, ca.Certificate(t, serverName), "127.0.0.1:0")
	a := newAgent(t, addr, ca, func(o *Options, _ *SpoolOptions) { o.Heartbeat = 10 * time.Millisecond })
	a.run()
	c.Wait(t, "three heartbeats", func() bool { return len(c.Batches) >= 3 })
	for i, b := range c.Batches[:3] {
		if b.GetSequence() != uint64(i+1) || len(b.GetEvents()) > 0 || b.GetSentAt() == nil || b.GetLost() == nil {
			t.Errorf("heartbeat %d is %v", i+1, b)
		}
	}
}

func TestStopWithAServerThatIsAway(t *testing.T) {
	ca := collectortest.NewAuthority(t)
	a := newAgent(t, "127.0.0.1:1", ca, nil)
	a.spool.Push(event(1))
	a.run()
	a.spool.Close()
	a.cancel()
	if err := a.wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("the client ended with %v, want %v", err, context.Canceled)
	}
}

func TestServerAcknowledgesTooMuch(t *testing.T) {
	ca := collectortest.NewAuthority(t)
	c := &collectortest.Collector{Token: "first"}
	c.Before = func(b *telemetryv1.Batch) (bool, error) { b.Sequence += 7; return true, nil }
	addr, _ := c.Serve(t, ca.Certificate(t, serverName), "127.0.0.1:0")
	a := newAgent(t, addr, ca, nil)
	a.spool.Push(event(1))
	if _, err := a.client.stream(context.Background()); !errors.Is(err, errAck) {
		t.Errorf("the stream ended with %v, want %v", err, errAck)
	}
	if a.spool.Stats().Flight != 1 {
		t.Error("a batch was given up for a false acknowledgement")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	if _, err := New(Options{}, prometheus.NewRegistry()); err == nil || !strings.Contains(err.Error(), "Server") {
		t.Errorf("no options at all: %v", err)
	}
	_, err := New(Options{
		Server: "a:1", CAFile: "c", TokenFile: "t", Spool: newSpool(t, SpoolOptions{}), Logger: slog.New(slog.DiscardHandler),
		Hello: func() *telemetryv1.Hello { return nil }, Lost: func() *telemetryv1.Lost { return nil }, Gather: -1,
	}, prometheus.NewRegistry())
	if err == nil || !strings.Contains(err.Error(), "Gather") {
		t.Errorf("a negative duration: %v", err)
	}
}

// TestPausesDiffer: agents that have lost a server at once do not come back at once.
func TestPausesDiffer(t *testing.T) {
	pauses := map[time.Duration]bool{}
	for range 100 {
		d := jitter(time.Second)
		if d < time.Second/2 || d > time.Second {
			t.Fatalf("a pause of %v", d)
		}
		pauses[d] = true
	}
	if len(pauses) < 90 {
		t.Errorf("%d pauses of 100 differ", len(pauses))
	}
}

// TestWhatWasLostIsToldInTheEnd: it is not counted for every batch, but for the last.
func TestWhatWasLostIsToldInTheEnd(t *testing.T) {
	c := &collectortest.Collector{}
	ca := collectortest.NewAuthority(t)
	c.Token = "first"
	addr, _ := c.Serve(t, ca.Certificate(t, serverName), "127.0.0.1:0")
	var counted atomic.Uint64
	a := newAgent(t, addr, ca, func(o *Options, s *SpoolOptions) {
		s.BatchEvents = 3
		o.Lost = func() *telemetryv1.Lost { return &telemetryv1.Lost{RingFull: counted.Add(1)} }
	})
	for pid := range uint32(30) {
		a.spool.Push(event(pid + 1))
	}
	a.spool.Close()
	a.run()
	if err := a.wait(); err != nil {
		t.Fatal(err)
	}
	c.Wait(t, "all batches", func() bool { return len(c.Events) == 30 })
	last, n := c.Batches[len(c.Batches)-1].GetLost().GetRingFull(), counted.Load()
	if last != n || n >= uint64(len(c.Batches)) {
		t.Errorf("it was counted %d times, for %d batches; the last one says number %d", n, len(c.Batches), last)
	}
}
