package serverprocess

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/portcullis-dev/portcullis/auditsink"
	"github.com/portcullis-dev/portcullis/pki"
	"github.com/portcullis-dev/portcullis/test/standalone"
)

// The pauses of an API server between two tries. The real one's begin with 10 s: a test has no time for that.
const (
	minPause = 50 * time.Millisecond
	maxPause = time.Second
)

// requestTimeout is that of an API server, which is in the URL as well.
const requestTimeout = 30 * time.Second

// certify makes the authorities, as portcullisctl does where the server has not run yet.
func (s *Site) certify(t standalone.TB) {
	t.Helper()
	var err error
	s.store, err = pki.NewStore(pki.StoreOptions{
		Client: s.Objects, Namespace: Namespace, ServingSecret: s.Config.PKI.ServingSecret, SinkCASecret: s.Config.PKI.SinkCASecret,
		Clock: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	serving, err := s.store.EnsureServing(t.Context(), s.Config.PKI.ExtraNames)
	if err != nil {
		t.Fatalf("the server's certificate: %v", err)
	}
	sink, err := s.store.EnsureSink(t.Context(), s.Config.PKI.ExtraNames)
	if err != nil {
		t.Fatalf("the sink's certificate: %v", err)
	}
	s.trust = slices.Concat(serving.Trust, sink.Trust)
	s.write(t, "ca.crt", serving.Trust.PEM())
}

// APIServerOptions describe a machine of the control plane that a test plays.
type APIServerOptions struct {
	// Name is that of its sink path and its certificate.
	Name string
	// Ahead is how far its clock is ahead of ours.
	Ahead time.Duration
}

// APIServer posts audit events as an API server does. It may be used concurrently.
type APIServer struct {
	Name string

	ahead  atomic.Int64
	url    string
	client *http.Client
	stats  struct{ posts, refused, failed atomic.Int64 }
}

// APIServer returns one of Options.APIServers.
func (s *Site) APIServer(name string) *APIServer { return s.servers[name] }

func (s *Site) newAPIServer(t standalone.TB, opts APIServerOptions) *APIServer {
	t.Helper()
	pair, err := s.store.IssueSinkClient(t.Context(), opts.Name, tokenLife)
	if err != nil {
		t.Fatalf("certificate of API server %s: %v", opts.Name, err)
	}
	cert, err := pair.TLS()
	if err != nil {
		t.Fatalf("certificate of API server %s: %v", opts.Name, err)
	}
	transport := &http.Transport{
		ForceAttemptHTTP2: true, DisableCompression: true, TLSHandshakeTimeout: requestTimeout,
		TLSClientConfig: &tls.Config{RootCAs: s.trust.Pool(), Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
	}
	t.Cleanup(transport.CloseIdleConnections)
	a := &APIServer{
		Name:   opts.Name,
		url:    "https://" + s.Config.Audit.Listen + auditsink.PathPrefix + opts.Name + "?timeout=30s",
		client: &http.Client{Transport: transport, Timeout: requestTimeout},
	}
	a.SetAhead(opts.Ahead)
	return a
}

// Now is its clock.
func (a *APIServer) Now() time.Time { return time.Now().Add(a.Ahead()) }

// Ahead is how far its clock is ahead of ours.
func (a *APIServer) Ahead() time.Duration { return time.Duration(a.ahead.Load()) }

// SetAhead sets its clock. The server learns of that with the next canary.
func (a *APIServer) SetAhead(d time.Duration) { a.ahead.Store(int64(d)) }

// Deliver posts one EventList until it is acknowledged, with a pause between two tries. The error is that of ctx.
func (a *APIServer) Deliver(ctx context.Context, body []byte) error {
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		err := a.Post(ctx, body)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("deliver to %s: %w", a.url, errors.Join(ctx.Err(), err))
		case <-time.After(pause):
		}
	}
}

// Post posts one EventList once. Nil means that it was acknowledged.
func (a *APIServer) Post(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, */*")
	a.stats.posts.Add(1)
	resp, err := a.client.Do(req)
	if err != nil {
		a.stats.failed.Add(1)
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		a.stats.failed.Add(1)
		return err
	}
	if resp.StatusCode/100 != 2 {
		a.stats.refused.Add(1)
		return fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(text))
	}
	return nil
}

// Posts returns how many requests it made, how many of them were refused (429 and the like), and how many got no answer.
func (a *APIServer) Posts() (made, refused, failed int64) {
	return a.stats.posts.Load(), a.stats.refused.Load(), a.stats.failed.Load()
}
