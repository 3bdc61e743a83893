package serverprocess

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/portcullis-dev/portcullis/canary"
	"github.com/portcullis-dev/portcullis/pki"
	"github.com/portcullis-dev/portcullis/test/standalone"
)

// gateway is the load balancer in front of a control plane. Behind it is the real API server; but a
// canary is answered in the name of each APIServer in turn, which also delivers the audit event of it,
// stamped by its own clock. Thus the server measures clocks that nobody has set wrong.
type gateway struct {
	url     string
	ca      []byte
	proxy   *httputil.ReverseProxy
	servers []*APIServer
	turn    atomic.Uint64

	// ctx ends the deliveries.
	ctx        context.Context
	deliveries sync.WaitGroup
}

func (s *Site) openGateway(t standalone.TB, machines []APIServerOptions, watchLag time.Duration) {
	t.Helper()
	if len(machines) == 0 && watchLag == 0 {
		return
	}
	ca, err := pki.NewCA("control plane", time.Now().Add(-time.Hour), tokenLife)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.IssueServer("gateway", []string{"127.0.0.1", "kubernetes.default.svc"}, time.Now(), tokenLife)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	g := &gateway{url: "https://" + listener.Addr().String(), ca: ca.Bundle().PEM(), proxy: s.reverseProxy(t), ctx: ctx}
	for _, m := range machines {
		g.servers = append(g.servers, s.servers[m.Name])
	}
	if watchLag > 0 {
		g.proxy.ModifyResponse = lagging{by: watchLag, running: &g.deliveries}.modify
	}
	server := &http.Server{
		Handler: g, ReadHeaderTimeout: requestTimeout, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("gateway: %v", err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = server.Close()
		<-done
		g.deliveries.Wait()
	})
	s.gateway = g
}

// reverseProxy leads to the real API server, without a credential of its own.
func (s *Site) reverseProxy(t standalone.TB) *httputil.ReverseProxy {
	t.Helper()
	target, err := url.Parse(s.API.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(rest.AnonymousClientConfig(s.API.Config))
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1, // watches
		ErrorLog:      slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		ErrorHandler:  func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
}

// ServeHTTP implements http.Handler.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if len(g.servers) == 0 || !strings.HasPrefix(r.UserAgent(), canary.UserAgentPrefix) {
		g.proxy.ServeHTTP(w, r)
		return
	}
	turn := g.turn.Add(1)
	by := g.servers[int(turn%uint64(len(g.servers)))] //nolint:gosec // a few
	received := by.Now()
	g.proxy.ServeHTTP(w, r)
	body, err := json.Marshal(canaryEvent(r, received, by.Now()))
	if err != nil {
		panic(err) // a constant shape
	}
	g.deliveries.Go(func() {
		// What a stopping test leaves undelivered is nobody's loss.
		_ = by.Deliver(g.ctx, body)
	})
}

// canaryEvent is what an API server records of the request.
func canaryEvent(r *http.Request, received, answered time.Time) *auditv1.EventList {
	return &auditv1.EventList{
		TypeMeta: metav1.TypeMeta{Kind: "EventList", APIVersion: "audit.k8s.io/v1"},
		Items: []auditv1.Event{{
			Level: auditv1.LevelMetadata, AuditID: types.UID("canary-" + received.Format(time.RFC3339Nano)), Stage: auditv1.StageResponseComplete,
			RequestURI: r.RequestURI, Verb: "get", UserAgent: r.UserAgent(), SourceIPs: []string{"127.0.0.1"},
			ResponseStatus:           &metav1.Status{Code: http.StatusOK},
			RequestReceivedTimestamp: metav1.NewMicroTime(received),
			StageTimestamp:           metav1.NewMicroTime(answered),
		}},
	}
}
