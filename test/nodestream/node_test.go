package nodestream

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/agent"
	"github.com/portcullis-dev/portcullis/agent/bpf"
	"github.com/portcullis-dev/portcullis/agent/kerneltest"
	"github.com/portcullis-dev/portcullis/agent/session"
	"github.com/portcullis-dev/portcullis/agent/transport"
	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
	"github.com/portcullis-dev/portcullis/collector"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/pki"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// nodeName is that of the one node.
const nodeName = "node-1"

// anybody is an Authenticator that believes everybody to be the node's agent, and a Placement that knows of one pod that it
// runs on another node.
type anybody struct{}

const theirPod = "of-another-node"

func (anybody) Authenticate(context.Context, string) (collector.Agent, error) {
	return collector.Agent{Node: nodeName}, nil
}

func (anybody) RunsOn(uid, _ string) (runs, known bool) { return false, uid == theirPod }

// pipeline keeps what it is handed.
type pipeline struct {
	mu      sync.Mutex
	changed chan struct{}
	events  []*event.Event
	// before is called before events are taken, if it is set.
	before func()
}

func newPipeline() *pipeline { return &pipeline{changed: make(chan struct{})} }

func (p *pipeline) Ingest(_ context.Context, events []*event.Event) error {
	p.mu.Lock()
	before := p.before
	p.mu.Unlock()
	if before != nil {
		before()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, events...)
	close(p.changed)
	p.changed = make(chan struct{})
	return nil
}

func (p *pipeline) all() []*event.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.events)
}

// executed is the exec of a command line that has such an argument, if it is there.
func (p *pipeline) executed(arg string) *event.Event {
	events := p.all()
	at := slices.IndexFunc(events, func(e *event.Event) bool {
		return slices.Equal(e.Action, []string{"exec"}) && slices.Contains(e.Process.Args, arg)
	})
	if at < 0 {
		return nil
	}
	return events[at]
}

// await waits for that.
func (p *pipeline) await(tb testing.TB, arg string) *event.Event {
	tb.Helper()
	timeout := time.After(kerneltest.Patience())
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		if e := p.executed(arg); e != nil {
			return e
		}
		select {
		case <-changed:
		case <-timeout:
			tb.Fatalf("the exec of %s never came", arg)
		}
	}
}

// place is where the server is, and how to trust it.
type place struct {
	tb                 testing.TB
	address, ca, token string
	// spool is a directory for what agents cannot send.
	spool string
	tls   *tls.Config
}

func newPlace(tb testing.TB) *place {
	tb.Helper()
	now := time.Now()
	ca, err := pki.NewCA("test", now, time.Hour)
	if err != nil {
		tb.Fatal(err)
	}
	pair, err := ca.IssueServer("collector", []string{"127.0.0.1"}, now, time.Hour)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := pair.TLS()
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	p := &place{
		tb: tb, spool: tb.TempDir(), ca: filepath.Join(dir, "ca.crt"), token: filepath.Join(dir, "token"),
		tls: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}},
	}
	for name, content := range map[string][]byte{p.ca: ca.Bundle().PEM(), p.token: []byte("token")} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return p
}

// serve starts a server, which ends with the test or by stop.
func (p *place) serve(to *pipeline) (server *collector.Server, stop func()) {
	p.tb.Helper()
	server, err := collector.New(collector.Options{
		Pipeline: to, Authenticator: anybody{}, Placement: anybody{}, TLS: p.tls,
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), Clock: time.Now,
	})
	if err != nil {
		p.tb.Fatal(err)
	}
	at := p.address
	if at == "" {
		at = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", at)
	if err != nil {
		p.tb.Fatal(err)
	}
	p.address = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, listener) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			p.tb.Error(err)
		}
	})
	p.tb.Cleanup(stop)
	return server, stop
}

// client makes the sending half of an agent, with a spool.
func (p *place) client(boot, sessionID string, spool *transport.Spool, change func(*transport.Options)) *transport.Client {
	p.tb.Helper()
	opts := transport.Options{
		Server: p.address, CAFile: p.ca, TokenFile: p.token, Spool: spool, Logger: slog.New(slog.DiscardHandler),
		Hello:      func() *telemetryv1.Hello { return &telemetryv1.Hello{SessionId: sessionID, BootId: boot} },
		Lost:       func() *telemetryv1.Lost { return &telemetryv1.Lost{} },
		MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond,
	}
	if change != nil {
		change(&opts)
	}
	client, err := transport.New(opts, prometheus.NewRegistry())
	if err != nil {
		p.tb.Fatal(err)
	}
	return client
}

// node runs a whole agent until the test ends.
func (p *place) node() {
	p.tb.Helper()
	kerneltest.RequireRoot(p.tb)
	logger := slog.New(slog.DiscardHandler)
	programs, err := bpf.Load(bpf.Options{Logger: logger})
	if err != nil {
		p.tb.Fatal(err)
	}
	boot, err := agent.BootID()
	if err != nil {
		p.tb.Fatal(err)
	}
	spool, err := transport.NewSpool(transport.SpoolOptions{})
	if err != nil {
		p.tb.Fatal(err)
	}
	a, err := agent.New(agent.Options{Programs: programs, BootID: boot, Sink: spool, Logger: logger, Registerer: prometheus.NewRegistry()})
	if err != nil {
		p.tb.Fatal(err)
	}
	ender, err := session.New(session.Options{
		Table: programs, Container: a.Container, First: a.First, BootID: boot, Logger: logger, Patience: kerneltest.Patience(),
	})
	if err != nil {
		p.tb.Fatal(err)
	}
	client := p.client(boot, rand.Text(), spool, func(o *transport.Options) {
		o.Lost, o.Flush = a.Lost, a.Flush
		o.Command = func(ctx context.Context, command *telemetryv1.Command) *telemetryv1.CommandResult {
			return ender.End(ctx, command.GetEndSession())
		}
	})
	watching, stop := context.WithCancel(context.Background())
	sending, cut := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- a.Run(watching) }()
	go func() { done <- client.Run(sending) }()
	p.tb.Cleanup(func() {
		stop()
		overdue := time.AfterFunc(5*time.Second, cut)
		defer overdue.Stop()
		if err := errors.Join(<-done, <-done); err != nil {
			p.tb.Error(err)
		}
		cut()
		if err := programs.Close(); err != nil {
			p.tb.Error(err)
		}
	})
}

// connected waits until the server has the agent's stream.
func connected(tb testing.TB, server *collector.Server) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), kerneltest.Patience())
	defer cancel()
	for {
		err := server.Flush(ctx, nodeName)
		if err == nil {
			return
		}
		if !errors.Is(err, collector.ErrNotConnected) {
			tb.Fatal(err)
		}
		time.Sleep(time.Millisecond) // the server tells nobody who connects
	}
}

// mark is a word that no other command line has.
func mark(tb testing.TB) string {
	tb.Helper()
	return strings.ToLower(rand.Text())[:12]
}
