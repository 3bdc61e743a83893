package endpoint

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a Server that serves on loopback with TLS.
type rig struct {
	t      testing.TB
	server *Server
	url    string
	roots  *x509.CertPool
	ca     []byte
	// stop ends Run and returns its result.
	stop func() error
}

func serve(t testing.TB, handler http.Handler, change func(*Options)) *rig {
	t.Helper()
	// The certificate that httptest has for 127.0.0.1.
	lender := httptest.NewUnstartedServer(nil)
	lender.StartTLS()
	defer lender.Close()
	r := &rig{t: t, roots: x509.NewCertPool()}
	r.roots.AddCert(lender.Certificate())
	r.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: lender.Certificate().Raw})
	opts := Options{
		Name: "test", Address: "127.0.0.1:0", Handler: handler,
		TLS:    &tls.Config{Certificates: lender.TLS.Certificates, MinVersion: tls.VersionTLS13},
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	}
	if change != nil {
		change(&opts)
	}
	var err error
	if r.server, err = New(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	r.url = "https://" + r.server.Address().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.server.Run(ctx) }()
	r.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = r.stop() })
	return r
}

// client calls from a loopback address.
func (r *rig) client(from string) *http.Client {
	r.t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	transport := &http.Transport{
		ForceAttemptHTTP2: true, DialContext: dialer.DialContext,
		TLSClientConfig: &tls.Config{RootCAs: r.roots, MinVersion: tls.VersionTLS13},
	}
	r.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// get wants an answer.
func (r *rig) get(c *http.Client, status int) {
	r.t.Helper()
	resp, err := c.Get(r.url)
	if err != nil {
		r.t.Fatalf("get: %v", err)
	}
	resp.Body.Close()
	if resp.StatusCode != status {
		r.t.Fatalf("answered %s, want %d", resp.Status, status)
	}
}

// dial connects from a loopback address and says nothing.
func (r *rig) dial(from string) net.Conn {
	r.t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := dialer.DialContext(r.t.Context(), "tcp", r.server.Address().String())
	if err != nil {
		r.t.Fatalf("dial: %v", err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

// handshake connects with TLS, for a protocol.
func (r *rig) handshake(from, protocol string) *tls.Conn {
	r.t.Helper()
	c := tls.Client(r.dial(from), &tls.Config{
		RootCAs: r.roots, ServerName: "127.0.0.1", NextProtos: []string{protocol}, MinVersion: tls.VersionTLS13,
	})
	if err := c.HandshakeContext(r.t.Context()); err != nil {
		r.t.Fatalf("handshake: %v", err)
	}
	return c
}

// ended waits until the other side has closed the connection.
func ended(t testing.TB, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for {
		_, err := c.Read(buf)
		if ne, ok := err.(net.Error); ok && ne.Timeout() { //nolint:errorlint // as net documents it
			t.Fatal("the server keeps the connection")
		}
		if err != nil {
			return
		}
	}
}

func ok(http.ResponseWriter, *http.Request) {}
