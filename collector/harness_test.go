package collector

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tokens is an Authenticator: a token is its node's name.
type tokens struct{}

func (tokens) Authenticate(_ context.Context, token string) (Agent, error) {
	switch token {
	case "bad":
		return Agent{}, fmt.Errorf("%w: it is bad", ErrRefused)
	case "broken":
		return Agent{}, errors.New("the API server is away")
	case "nodeless":
		return Agent{}, nil
	}
	return Agent{Node: token, PodName: "agent-of-" + token}, nil
}

// placement is a Placement.
type placement map[string]string

func (p placement) RunsOn(uid, node string) (runs, known bool) {
	at, known := p[uid]
	return at == node, known && at != ""
}

// pipeline records what it is given and answers as it is told.
type pipeline struct {
	mu     sync.Mutex
	answer func(context.Context, []*event.Event) error
	events []*event.Event
}

func (p *pipeline) Ingest(ctx context.Context, events []*event.Event) error {
	p.mu.Lock()
	answer := p.answer
	p.mu.Unlock()
	if answer != nil {
		if err := answer(ctx, events); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, events...)
	return nil
}

func (p *pipeline) answers(f func(context.Context, []*event.Event) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = f
}

func (p *pipeline) ids() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	ids := make([]string, len(p.events))
	for i, e := range p.events {
		ids[i] = e.ID
	}
	return ids
}

type busyError struct{}

func (busyError) Error() string { return "queue is full" }
func (busyError) Busy() bool    { return true }

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// rig is a Server that serves on loopback with TLS.
type rig struct {
	t        testing.TB
	server   *Server
	pipeline *pipeline
	log      *syncBuffer
	address  string
	ca       *pki.CA
	// stop ends Serve; stopped gets its result.
	stop    func()
	stopped chan error
}

func newRig(t testing.TB, change func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, pipeline: &pipeline{}, log: &syncBuffer{}, stopped: make(chan error, 1)}
	var err error
	if r.ca, err = pki.NewCA("test", time.Now(), time.Hour); err != nil {
		t.Fatal(err)
	}
	pair, err := r.ca.IssueServer("collector", []string{"127.0.0.1"}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{
		Pipeline: r.pipeline, Authenticator: tokens{}, Placement: placement{"elsewhere": "node-2", "here": "node-1", "nowhere": ""},
		TLS:        &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}},
		Logger:     slog.New(slog.NewJSONHandler(r.log, nil)),
		Registerer: prometheus.NewRegistry(), Clock: time.Now,
	}
	if change != nil {
		change(&opts)
	}
	if r.server, err = New(opts); err != nil {
		t.Fatalf("new: %v", err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.address = lis.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.stopped <- r.server.Serve(ctx, lis) }()
	t.Cleanup(func() {
		cancel()
		if err := <-r.stopped; err != nil {
			t.Errorf("serve: %v", err)
		}
		r.stopped <- nil
	})
	return r
}

// client is an agent's end of a stream.
type client struct {
	t      testing.TB
	stream grpc.BidiStreamingClient[telemetryv1.AgentMessage, telemetryv1.ServerMessage]
	cancel func()
}

func (r *rig) connect(roots *x509.CertPool, authorization ...string) *client {
	r.t.Helper()
	c, err := r.tryConnect(roots, authorization...)
	if err != nil {
		r.t.Fatalf("open stream: %v", err)
	}
	return c
}

func (r *rig) tryConnect(roots *x509.CertPool, authorization ...string) (*client, error) {
	r.t.Helper()
	conn, err := grpc.NewClient(r.address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots,
	})))
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	r.t.Cleanup(func() {
		cancel()
		_ = conn.Close()
	})
	md := metadata.MD{}
	md.Append("authorization", authorization...)
	stream, err := telemetryv1.NewCollectorClient(conn).Stream(metadata.NewOutgoingContext(ctx, md))
	return &client{t: r.t, stream: stream, cancel: cancel}, err
}

// dial opens a stream without greeting.
func (r *rig) dial(node string) *client {
	r.t.Helper()
	return r.connect(r.ca.Bundle().Pool(), "Bearer "+node)
}

// agent opens a stream and greets.
func (r *rig) agent(node, session string) *client {
	r.t.Helper()
	c := r.dial(node)
	c.hello(session)
	if c.recv().GetWelcome() == nil {
		r.t.Fatal("the first answer is no Welcome")
	}
	return c
}

func (c *client) hello(session string) {
	c.t.Helper()
	c.send(&telemetryv1.AgentMessage{Message: &telemetryv1.AgentMessage_Hello{Hello: &telemetryv1.Hello{
		AgentVersion: "v0", SessionId: session, BootId: "b", SentAt: timestamppb.Now(),
		Coverage: []*telemetryv1.Capability{{Name: "exec", Available: true, Complete: true}, {Name: "token-open", Detail: "no fentry here"}},
	}}})
}

func (c *client) send(m *telemetryv1.AgentMessage) {
	c.t.Helper()
	if err := c.stream.Send(m); err != nil && !errors.Is(err, io.EOF) {
		c.t.Fatalf("send: %v", err)
	}
}

func (c *client) batch(b *telemetryv1.Batch) {
	c.t.Helper()
	c.send(&telemetryv1.AgentMessage{Message: &telemetryv1.AgentMessage_Batch{Batch: b}})
}

func (c *client) recv() *telemetryv1.ServerMessage {
	c.t.Helper()
	m, err := c.stream.Recv()
	if err != nil {
		c.t.Fatalf("receive: %v", err)
	}
	return m
}

// acked waits for an acknowledgement of that number.
func (c *client) acked(sequence uint64) {
	c.t.Helper()
	if got := c.recv().GetAck().GetSequence(); got != sequence {
		c.t.Fatalf("acknowledged %d, want %d", got, sequence)
	}
}

// ended waits for the stream's end, skipping what comes before it.
func (c *client) ended(code codes.Code) string {
	c.t.Helper()
	for {
		_, err := c.stream.Recv()
		if err == nil {
			continue
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		if status.Code(err) != code {
			c.t.Fatalf("ended with %v, want %s", err, code)
		}
		return status.Convert(err).Message()
	}
}

var happened = time.Now().Add(-time.Second).UTC().Truncate(time.Microsecond)

// exec is an event of that number, in a pod.
func exec(sequence uint64, pod string) *telemetryv1.Event {
	return &telemetryv1.Event{
		Sequence: sequence, Time: timestamppb.New(happened),
		Container: &telemetryv1.Container{Id: "c1", PodUid: pod},
		Process:   &telemetryv1.Process{Pid: 7, Name: "sh"},
		What:      &telemetryv1.Event_Exec{Exec: &telemetryv1.ProcessExec{}},
	}
}

func batchOf(sequence uint64, events ...*telemetryv1.Event) *telemetryv1.Batch {
	return &telemetryv1.Batch{Sequence: sequence, Events: events}
}

// brokenListener cannot accept.
type brokenListener struct{}

func (brokenListener) Accept() (net.Conn, error) { return nil, errors.New("no more sockets") }
func (brokenListener) Close() error              { return nil }
func (brokenListener) Addr() net.Addr            { return &net.TCPAddr{} }
