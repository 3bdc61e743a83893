package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// endpoint is an HTTP server on a listener that New has bound already.
type endpoint struct {
	name     string
	listener net.Listener
	server   *http.Server
}

// newEndpoint binds an address. A nil TLS configuration means plain HTTP.
func newEndpoint(ctx context.Context, name, address string, handler http.Handler, config *tls.Config, logger *slog.Logger) (*endpoint, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &endpoint{
		name:     name,
		listener: listener,
		server: &http.Server{
			Handler:           handler,
			TLSConfig:         config,
			ReadHeaderTimeout: 5 * time.Second,
			// An API server keeps its connections; an idle one costs little, but not for ever.
			IdleTimeout:    3 * time.Minute,
			MaxHeaderBytes: 64 << 10,
			ErrorLog:       slog.NewLogLogger(logger.With("endpoint", name).Handler(), slog.LevelDebug),
		},
	}, nil
}

func (e *endpoint) part() part { return part{e.name, e.run} }

// run serves until ctx ends, and then lets the requests in flight finish:
// their own contexts do not end with ctx, so that a verdict that has been asked
// for is given.
func (e *endpoint) run(ctx context.Context) error {
	e.server.BaseContext = func(net.Listener) context.Context { return context.WithoutCancel(ctx) }
	served := make(chan error, 1)
	go func() {
		if e.server.TLSConfig != nil {
			served <- e.server.ServeTLS(e.listener, "", "")
			return
		}
		served <- e.server.Serve(e.listener)
	}()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit-time.Second)
	defer cancel()
	err := e.server.Shutdown(drain)
	if served := <-served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// close releases the listener of an endpoint that never ran.
func (e *endpoint) close() error { return e.listener.Close() }
