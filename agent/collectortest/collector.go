// Package collectortest is a server for the tests of the agent: it speaks the
// real protocol over real TLS, and answers as a test wants it to.
package collectortest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// patience is how long something may take that must come.
const patience = 20 * time.Second

// Authority signs servers' certificates.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	// PEM is its certificate.
	PEM []byte
}

// NewAuthority makes one that nobody else trusts.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &Authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// Certificate makes a server's certificate.
func (a *Authority) Certificate(t testing.TB, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Collector is a server that a test directs.
type Collector struct {
	telemetryv1.UnimplementedCollectorServer
	// Token is the one that it accepts.
	Token string
	// Before is asked about every batch, if it is set: an error ends the stream,
	// false keeps the acknowledgement back.
	Before func(*telemetryv1.Batch) (bool, error)

	sending sync.Mutex
	stream  stream // the last that was opened, guarded by mu

	mu      sync.Mutex
	changed chan struct{}
	// What came, in order. Read it in Wait, or when no client runs.
	Hellos  []*telemetryv1.Hello
	Batches []*telemetryv1.Batch
	Events  []*telemetryv1.Event
	Results []*telemetryv1.CommandResult
}

type stream = grpc.BidiStreamingServer[telemetryv1.AgentMessage, telemetryv1.ServerMessage]

// send sends on a stream. Acknowledgements and commands come from different goroutines.
func (c *Collector) send(s stream, m *telemetryv1.ServerMessage) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	return s.Send(m)
}

// Send sends a command on the stream that was opened last.
func (c *Collector) Send(t testing.TB, command *telemetryv1.Command) {
	t.Helper()
	c.mu.Lock()
	s := c.stream
	c.mu.Unlock()
	if err := c.send(s, &telemetryv1.ServerMessage{Message: &telemetryv1.ServerMessage_Command{Command: command}}); err != nil {
		t.Fatal(err)
	}
}

// Ask sends a command on the stream that was opened last, and waits for its answer.
func (c *Collector) Ask(t testing.TB, command *telemetryv1.Command) *telemetryv1.CommandResult {
	t.Helper()
	c.Send(t, command)
	var result *telemetryv1.CommandResult
	c.Wait(t, "an answer", func() bool {
		for _, r := range c.Results {
			if r.GetId() == command.GetId() {
				result = r
			}
		}
		return result != nil
	})
	return result
}

// Stream implements the protocol.
func (c *Collector) Stream(s stream) error {
	md, _ := metadata.FromIncomingContext(s.Context())
	if got := strings.Join(md.Get("authorization"), ","); got != "Bearer "+c.Token {
		return status.Errorf(codes.Unauthenticated, "the token is %q", got)
	}
	m, err := s.Recv()
	if err != nil {
		return err
	}
	if m.GetHello() == nil {
		return status.Error(codes.InvalidArgument, "no greeting")
	}
	if err := c.send(s, &telemetryv1.ServerMessage{Message: &telemetryv1.ServerMessage_Welcome{Welcome: &telemetryv1.Welcome{}}}); err != nil {
		return err
	}
	c.note(func() { // Now there may be commands: the welcome comes before them.
		c.Hellos = append(c.Hellos, m.GetHello())
		c.stream = s
	})
	for {
		m, err := s.Recv()
		if err != nil {
			return err
		}
		if r := m.GetResult(); r != nil {
			c.note(func() { c.Results = append(c.Results, r) })
			continue
		}
		if m.GetPong() != nil {
			continue
		}
		b := m.GetBatch()
		ack := true
		if c.Before != nil {
			if ack, err = c.Before(b); err != nil {
				return err
			}
		}
		c.note(func() {
			c.Batches = append(c.Batches, b)
			c.Events = append(c.Events, b.GetEvents()...)
		})
		if !ack {
			continue
		}
		err = c.send(s, &telemetryv1.ServerMessage{Message: &telemetryv1.ServerMessage_Ack{Ack: &telemetryv1.Ack{Sequence: b.GetSequence()}}})
		if err != nil {
			return err
		}
	}
}

func (c *Collector) note(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	if c.changed != nil {
		close(c.changed)
	}
	c.changed = make(chan struct{})
}

// Wait waits until something is true of the collector.
func (c *Collector) Wait(t testing.TB, what string, is func() bool) {
	t.Helper()
	timeout := time.After(patience)
	for {
		c.mu.Lock()
		if c.changed == nil {
			c.changed = make(chan struct{})
		}
		ok, changed := is(), c.changed
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("the collector never had %s", what)
		}
	}
}

// Serve runs the collector until the test ends or stop is called.
func (c *Collector) Serve(t testing.TB, cert tls.Certificate, address string) (addr string, stop func()) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
	telemetryv1.RegisterCollectorServer(server, c)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	stop = sync.OnceFunc(func() { server.Stop(); <-done })
	t.Cleanup(stop)
	return l.Addr().String(), stop
}
