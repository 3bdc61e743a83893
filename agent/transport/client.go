package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// Options of New. The zero value of a duration means its default.
type Options struct {
	// Server is the server's address, host:port. Required.
	Server string
	// ServerName is the name that the server's certificate must bear. Default: the host of Server.
	ServerName string
	// CAFile holds the certificates (PEM) that may sign the server's. Required.
	CAFile string
	// TokenFile holds the token that the agent shows. Required.
	TokenFile string
	// Hello makes a stream's first message; the client sets SentAt. Required.
	Hello func() *telemetryv1.Hello
	// Lost counts what was lost before the spool; the client adds what the
	// spool dropped. Required.
	Lost func() *telemetryv1.Lost
	// Spool is emptied. Required.
	Spool *Spool
	// Command does what the server asks for, and answers it; the client adds the
	// answer's id. It is called from goroutines of its own, a few at once, and Run does not return before
	// it does. nil answers that nothing can be done.
	Command func(context.Context, *telemetryv1.Command) *telemetryv1.CommandResult
	// Flush has the spool be given everything that happened before. nil answers that this cannot be done.
	Flush func(context.Context) error
	// Logger is required.
	Logger *slog.Logger
	// Now is the wall clock. Default time.Now.
	Now func() time.Time

	// Gather is how long events gather while a batch is on its way. Default 5 ms.
	Gather time.Duration
	// Heartbeat is how often an empty batch tells that the agent is alive and
	// what it lost. Default 10 s.
	Heartbeat time.Duration
	// AckTimeout is how long a batch may stay unacknowledged before the stream
	// is given up. It also bounds connecting. Default 20 s.
	AckTimeout time.Duration
	// MinBackoff and MaxBackoff bound the pause between streams. Defaults 100 ms and 15 s.
	MinBackoff, MaxBackoff time.Duration
}

// Client keeps a stream to the server open.
type Client struct {
	opts     Options
	metrics  *metrics
	commands *commands
	flushes  *flushes
	lost     *telemetryv1.Lost // as last counted, nil to count again; the sender's
}

// New checks the options. It does not connect.
func New(opts Options, register Registerer) (*Client, error) {
	switch {
	case opts.Server == "":
		return nil, errors.New("options: Server is required")
	case opts.CAFile == "":
		return nil, errors.New("options: CAFile is required")
	case opts.TokenFile == "":
		return nil, errors.New("options: TokenFile is required")
	case opts.Hello == nil:
		return nil, errors.New("options: Hello is required")
	case opts.Lost == nil:
		return nil, errors.New("options: Lost is required")
	case opts.Spool == nil:
		return nil, errors.New("options: Spool is required")
	case opts.Logger == nil:
		return nil, errors.New("options: Logger is required")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	for _, o := range []struct {
		name  string
		value *time.Duration
		zero  time.Duration
	}{
		{"Gather", &opts.Gather, 5 * time.Millisecond},
		{"Heartbeat", &opts.Heartbeat, 10 * time.Second},
		{"AckTimeout", &opts.AckTimeout, 20 * time.Second},
		{"MinBackoff", &opts.MinBackoff, 100 * time.Millisecond},
		{"MaxBackoff", &opts.MaxBackoff, 15 * time.Second},
	} {
		if *o.value < 0 {
			return nil, fmt.Errorf("options: %s is %v", o.name, *o.value)
		}
		if *o.value == 0 {
			*o.value = o.zero
		}
	}
	m, err := newMetrics(register, opts.Spool)
	if err != nil {
		return nil, err
	}
	return &Client{opts: opts, metrics: m, commands: newCommands(opts.Command), flushes: newFlushes(opts.Flush)}, nil
}

// Connected reports whether the server has welcomed the current stream.
func (c *Client) Connected() bool { return c.metrics.connected.Load() }

// Run sends until the spool is closed and the server has acknowledged all of
// it, or until ctx ends; the error says why, nil means that all was acknowledged.
// An unreachable server is no reason to return. With a spool that has a
// directory, what the server does not have is kept there, and is no error.
func (c *Client) Run(ctx context.Context) error {
	stop := c.opts.Spool.startDisk(ctx)
	err := c.run(ctx)
	c.commands.wait()
	c.flushes.running.Wait()
	if kept := stop(); kept && err != nil {
		c.opts.Logger.Info("events are kept in the spool's directory", "stopped_by", err)
		return nil
	}
	return err
}

func (c *Client) run(ctx context.Context) error {
	pause := c.opts.MinBackoff
	for {
		welcomed, err := c.stream(ctx)
		c.metrics.connected.Store(false)
		if _, drained := c.opts.Spool.inFlight(); drained {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("send telemetry: %w", ctx.Err())
		}
		c.metrics.streamErrors.Inc()
		if welcomed {
			pause = c.opts.MinBackoff
		}
		c.opts.Logger.Warn("telemetry stream ended", "server", c.opts.Server, "error", err, "retry_within", pause)
		if !sleep(ctx, jitter(pause)) {
			return fmt.Errorf("send telemetry: %w", ctx.Err())
		}
		pause = min(2*pause, c.opts.MaxBackoff)
	}
}

// jitter spreads the agents of a cluster, which all lose the server at once.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1) //nolint:gosec // this spreads load, it hides nothing
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// stream runs one stream to its end. It reports whether the server welcomed it.
func (c *Client) stream(ctx context.Context) (welcomed bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn, err := c.dial()
	if err != nil {
		return false, err
	}
	defer conn.Close()

	overdue := time.AfterFunc(c.opts.AckTimeout, func() { cancel(errOverdue) })
	defer overdue.Stop()
	s, err := c.open(ctx, conn)
	if err != nil {
		return false, cause(ctx, err)
	}
	c.commands.forget()
	c.metrics.connected.Store(true)
	c.opts.Logger.Info("telemetry stream opened", "server", c.opts.Server)

	r := &receiver{done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = c.receive(ctx, s, overdue)
	}()
	err = c.send(ctx, s, overdue, r)
	if err == nil {
		err = s.CloseSend() // the server has acknowledged all there was
	}
	err = cause(ctx, err)
	cancel(nil)
	<-r.done
	return true, err
}

// receiver is the goroutine that receives: how it ended is known once done is closed.
type receiver struct {
	done chan struct{}
	err  error
}

// why waits for the end, and says why it came.
func (r *receiver) why() error {
	<-r.done
	if r.err == nil {
		return errEnded
	}
	return r.err
}

var errOverdue = errors.New("the server did not answer in time")

// cause prefers what ended the context over what followed from it.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); err != nil && c != nil && !errors.Is(c, context.Canceled) {
		return c
	}
	return err
}

type stream = grpc.BidiStreamingClient[telemetryv1.AgentMessage, telemetryv1.ServerMessage]

// open greets the server and waits for its welcome.
func (c *Client) open(ctx context.Context, conn *grpc.ClientConn) (stream, error) {
	s, err := telemetryv1.NewCollectorClient(conn).Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("open the stream: %w", err)
	}
	hello := c.opts.Hello()
	hello.SentAt = c.now()
	err = s.Send(&telemetryv1.AgentMessage{Message: &telemetryv1.AgentMessage_Hello{Hello: hello}})
	if err != nil && !errors.Is(err, io.EOF) { // EOF: Recv knows why
		return nil, fmt.Errorf("send the greeting: %w", err)
	}
	answer, err := s.Recv()
	if err != nil {
		return nil, fmt.Errorf("receive the welcome: %w", err)
	}
	if answer.GetWelcome() == nil {
		return nil, errors.New("receive the welcome: the server's first message is another")
	}
	// Before any event, so that the server knows the clock that their times are of.
	if err := s.Send(c.pong(0)); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("answer the welcome: %w", err)
	}
	return s, nil
}

// receive takes acknowledgements and commands until the stream ends.
func (c *Client) receive(ctx context.Context, s stream, overdue *time.Timer) error {
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		if command := m.GetCommand(); command != nil {
			c.take(ctx, command)
			continue
		}
		if ping := m.GetPing(); ping != nil {
			c.commands.reply(c.pong(ping.GetNumber()))
			continue
		}
		ack := m.GetAck()
		if ack == nil {
			continue // of a newer server
		}
		if err := c.opts.Spool.acknowledge(ack.GetSequence()); err != nil {
			return err
		}
		if n, _ := c.opts.Spool.inFlight(); n == 0 {
			overdue.Stop()
		} else {
			overdue.Reset(c.opts.AckTimeout)
		}
	}
}

var errEnded = errors.New("the server ended the stream")

// take begins to do what the server asks for.
func (c *Client) take(ctx context.Context, command *telemetryv1.Command) {
	if command.GetFlush() == nil {
		c.commands.start(ctx, command)
		return
	}
	place := c.opts.Spool.place
	if why := c.flushes.start(ctx, command.GetId(), place, c.commands.answer); why != nil {
		c.commands.answer(command.GetId(), why)
	}
}

// send sends until all is acknowledged of a spool that was closed, and returns
// nil then.
func (c *Client) send(ctx context.Context, s stream, overdue *time.Timer, r *receiver) error {
	c.lost = nil
	if err := c.resend(s, overdue); err != nil {
		return ended(err, r)
	}
	heartbeat := time.NewTicker(c.opts.Heartbeat)
	defer heartbeat.Stop()
	var asked []flush // whose events are not all sent
	for {
		n, drained := c.opts.Spool.inFlight()
		if drained {
			return nil
		}
		if n > 0 && len(asked) == 0 && !c.opts.Spool.full() {
			asked = c.gather(ctx)
		}
		c.lost = nil
		for b := c.opts.Spool.take(); b != nil; b = c.opts.Spool.take() {
			if err := c.sendBatch(s, b, overdue); err != nil {
				return ended(err, r)
			}
			heartbeat.Reset(c.opts.Heartbeat)
		}
		var err error
		if asked, err = c.answerFlushes(s, asked); err != nil {
			return ended(err, r)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.done:
			return r.why()
		case <-heartbeat.C:
			if b := c.opts.Spool.next(true); b != nil {
				if err := c.sendBatch(s, b, overdue); err != nil {
					return ended(err, r)
				}
			}
		case <-c.opts.Spool.ready:
		case f := <-c.flushes.read:
			asked = append(asked, f)
		case m := <-c.commands.replies:
			if err := s.Send(m); err != nil {
				return ended(err, r)
			}
		}
	}
}

// resend sends what an earlier stream had sent, and the server has not acknowledged.
func (c *Client) resend(s stream, overdue *time.Timer) error {
	again := c.opts.Spool.unacknowledged()
	if len(again) == 0 {
		overdue.Stop()
	}
	for _, b := range again {
		if err := c.sendBatch(s, b, overdue); err != nil {
			return err
		}
		c.metrics.resent.Inc()
	}
	return nil
}

// gather waits while events gather, but for no longer than until somebody waits for them.
func (c *Client) gather(ctx context.Context) (asked []flush) {
	t := time.NewTimer(c.opts.Gather)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case f := <-c.flushes.read:
		asked = append(asked, f)
	}
	return asked
}

// answerFlushes answers those whose events were all sent, and returns the others.
func (c *Client) answerFlushes(s stream, asked []flush) ([]flush, error) {
	var left []flush
	for _, f := range asked {
		if !c.opts.Spool.sentUpTo(f.place) {
			left = append(left, f)
			continue
		}
		if err := s.Send(resultOf(f.id, &telemetryv1.CommandResult{Outcome: telemetryv1.Outcome_OUTCOME_DONE})); err != nil {
			return nil, err
		}
	}
	return left, nil
}

// ended finds out why sending failed: an io.EOF only says that receiving knows.
func ended(err error, r *receiver) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	return r.why()
}

func (c *Client) sendBatch(s stream, b *telemetryv1.Batch, overdue *time.Timer) error {
	state := c.opts.Spool.Stats()
	// To count what was lost takes longer than to send a batch. So those that are sent one after the other
	// say the same, but for the last: it may be the last that is ever sent.
	if c.lost == nil || state.Pending+state.FileEvents == 0 {
		c.lost = c.opts.Lost()
	}
	c.lost.SpoolFull = state.Dropped
	stamp(b, c.lost, c.now())
	if n, _ := c.opts.Spool.inFlight(); n == 1 {
		overdue.Reset(c.opts.AckTimeout)
	}
	return s.Send(&telemetryv1.AgentMessage{Message: &telemetryv1.AgentMessage_Batch{Batch: b}})
}

func (c *Client) pong(number uint64) *telemetryv1.AgentMessage {
	return &telemetryv1.AgentMessage{Message: &telemetryv1.AgentMessage_Pong{Pong: &telemetryv1.Pong{Number: number, At: c.now()}}}
}

func (c *Client) now() *timestamppb.Timestamp { return timestamppb.New(c.opts.Now()) }
