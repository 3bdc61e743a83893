package webhook_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/webhook"
)

// certificate is a server's certificate for 127.0.0.1 and a client that trusts it.
func certificate(t testing.TB) (*tls.Config, *http.Client) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12}, &http.Client{Transport: transport}
}

// serve runs a Server until stop, which returns what Run did.
func serve(t testing.TB, h http.Handler, change ...func(*webhook.ServerOptions)) (client *http.Client, url string, stop func() error) {
	t.Helper()
	config, client := certificate(t)
	opts := webhook.ServerOptions{Address: "127.0.0.1:0", TLS: config, Handler: h, Logger: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&opts)
	}
	s, err := webhook.NewServer(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var runErr error
	done := make(chan struct{})
	go func() { runErr = s.Run(ctx); close(done) }()
	stop = sync.OnceValue(func() error {
		cancel()
		<-done
		client.CloseIdleConnections()
		return runErr
	})
	t.Cleanup(func() { _ = stop() })
	return client, "https://" + s.Address().String() + "/admit?timeout=5s", stop
}

func TestRequestsInFlightFinish(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	h, _ := newHandler(t, func(ctx context.Context, _ webhook.Request) (webhook.Verdict, error) {
		close(entered)
		select {
		case <-leave:
			return webhook.Verdict{Message: "no"}, nil
		case <-ctx.Done():
			return webhook.Verdict{}, ctx.Err()
		}
	})
	client, url, stop := serve(t, h)
	body := sample(t, "exec")
	answer := make(chan string, 1)
	go func() {
		resp, err := client.Post(url, "application/json", bytes.NewReader(body))
		if err != nil {
			answer <- err.Error()
			return
		}
		resp.Body.Close()
		answer <- resp.Proto + " " + resp.Status
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	// The listener closes first: as soon as nobody can connect, the server is draining.
	for {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(strings.Split(url, "/admit")[0], "https://"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			break
		}
		conn.Close()
	}
	select {
	case err := <-stopped:
		t.Fatalf("stopped with a request in flight: %v", err)
	default:
	}
	close(leave)
	if got := <-answer; got != "HTTP/2.0 200 OK" {
		t.Errorf("the request in flight got %q", got)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Run says %v", err)
	}
}

func TestRequestsThatDoNotFinishAreCutOff(t *testing.T) {
	entered := make(chan struct{})
	h, _ := newHandler(t, func(ctx context.Context, _ webhook.Request) (webhook.Verdict, error) {
		close(entered)
		<-ctx.Done()
		return webhook.Verdict{}, ctx.Err()
	})
	client, url, stop := serve(t, h, func(o *webhook.ServerOptions) { o.DrainTimeout = 10 * time.Millisecond })
	go func() {
		resp, err := client.Post(url, "application/json", bytes.NewReader(sample(t, "exec")))
		if err == nil {
			resp.Body.Close()
		}
	}()
	<-entered
	if err := stop(); err == nil || !strings.Contains(err.Error(), "drain") {
		t.Errorf("Run says %v, want that a request did not finish", err)
	}
}

func TestConnectionsEndGracefully(t *testing.T) {
	h, _ := newHandler(t, allow)
	for age, wantReused := range map[time.Duration]bool{time.Nanosecond: false, time.Hour: true} {
		client, url, _ := serve(t, h, func(o *webhook.ServerOptions) { o.ConnAge = age })
		reused := 0
		for range 5 {
			trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
				if i.Reused {
					reused++
				}
			}}
			ctx := httptrace.WithClientTrace(t.Context(), trace)
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(sample(t, "exec")))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			resp, err := client.Do(r)
			if err != nil {
				t.Fatalf("a connection that ended took a request with it: %v", err)
			}
			resp.Body.Close()
		}
		// The client may have sent a request before it read of the connection's end.
		if (reused == 4) != wantReused {
			t.Errorf("with connections of %v, %d of 4 were used again", age, reused)
		}
	}
}

func TestServerOptions(t *testing.T) {
	_, err := webhook.NewServer(t.Context(), webhook.ServerOptions{Address: "127.0.0.1:0"})
	if err == nil || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("NewServer says %v, which does not name TLS", err)
	}
	config, _ := certificate(t)
	_, err = webhook.NewServer(t.Context(), webhook.ServerOptions{
		Address: "256.0.0.1:0", TLS: config, Handler: http.NotFoundHandler(), Logger: slog.New(slog.DiscardHandler),
	})
	if err == nil || !strings.Contains(err.Error(), "listen") {
		t.Errorf("NewServer says %v about an address that cannot be", err)
	}
}
