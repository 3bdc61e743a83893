package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// health serves /healthz, /readyz and /metrics. Coverage that is partial is no
// reason to be unhealthy, and is said.
type health struct {
	listener net.Listener
	server   *http.Server
	logger   *slog.Logger
}

// newHealth listens at once, so that an address that is taken is an error at
// the start. An empty address makes a health that serves nothing.
func newHealth(ctx context.Context, address string, logger *slog.Logger, registry *prometheus.Registry, coverage string, ready func() error) (*health, error) {
	if address == "" {
		return &health{}, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on --health-addr: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintf(w, "ok\ncoverage: %s\n", coverage) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return &health{listener: l, logger: logger, server: &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		MaxHeaderBytes:    16 << 10,
	}}, nil
}

// run serves until ctx ends.
func (h *health) run(ctx context.Context) error {
	if h.server == nil {
		return nil
	}
	stop := context.AfterFunc(ctx, func() { _ = h.server.Close() })
	defer stop()
	h.logger.Info("serving health", "address", h.listener.Addr().String())
	if err := h.server.Serve(h.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve health: %w", err)
	}
	return nil
}
