package collector

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
	"github.com/portcullis-dev/portcullis/endpoint"
	"github.com/portcullis-dev/portcullis/event"
)

// Defaults of Options.
const (
	// DefaultMaxStreams is twice the largest cluster that Kubernetes is tested with.
	DefaultMaxStreams = 10_000
	// DefaultMaxMessageBytes and DefaultMaxBatchEvents are several times what
	// agents put into one batch (256 KiB, 512 events).
	DefaultMaxMessageBytes = 4 << 20
	DefaultMaxBatchEvents  = 4096
	// DefaultMaxStreamAge is about half of what a projected token lives.
	DefaultMaxStreamAge = 30 * time.Minute
	// DefaultIngestTimeout is below the 20 s after which an agent gives an
	// unanswered stream up.
	DefaultIngestTimeout = 10 * time.Second
	// DefaultStopTimeout bounds a graceful stop.
	DefaultStopTimeout = 5 * time.Second
)

const (
	helloTimeout = 10 * time.Second
	// connectTimeout is for what comes before a stream can begin. A stop waits for it.
	connectTimeout = 5 * time.Second
	// spareConnections may be open beside those of MaxStreams agents: of ones
	// that reconnect, and of callers who have not proved anything yet.
	spareConnections = 256
	// maxStreamsPerNode leaves room for an agent that is replaced and one that
	// reconnects before its old connection was found dead.
	maxStreamsPerNode = 8
	// keepaliveTime and keepaliveTimeout find an agent dead that went without
	// a word, such as with its node.
	keepaliveTime    = 20 * time.Second
	keepaliveTimeout = 10 * time.Second
)

// Pipeline takes events over.
type Pipeline interface {
	// Ingest returns nil once it is responsible for all of the events: only
	// then does the agent hear that they have arrived. It must be quick, must
	// not keep the slice, and may be called concurrently.
	//
	// An error that has a method Busy() bool which reports true says that the
	// same events should be offered again shortly; any other is a failure.
	Ingest(ctx context.Context, events []*event.Event) error
}

// Placement knows where pods run.
type Placement interface {
	// RunsOn reports whether a pod runs (or ran) on the node; known is false for
	// a pod that has not been heard of, or has no node yet.
	RunsOn(podUID, node string) (runs, known bool)
}

// Options are a Server's dependencies and settings. Zero settings mean the defaults.
type Options struct {
	Pipeline      Pipeline
	Authenticator Authenticator
	Placement     Placement
	// Claims makes events of what agents tell of other nodes' pods. Nil means one of the server's own; the Pipeline should have it
	// as well, for the pods of which it learns only later where they run.
	Claims *Claims
	// Losses is told what may be missing; nil tells nobody.
	Losses Losses
	// Store keeps what is known of the nodes' clocks for the next process, see Load. Nil forgets it.
	Store Store
	// TLS is the server's side; agents show no certificate.
	TLS        *tls.Config
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Clock      func() time.Time
	// Ready reports whether streams may begin; nil means always. It should be false until
	// Placement has heard of all pods: before that nobody could be caught speaking for
	// another node's pod. An agent that is sent away keeps its events and comes again.
	Ready func() bool

	// MaxStreams is how many agents may be connected at once.
	MaxStreams int
	// MaxMessageBytes is the largest message that is read.
	MaxMessageBytes int
	// MaxBatchEvents is how many events one batch may hold.
	MaxBatchEvents int
	// MaxStreamAge is about how long a stream lives.
	MaxStreamAge time.Duration
	// IngestTimeout is how long the pipeline may take, or be busy.
	IngestTimeout time.Duration
	// StopTimeout is how long Serve waits for batches in hand when it ends.
	StopTimeout time.Duration
}

// Server serves the agents' streams.
type Server struct {
	opts     Options
	metrics  metrics
	sessions *sessions
	clocks   *clocks
	refusals rate.Sometimes

	mu      sync.Mutex
	total   int
	perNode map[string]int
}

// New returns a Server that does nothing until Serve.
func New(opts Options) (*Server, error) {
	switch {
	case opts.Pipeline == nil:
		return nil, errors.New("collector: Options.Pipeline is nil")
	case opts.Authenticator == nil:
		return nil, errors.New("collector: Options.Authenticator is nil")
	case opts.Placement == nil:
		return nil, errors.New("collector: Options.Placement is nil")
	case opts.TLS == nil:
		return nil, errors.New("collector: Options.TLS is nil: tokens do not travel in the clear")
	case opts.Logger == nil:
		return nil, errors.New("collector: Options.Logger is nil")
	case opts.Registerer == nil:
		return nil, errors.New("collector: Options.Registerer is nil")
	case opts.Clock == nil:
		return nil, errors.New("collector: Options.Clock is nil")
	case opts.MaxStreams < 0 || opts.MaxMessageBytes < 0 || opts.MaxBatchEvents < 0:
		return nil, errors.New("collector: Options.MaxStreams, MaxMessageBytes and MaxBatchEvents must not be negative")
	case opts.MaxStreamAge < 0 || opts.IngestTimeout < 0 || opts.StopTimeout < 0:
		return nil, errors.New("collector: Options.MaxStreamAge, IngestTimeout and StopTimeout must not be negative")
	}
	if opts.Ready == nil {
		opts.Ready = func() bool { return true }
	}
	if opts.Claims == nil {
		opts.Claims = NewClaims(opts.Clock)
	}
	if opts.Losses == nil {
		opts.Losses = noLosses{}
	}
	setDefault(&opts.MaxStreams, DefaultMaxStreams)
	setDefault(&opts.MaxMessageBytes, DefaultMaxMessageBytes)
	setDefault(&opts.MaxBatchEvents, DefaultMaxBatchEvents)
	setDefault(&opts.MaxStreamAge, DefaultMaxStreamAge)
	setDefault(&opts.IngestTimeout, DefaultIngestTimeout)
	setDefault(&opts.StopTimeout, DefaultStopTimeout)
	m := newMetrics(opts.Registerer)
	c := &clocks{byNode: make(map[string]*nodeClock)}
	return &Server{
		opts:    opts,
		metrics: m,
		clocks:  c,
		sessions: newSessions(opts.Clock, opts.Losses, func(node string) {
			m.forget(node)
			c.forget(node)
		}),
		refusals: rate.Sometimes{Interval: 10 * time.Second},
		perNode:  make(map[string]int),
	}, nil
}

func setDefault[T int | time.Duration](setting *T, value T) {
	if *setting == 0 {
		*setting = value
	}
}

// Serve takes connections from lis until ctx ends, lets streams finish the batch
// in hand (for no longer than StopTimeout), closes lis and returns nil. An error
// means that it could not serve.
func (s *Server) Serve(ctx context.Context, lis net.Listener) error {
	server := grpc.NewServer(
		grpc.Creds(noting{credentials.NewTLS(s.opts.TLS)}),
		grpc.MaxRecvMsgSize(s.opts.MaxMessageBytes),
		grpc.MaxSendMsgSize(64<<10),
		grpc.MaxHeaderListSize(2*maxToken),
		grpc.MaxConcurrentStreams(4), // an agent opens one
		grpc.ConnectionTimeout(connectTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			// Connections without a stream are not agents.
			MaxConnectionIdle: 2 * helloTimeout,
			Time:              keepaliveTime,
			Timeout:           keepaliveTimeout,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.ChainStreamInterceptor(s.contain),
	)
	telemetryv1.RegisterCollectorServer(server, &service{server: s, stopping: ctx.Done()})
	bounded := endpoint.Listen(lis, s.opts.MaxStreams+spareConnections)
	served := make(chan error, 1)
	go func() { served <- server.Serve(bounded) }()
	select {
	case err := <-served:
		server.Stop()
		return fmt.Errorf("serve agents: %w", err)
	case <-ctx.Done():
	}
	// Streams see ctx end by themselves; what hangs is cut off.
	cut := time.AfterFunc(s.opts.StopTimeout, server.Stop)
	defer cut.Stop()
	// What has not even shaken hands is no agent's that has anything under way.
	bounded.CloseSilent()
	server.GracefulStop()
	if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve agents: %w", err)
	}
	return nil
}

// noting tells the listener who is no longer silent.
type noting struct {
	credentials.TransportCredentials
}

// ServerHandshake implements credentials.TransportCredentials.
func (n noting) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secure, info, err := n.TransportCredentials.ServerHandshake(c)
	if err == nil {
		endpoint.Spoke(c)
	}
	return secure, info, err
}

// contain keeps a panic to the stream that it happened in: gRPC would let it end
// the process.
func (s *Server) contain(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.opts.Logger.Error("agent stream panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = status.Error(codes.Internal, "internal error")
		}
	}()
	return handler(srv, ss)
}

// admit counts a stream in, if there is room for it.
func (s *Server) admit(node string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.total >= s.opts.MaxStreams:
		return status.Errorf(codes.ResourceExhausted, "%d agents are connected, the most that this server takes", s.total)
	case s.perNode[node] >= maxStreamsPerNode:
		return status.Errorf(codes.ResourceExhausted, "node %q has %d streams already", node, s.perNode[node])
	}
	s.total++
	s.perNode[node]++
	s.metrics.streams.Inc()
	return nil
}

func (s *Server) leave(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.perNode[node]--; s.perNode[node] == 0 {
		delete(s.perNode, node)
	}
	s.metrics.streams.Dec()
}
