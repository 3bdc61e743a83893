package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

// syncInterval is how often the disk is told to have what was written, where it
// is not told each time.
const syncInterval = 10 * time.Second

// maxPending is how many messages may wait for their acknowledgement at once. Who
// publishes is bounded by the sources; this is beyond what they can reach.
const maxPending = 16384

// engine is one life of the server inside, with the connection to it. A failed
// one is replaced by another.
type engine struct {
	server *server.Server
	conn   *nats.Conn
	js     natsjs.JetStream
	// life ends, with a cause, when the engine is given up.
	life context.Context
	end  context.CancelCauseFunc
}

// startEngine starts an engine whose life does not end with the context.
func startEngine(ctx context.Context, o Options) (*engine, error) {
	srv, err := server.NewServer(serverOptions(o))
	if err != nil {
		return nil, fmt.Errorf("set up the server: %w", err)
	}
	log := &serverLog{logger: o.Logger}
	srv.SetLoggerV2(log, o.Logger.Enabled(ctx, slog.LevelDebug-4), false, false)
	srv.Start() // It accepts no connections, so it returns.
	e := &engine{server: srv}
	e.life, e.end = context.WithCancelCause(context.WithoutCancel(ctx))
	if err = log.failure(); err == nil {
		err = e.connect(o)
	}
	if err != nil {
		e.stop(err)
		return nil, err
	}
	return e, nil
}

func serverOptions(o Options) *server.Options {
	return &server.Options{
		ServerName:             "portcullis",
		DontListen:             true,
		NoSigs:                 true,
		DisableJetStreamBanner: true,
		MaxPayload:             maxMessage,
		JetStream:              true,
		StoreDir:               o.Directory,
		JetStreamMaxStore:      o.MaxBytes,
		JetStreamMaxMemory:     1 << 20, // Nothing is kept in memory; none at all would mean "as much as there is".
		SyncAlways:             o.Sync,
		SyncInterval:           syncInterval,
	}
}

func (e *engine) connect(o Options) (err error) {
	e.conn, err = nats.Connect("", nats.InProcessServer(e.server), nats.Name("portcullis"), nats.NoReconnect(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			o.Logger.Error("connection to the store", "error", err)
		}))
	if err != nil {
		return fmt.Errorf("connect to the server inside: %w", err)
	}
	// Who waits gives up first; what is not answered at all must not be remembered for ever.
	e.js, err = natsjs.New(e.conn, natsjs.WithPublishAsyncMaxPending(maxPending), natsjs.WithPublishAsyncTimeout(2*o.Timeout))
	return err
}

// stop ends the engine. Whoever waits for it is told the cause.
func (e *engine) stop(cause error) {
	e.end(cause)
	if e.conn != nil {
		e.conn.Close()
	}
	e.server.Shutdown()
	e.server.WaitForShutdown()
}

// cause is why the engine was given up.
func (e *engine) cause() error { return context.Cause(e.life) }

// health returns what keeps the engine from writing the streams, nil if nothing does.
func (e *engine) health(ours func(stream string) bool) error {
	var problems []error
	for _, problem := range e.server.Healthz(&server.HealthzOptions{Details: true}).Errors {
		// It has others, such as files in its directory that a killed process has left.
		if problem.Type == server.HealthzErrorJetStream || problem.Type == server.HealthzErrorStream && ours(problem.Stream) {
			problems = append(problems, errors.New(problem.Error))
		}
	}
	if e.conn.IsClosed() {
		problems = append(problems, errors.New("the connection is closed"))
	}
	return errors.Join(problems...)
}

// within returns a context that ends with the caller's, after a time, or with
// the engine, and whose cause says which of them it was.
func (e *engine) within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, stopTimer := context.WithTimeoutCause(ctx, limit,
		fmt.Errorf("%w: the disk did not answer within %s", ErrUnavailable, limit))
	ctx, cancel := context.WithCancelCause(ctx)
	stopWatch := context.AfterFunc(e.life, func() { cancel(context.Cause(e.life)) })
	return ctx, func() { stopWatch(); cancel(nil); stopTimer() }
}

// explain turns what the client library says into what callers can decide by. The
// context is one of within.
func explain(ctx context.Context, err error) error {
	var refused *natsjs.APIError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &refused) && strings.Contains(refused.Description, "maximum bytes"):
		return ErrFull
	default:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}
