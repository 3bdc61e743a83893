package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

// The defaults of ServerOptions.
const (
	DefaultDrainTimeout = 15 * time.Second
	DefaultConnAge      = 30 * time.Minute
)

// The bounds of one call. Reviews are small, and API servers are near.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second // longer than any webhook timeout but the largest
	idleTimeout   = 5 * time.Minute
	maxHeader     = 64 << 10
)

// ServerOptions are what a Server needs.
type ServerOptions struct {
	// Address to listen on, such as ":9443"; port 0 takes a free one.
	Address string
	// TLS has the server's certificate, and should ask for the API servers'. A
	// certificate that rotates comes through GetCertificate or GetConfigForClient.
	TLS     *tls.Config
	Handler http.Handler
	// DrainTimeout is how long requests in flight may take when the Server stops;
	// DefaultDrainTimeout if zero.
	DrainTimeout time.Duration
	// ConnAge is about how long a connection lives; DefaultConnAge if zero. An API
	// server keeps its one connection for ever otherwise, and a replica that comes later
	// never gets any of the work.
	ConnAge time.Duration
	Logger  *slog.Logger
}

// Server serves a Handler over TLS.
type Server struct {
	opts     ServerOptions
	listener net.Listener
}

// NewServer makes a Server and binds its address.
func NewServer(ctx context.Context, opts ServerOptions) (*Server, error) {
	if opts.DrainTimeout == 0 {
		opts.DrainTimeout = DefaultDrainTimeout
	}
	if opts.ConnAge == 0 {
		opts.ConnAge = DefaultConnAge
	}
	switch {
	case opts.TLS == nil:
		return nil, errors.New("webhook server options: TLS is missing, API servers call over TLS only")
	case opts.Handler == nil:
		return nil, errors.New("webhook server options: Handler is missing")
	case opts.Logger == nil:
		return nil, errors.New("webhook server options: Logger is missing")
	case opts.DrainTimeout < 0 || opts.ConnAge < 0:
		return nil, errors.New("webhook server options: DrainTimeout and ConnAge must not be negative")
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", opts.Address)
	if err != nil {
		return nil, fmt.Errorf("webhook listen: %w", err)
	}
	return &Server{opts: opts, listener: listener}, nil
}

// Address is the one that the Server listens on.
func (s *Server) Address() net.Addr { return s.listener.Addr() }

// Run serves until the context ends, then lets the requests in flight finish and returns
// nil. An error says that it could not serve or that requests did not finish in time.
func (s *Server) Run(ctx context.Context) error {
	tlsConfig := s.opts.TLS.Clone()
	tlsConfig.MinVersion = max(tlsConfig.MinVersion, tls.VersionTLS12)
	server := &http.Server{
		Handler:           s.aging(s.opts.Handler),
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.opts.Logger.Handler(), slog.LevelDebug),
		// A request outlives the stop signal: who asked gets an answer.
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ConnContext: s.born,
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(s.listener, "", "") }()
	select {
	case err := <-served:
		return fmt.Errorf("webhook serve: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.DrainTimeout)
	defer cancel()
	err := server.Shutdown(drain)
	if err != nil {
		err = errors.Join(fmt.Errorf("webhook drain: %w", err), server.Close())
	}
	if closed := <-served; !errors.Is(closed, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("webhook serve: %w", closed))
	}
	return err
}

// endKey finds the end of a connection's life in its context.
type endKey struct{}

// born gives a connection a life of random length, so that those of all API
// servers do not end together.
func (s *Server) born(ctx context.Context, _ net.Conn) context.Context {
	age := s.opts.ConnAge
	age += rand.N(age/2 + 1) //nolint:gosec // only spreads the load
	return context.WithValue(ctx, endKey{}, time.Now().Add(age))
}

// aging announces the end of a connection with the first answer after it: the client
// lets the requests in flight finish and sends others over a new one.
func (s *Server) aging(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if end, ok := r.Context().Value(endKey{}).(time.Time); ok && time.Now().After(end) {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
