package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"

	"github.com/portcullis-dev/portcullis/auditsink"
	"github.com/portcullis-dev/portcullis/endpoint"
	"github.com/portcullis-dev/portcullis/execsession/feed"
)

// sinkLimits leave the shedding to the sink, which answers 429 and knows what it has taken.
func sinkLimits() endpoint.Limits {
	return endpoint.Limits{
		// A batch of some MiB should not wait for the window, and its sender is known.
		ReceiveBuffer: 512 << 10,
		Streams:       250,
		Requests:      4 * auditsink.DefaultMaxRequests,
		// The sink has deadlines of its own for each: these are longer.
		ReadTimeout:  auditsink.DefaultReadTimeout + 5*time.Second,
		WriteTimeout: auditsink.DefaultReadTimeout + auditsink.DefaultIngestTimeout + 5*time.Second,
	}
}

// reviewers are limits for API servers that want a verdict, which takes webhook.DefaultTimeout at most.
func reviewers() endpoint.Limits { return endpoint.Limits{WriteTimeout: 10 * time.Second} }

// fewCallers are limits for the probes.
func fewCallers() endpoint.Limits { return endpoint.Limits{Connections: 64, Streams: 8, Requests: 16} }

// readers are limits for the metrics and the sessions. Everybody who comes by a port-forward comes from one
// address, which has half of the requests, and those who follow sessions keep theirs.
func readers() endpoint.Limits {
	return endpoint.Limits{Connections: 64, Streams: 8, Requests: 4 * (feed.DefaultMaxFollowers + feed.DefaultMaxReaders)}
}

// endpoints are those that speak HTTP; the collector has a server of its own. They are nil until they are bound.
type endpoints struct {
	health, metrics, audit, webhook *endpoint.Server
	// sessions are told by the metrics' endpoint.
	sessions *feed.Feed
}

// serving are those that bring work. The health endpoint is not among them: it answers as long as there is anything to tell.
func (e *endpoints) serving() stage {
	return stage{{"metrics", e.metrics.Run}, {"session feed", e.sessions.Run}, {"audit", e.audit.Run}, {"webhook", e.webhook.Run}}
}

// close releases the addresses of endpoints that never ran.
func (e *endpoints) close() error {
	var errs []error
	for _, bound := range []*endpoint.Server{e.health, e.metrics, e.audit, e.webhook} {
		if bound != nil {
			errs = append(errs, bound.Close())
		}
	}
	return errors.Join(errs...)
}

// buildEndpoints binds them.
func (s *Server) buildEndpoints(ctx context.Context) error {
	cfg := s.opts.Config
	sink, err := s.sinkHandler()
	if err != nil {
		return err
	}
	metrics, err := s.metricsHandler()
	if err != nil {
		return err
	}
	gate, err := s.gateHandler()
	if err != nil {
		return err
	}
	serving := s.certificates.ServerTLS()
	for _, e := range []struct {
		bound         **endpoint.Server
		name, address string
		handler       http.Handler
		tls           *tls.Config
		limits        endpoint.Limits
		brief         bool
	}{
		{&s.endpoints.health, "health", cfg.Health.Listen, s.healthHandler(), nil, fewCallers(), false},
		{&s.endpoints.metrics, "metrics", cfg.Metrics.Listen, metrics, serving, readers(), false},
		{&s.endpoints.audit, "audit", cfg.Audit.Listen, sink, s.certificates.SinkTLS(), sinkLimits(), false},
		{&s.endpoints.webhook, "webhook", cfg.Webhook.Listen, gate, s.certificates.WebhookTLS(), reviewers(), true},
	} {
		*e.bound, err = endpoint.New(ctx, endpoint.Options{
			Name: e.name, Address: e.address, Handler: e.handler, TLS: e.tls, Limits: e.limits, Brief: e.brief,
			Drain: stopLimit - time.Second, Logger: s.logger(e.name), Registerer: s.opts.Registry,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) sinkHandler() (http.Handler, error) {
	rejects, err := auditsink.OpenRejects(auditsink.RejectsOptions{
		Dir:        filepath.Join(s.opts.Config.DataDirectory, "rejects"),
		Told:       s.oversight.rejected,
		Logger:     s.logger("auditsink"),
		Registerer: s.opts.Registry,
	})
	if err != nil {
		return nil, err
	}
	s.oversight.rejects = rejects
	handler, err := auditsink.New(auditsink.Options{
		Pipeline:     s.pipeline,
		Rejects:      rejects,
		Tokens:       s.certificates,
		Logger:       s.logger("auditsink"),
		Registerer:   s.opts.Registry,
		Clock:        s.clock.Now,
		MaxBodyBytes: int64(s.opts.Config.Audit.MaxBodyMegabytes) << 20,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle(auditsink.PathPrefix, handler)
	return mux, nil
}

// metricsHandler lets those read the metrics whom the cluster's RBAC lets get
// the non-resource URL /metrics, and those the sessions whom it lets get /sessions.
func (s *Server) metricsHandler() (http.Handler, error) {
	httpClient, err := rest.HTTPClientFor(s.opts.REST)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	filter, err := filters.WithAuthenticationAndAuthorization(s.opts.REST, httpClient)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	s.endpoints.sessions, err = feed.New(feed.Options{Sessions: s.sessions, Logger: s.logger("session feed"), Registerer: s.opts.Registry})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+feed.Path, s.endpoints.sessions)
	mux.Handle("GET "+feed.Path+"/", s.endpoints.sessions)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.opts.Registry, promhttp.HandlerOpts{
		// A broken collector must not take all other metrics with it.
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
		Timeout:             10 * time.Second,
	}))
	return filter(logr.FromSlogHandler(s.logger("metrics").Handler()), mux)
}

// healthHandler answers the kubelet. That the process is alive depends on nothing: to start it
// again would mend no disk and no API server, and would open the gate meanwhile.
func (s *Server) healthHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}
