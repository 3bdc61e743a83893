package endpoint

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"
)

// The bounds of HTTP/2 that are the same for everybody.
const (
	// maxFrame is the least that HTTP/2 allows. net/http would take 1 MiB, and keep that much
	// for each connection that has sent one.
	maxFrame = 16 << 10
	// pingAfter and pingTimeout find that the other side is gone, as with its node.
	pingAfter   = 30 * time.Second
	pingTimeout = 15 * time.Second
)

// Server serves a Handler on an address.
type Server struct {
	opts     Options
	metrics  metrics
	listener *Listener
	room     *room
	watch    *watch
}

// New makes a Server and binds its address. Run or Close releases it.
func New(ctx context.Context, opts Options) (*Server, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	m, err := newMetrics(opts.Name, opts.Registerer)
	if err != nil {
		return nil, fmt.Errorf("endpoint %s: metrics: %w", opts.Name, err)
	}
	bound, err := (&net.ListenConfig{}).Listen(ctx, "tcp", opts.Address)
	if err != nil {
		return nil, fmt.Errorf("endpoint %s: %w", opts.Name, err)
	}
	s := &Server{
		opts:     opts,
		metrics:  m,
		listener: limit(bound, opts.Limits.Connections, m.connections.Set, m.displaced.Inc),
		room:     newRoom(opts.Limits.Requests),
	}
	s.watch = &watch{listener: s.listener, writes: opts.Limits.SendTimeout, now: time.Now}
	if opts.Brief {
		s.watch.requests = opts.Limits.WriteTimeout
	}
	return s, nil
}

// Name is Options.Name.
func (s *Server) Name() string { return s.opts.Name }

// Address is the one that the Server listens on.
func (s *Server) Address() net.Addr { return s.listener.Addr() }

// Close releases the address of a Server that never ran.
func (s *Server) Close() error { return s.listener.Close() }

// Run serves until the context ends, then lets the requests under way finish and returns nil.
// An error says that it could not serve, or that requests did not finish in time: those were cut off.
func (s *Server) Run(ctx context.Context) error {
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	var watch sync.WaitGroup
	watch.Go(func() { s.watch.run(watching) })
	defer watch.Wait()
	defer stop()
	server := s.server(ctx)
	// Shutdown alone would wait five seconds for each that has connected and said nothing.
	server.RegisterOnShutdown(s.listener.CloseSilent)
	served := make(chan error, 1)
	go func() {
		if server.TLSConfig != nil {
			served <- server.ServeTLS(s.listener, "", "")
			return
		}
		served <- server.Serve(s.listener)
	}()
	select {
	case err := <-served:
		return errors.Join(fmt.Errorf("serve: %w", err), server.Close())
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Drain)
	defer cancel()
	err := s.shutdown(drain, server)
	if closed := <-served; !errors.Is(closed, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serve: %w", closed))
	}
	return err
}

func (s *Server) shutdown(ctx context.Context, server *http.Server) error {
	err := server.Shutdown(ctx)
	if err == nil {
		return nil
	}
	left := s.room.taken()
	return errors.Join(fmt.Errorf("%d requests did not finish within %s: %w", left, s.opts.Drain, err), server.Close())
}

func (s *Server) server(ctx context.Context) *http.Server {
	limits := s.opts.Limits
	if s.opts.Brief { // The watch does that.
		limits.ReadTimeout, limits.WriteTimeout = 0, 0
	}
	return &http.Server{
		Handler:           s.admit(s.watch.over(s.aging(s.opts.Handler))),
		TLSConfig:         s.tls(),
		ReadHeaderTimeout: limits.HeaderTimeout,
		ReadTimeout:       limits.ReadTimeout,
		WriteTimeout:      limits.WriteTimeout,
		IdleTimeout:       limits.IdleTimeout,
		MaxHeaderBytes:    limits.HeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          limits.Streams,
			MaxReadFrameSize:              maxFrame,
			MaxReceiveBufferPerConnection: limits.ReceiveBuffer,
			MaxReceiveBufferPerStream:     limits.ReceiveBuffer,
			SendPingTimeout:               pingAfter,
			PingTimeout:                   pingTimeout,
			CountError:                    s.metrics.http2Error,
		},
		ErrorLog: slog.NewLogLogger(s.opts.Logger.With("endpoint", s.opts.Name).Handler(), slog.LevelDebug),
		// A request outlives the stop signal: who asked gets an answer.
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ConnContext: s.born,
		ConnState:   noteState,
	}
}

func (s *Server) tls() *tls.Config {
	if s.opts.TLS == nil {
		return nil
	}
	config := s.opts.TLS.Clone()
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	return config
}

// lifeKey finds a connection's life in the contexts of its requests.
type lifeKey struct{}

// life is what is known of a connection.
type life struct {
	conn net.Conn
	from string
	end  time.Time
}

func (s *Server) born(ctx context.Context, c net.Conn) context.Context {
	age := s.opts.Age + rand.N(s.opts.Age) //nolint:gosec // only spreads the load
	return context.WithValue(ctx, lifeKey{}, life{conn: inner(c), from: host(c.RemoteAddr()), end: time.Now().Add(age)})
}

// aging announces the end of a connection with the first answer after its time: net/http makes
// a GOAWAY of that header in HTTP/2, finishes what is under way, and closes the connection.
func (s *Server) aging(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if of, ok := r.Context().Value(lifeKey{}).(life); ok && time.Now().After(of.end) {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// admit answers requests that there is no room for.
func (s *Server) admit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		of, _ := r.Context().Value(lifeKey{}).(life)
		if !s.room.take(of.from) {
			s.metrics.shed.Inc()
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many requests at once", http.StatusServiceUnavailable)
			return
		}
		defer s.room.give(of.from)
		next.ServeHTTP(w, r)
	})
}
