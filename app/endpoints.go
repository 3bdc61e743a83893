package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"

	"github.com/portcullis-dev/portcullis/auditsink"
)

// buildEndpoints binds what is plain HTTP inside; collector and webhook have servers of their own.
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
	for _, e := range []struct {
		name, address string
		handler       http.Handler
		tls           *tls.Config
	}{
		{"audit", cfg.Audit.Listen, sink, s.certificates.SinkTLS()},
		{"metrics", cfg.Metrics.Listen, metrics, s.certificates.ServerTLS()},
		{"health", cfg.Health.Listen, s.healthHandler(), nil},
	} {
		bound, err := newEndpoint(ctx, e.name, e.address, e.handler, e.tls, s.opts.Logger)
		if err != nil {
			return err
		}
		s.endpoints = append(s.endpoints, bound)
	}
	return nil
}

func (s *Server) sinkHandler() (http.Handler, error) {
	rejects, err := auditsink.OpenRejects(auditsink.RejectsOptions{
		Dir:        filepath.Join(s.opts.Config.DataDirectory, "rejects"),
		Logger:     s.logger("auditsink"),
		Registerer: s.opts.Registry,
	})
	if err != nil {
		return nil, err
	}
	handler, err := auditsink.New(auditsink.Options{
		Pipeline:   s.pipeline,
		Rejects:    rejects,
		Logger:     s.logger("auditsink"),
		Registerer: s.opts.Registry,
		Clock:      time.Now,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle(auditsink.PathPrefix, handler)
	return mux, nil
}

// metricsHandler lets those read the metrics whom the cluster's RBAC lets get
// the non-resource URL /metrics.
func (s *Server) metricsHandler() (http.Handler, error) {
	httpClient, err := rest.HTTPClientFor(s.opts.REST)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	filter, err := filters.WithAuthenticationAndAuthorization(s.opts.REST, httpClient)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.opts.Registry, promhttp.HandlerOpts{
		// A broken collector must not take all other metrics with it.
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
		Timeout:             10 * time.Second,
	}))
	return filter(logr.FromSlogHandler(s.logger("metrics").Handler()), mux)
}

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
