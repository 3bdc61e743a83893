package collector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
	"github.com/portcullis-dev/portcullis/event"
)

// The pauses between two tries while the pipeline is busy.
const (
	minBusyPause = 10 * time.Millisecond
	maxBusyPause = 500 * time.Millisecond
)

// maxCoverage bounds the capabilities of a greeting that are logged.
const maxCoverage = 16

type agentStream = grpc.BidiStreamingServer[telemetryv1.AgentMessage, telemetryv1.ServerMessage]

// service is the Server as gRPC sees it, for one call of Serve.
type service struct {
	telemetryv1.UnimplementedCollectorServer
	server   *Server
	stopping <-chan struct{}
}

// Stream serves one agent.
func (svc *service) Stream(grpcStream agentStream) error {
	s := svc.server
	if !s.opts.Ready() {
		s.metrics.notReady.Inc()
		return status.Error(codes.Unavailable, "the server has only just started and does not know all pods yet: connect again shortly")
	}
	agent, err := s.authenticate(grpcStream.Context())
	if err != nil {
		return err
	}
	if err = s.admit(agent.Node); err != nil {
		s.metrics.ended.WithLabelValues(status.Code(err).String()).Inc()
		return err
	}
	defer s.leave(agent.Node)
	st := &stream{
		Server: s, agent: agent, grpc: grpcStream, stopping: svc.stopping, superseded: make(chan struct{}),
		commands: make(chan *telemetryv1.Command), over: make(chan struct{}),
	}
	st.flushes.wake = make(chan struct{}, 1)
	st.asked.answers = make(map[string]chan<- *telemetryv1.CommandResult)
	err = st.run()
	s.metrics.ended.WithLabelValues(status.Code(err).String()).Inc()
	return err
}

// stream is one agent's stream.
type stream struct {
	*Server
	agent      Agent
	grpc       agentStream
	session    *session
	clock      *nodeClock
	stopping   <-chan struct{}
	superseded chan struct{} // closed when the session has a newer stream

	ping     ping                      // of this stream's goroutine
	commands chan *telemetryv1.Command // to send
	flushes  flushes
	// over is closed when nothing is sent any more; inGoodOrder is set before that if the agent has ended the stream, with
	// nothing left to send.
	over        chan struct{}
	inGoodOrder bool
	asked       struct {
		sync.Mutex
		answers map[string]chan<- *telemetryv1.CommandResult // by the command's id
	}
}

// incoming is what one Recv returned.
type incoming struct {
	message *telemetryv1.AgentMessage
	err     error
}

// receive reads in a goroutine of its own, so that a stream that is to end does
// not have to wait for its agent. It ends when the stream does.
func (st *stream) receive() <-chan incoming {
	out := make(chan incoming)
	go func() {
		for {
			message, err := st.grpc.Recv()
			select {
			case out <- incoming{message, err}:
			case <-st.grpc.Context().Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return out
}

func (st *stream) run() error {
	defer close(st.over)
	messages := st.receive()
	hello, err := st.hello(messages)
	if err != nil {
		return err
	}
	st.session = st.sessions.attach(st.agent.Node, hello.GetSessionId(), st)
	defer st.sessions.detach(st.session, st)
	st.clock = st.clocks.of(st.agent.Node)
	if err := st.welcome(hello); err != nil {
		return err
	}
	// A tenth more or less, so that agents that came together leave apart.
	spread := st.opts.MaxStreamAge / 5
	age := time.NewTimer(st.opts.MaxStreamAge - spread/2 + rand.N(spread+1)) //nolint:gosec // spreads load, guards nothing
	defer age.Stop()
	pings := time.NewTicker(pingEvery)
	defer pings.Stop()
	for {
		select {
		case in := <-messages:
			if errors.Is(in.err, io.EOF) {
				st.inGoodOrder = true
				return nil
			}
			if err := st.handle(in); err != nil {
				return err
			}
		case command := <-st.commands:
			if err := st.send(command); err != nil {
				return err
			}
		case <-st.flushes.wake:
			if err := st.askFlush(); err != nil {
				return err
			}
		case <-pings.C:
			if err := st.askClock(); err != nil {
				return err
			}
		case <-st.stopping:
			return status.Error(codes.Unavailable, "the server is stopping")
		case <-st.superseded:
			return status.Error(codes.Aborted, "a newer stream of the same session has taken over")
		case <-age.C:
			return status.Error(codes.Unavailable, "the stream has reached its age: connect again")
		case <-st.grpc.Context().Done():
			return status.FromContextError(st.grpc.Context().Err()).Err()
		}
	}
}

// hello awaits the greeting.
func (st *stream) hello(messages <-chan incoming) (*telemetryv1.Hello, error) {
	late := time.NewTimer(helloTimeout)
	defer late.Stop()
	select {
	case in := <-messages:
		if in.err != nil {
			return nil, in.err
		}
		hello := in.message.GetHello()
		switch {
		case hello == nil:
			return nil, status.Error(codes.InvalidArgument, "the first message must be a Hello")
		case !validID(hello.GetSessionId()):
			return nil, status.Errorf(codes.InvalidArgument, "session_id must be 1 to %d letters, digits and dashes", maxID)
		}
		return hello, nil
	case <-late.C:
		return nil, status.Errorf(codes.DeadlineExceeded, "no Hello within %s", helloTimeout)
	case <-st.stopping:
		return nil, status.Error(codes.Unavailable, "the server is stopping")
	case <-st.grpc.Context().Done():
		return nil, status.FromContextError(st.grpc.Context().Err()).Err()
	}
}

func (st *stream) welcome(hello *telemetryv1.Hello) error {
	st.ping.sent = st.opts.Clock()
	st.opts.Logger.Info("agent connected", "node", st.agent.Node, "session", hello.GetSessionId(),
		"version", bounded(hello.GetAgentVersion()), "kernel", bounded(hello.GetKernelRelease()))
	st.noteCoverage(hello)
	return st.grpc.Send(&telemetryv1.ServerMessage{Message: &telemetryv1.ServerMessage_Welcome{
		Welcome: &telemetryv1.Welcome{ServerTime: timestamppb.New(st.ping.sent)},
	}})
}

// noteCoverage tells what this agent cannot see or do.
func (st *stream) noteCoverage(hello *telemetryv1.Hello) {
	coverage := hello.GetCoverage()
	partial := 0
	for _, c := range coverage[:min(maxCoverage, len(coverage))] {
		if c.GetComplete() && c.GetAvailable() {
			continue
		}
		partial++
		st.opts.Logger.Warn("agent's coverage is partial", "node", st.agent.Node,
			"capability", bounded(c.GetName()), "available", c.GetAvailable(), "detail", bounded(c.GetDetail()))
	}
	st.metrics.partial.WithLabelValues(st.agent.Node).Set(float64(partial))
}

// bounded keeps what an agent says about itself from filling the log.
func bounded(text string) string { return fmt.Sprintf("%.200s", text) }

// handle deals with one message and acknowledges it.
func (st *stream) handle(in incoming) error {
	if in.err != nil {
		return in.err
	}
	batch := in.message.GetBatch()
	switch {
	case in.message.GetPong() != nil:
		st.answeredClock(in.message.GetPong())
		return nil
	case in.message.GetResult() != nil:
		return st.answered(in.message.GetResult())
	case in.message.GetHello() != nil:
		return status.Error(codes.InvalidArgument, "a second Hello")
	case batch == nil:
		return nil // of a newer agent, which must not rely on it
	case batch.GetSequence() == 0:
		return status.Error(codes.InvalidArgument, "a batch without a sequence")
	case len(batch.GetEvents()) > st.opts.MaxBatchEvents:
		return status.Errorf(codes.InvalidArgument, "a batch of %d events, %d is the most", len(batch.GetEvents()), st.opts.MaxBatchEvents)
	}
	acked, err := st.take(batch)
	if err != nil {
		return err
	}
	return st.grpc.Send(&telemetryv1.ServerMessage{Message: &telemetryv1.ServerMessage_Ack{Ack: &telemetryv1.Ack{Sequence: acked}}})
}

// take hands a batch to the pipeline and returns up to which one all are taken.
func (st *stream) take(batch *telemetryv1.Batch) (acked uint64, err error) {
	begin := st.opts.Clock()
	st.session.mu.Lock()
	defer st.session.mu.Unlock()
	if batch.GetSequence() <= st.session.acked {
		st.metrics.duplicates.Inc()
		return st.session.acked, nil
	}
	events, refused := st.convert(batch.GetEvents(), begin)
	if err := st.ingest(events); err != nil {
		return 0, err
	}
	// Only now: a batch that is sent again would be counted twice.
	missing, lost := st.account(batch)
	st.session.acked = batch.GetSequence()
	st.tell(missing, lost, refused, reachedBy(events, begin), begin)
	st.metrics.batches.Inc()
	for _, e := range events {
		st.metrics.events.WithLabelValues(e.Kind.String()).Inc()
		st.metrics.lag.Observe(max(0, begin.Sub(e.Time).Seconds()))
	}
	st.metrics.ingest.Observe(st.opts.Clock().Sub(begin).Seconds())
	return st.session.acked, nil
}

// account counts what is missing before and in a batch, and what the agent lost.
func (st *stream) account(batch *telemetryv1.Batch) (skipped uint64, lost [len(causes)]uint64) {
	s := st.session
	batches := missing(s.acked, batch.GetSequence())
	var events uint64
	for _, e := range batch.GetEvents() {
		events += missing(s.lastEvent, e.GetSequence())
		s.lastEvent = max(s.lastEvent, e.GetSequence())
	}
	lost, grew := s.lostSince(batch.GetLost())
	if s.unheard && batch.GetSequence() > 1 {
		// Somebody was told of these before. What is known of the node does not go back to them, or has a hole until now.
		lost, grew = [len(causes)]uint64{}, false
	}
	s.arrived.Store(s.lastEvent)
	s.unheard = false
	if batches == 0 && events == 0 && !grew {
		return 0, lost
	}
	st.metrics.missingBatches.WithLabelValues(s.node).Add(float64(batches))
	st.metrics.missingEvents.WithLabelValues(s.node).Add(float64(events))
	for i, n := range lost {
		if n > 0 {
			st.metrics.lost.WithLabelValues(s.node, causes[i]).Add(float64(n))
		}
	}
	s.warnLoss.Do(func() {
		logger := st.opts.Logger.With("node", s.node, "session", s.id)
		for i, n := range lost {
			if n > 0 {
				logger = logger.With(causes[i], n)
			}
		}
		logger.Warn("telemetry was lost", "missingBatches", batches, "missingEvents", events)
	})
	return max(batches, events), lost
}

// convert makes events of those that can be taken; the others are counted. Refused are those of them that are missing thereby.
func (st *stream) convert(in []*telemetryv1.Event, received time.Time) (out []*event.Event, refused int) {
	from := origin{
		node: st.agent.Node, session: st.session.id, received: received, clock: st.clock.at(received),
	}
	out = make([]*event.Event, 0, len(in))
	for _, sent := range in {
		if first := sent.GetFirst(); first != nil && st.sessions.arrived(from.node, first) {
			st.metrics.repeated.Inc()
			continue
		}
		e, why := convert(sent, from)
		if why == refusedNone && !st.runsHere(e) {
			why = refusedForeignPod
		}
		if why != refusedNone {
			st.metrics.refused.WithLabelValues(string(why)).Inc()
			refused++
			if why != refusedForeignPod {
				continue
			}
			if e = st.opts.Claims.Event(e); e == nil {
				continue
			}
		}
		out = append(out, e)
	}
	return out, refused
}

// runsHere reports whether the agent may speak for the event's pod.
func (st *stream) runsHere(e *event.Event) bool {
	runs, known := st.opts.Placement.RunsOn(e.Pod.UID, st.agent.Node)
	if runs || !known {
		return true
	}
	st.session.warnForeign.Do(func() {
		st.opts.Logger.Error("an agent reported on a pod of another node: its node may be in an attacker's hands",
			"node", st.agent.Node, "agentPod", st.agent.PodName, "podUID", e.Pod.UID)
	})
	return false
}

// ingest offers events until the pipeline takes them, fails, or was busy for too long.
func (st *stream) ingest(events []*event.Event) error {
	if len(events) == 0 {
		return nil
	}
	// The work outlives the stream: half of it would be done again with the next one.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(st.grpc.Context()), st.opts.IngestTimeout)
	defer cancel()
	for pause := minBusyPause; ; pause = min(2*pause, maxBusyPause) {
		err := st.opts.Pipeline.Ingest(ctx, events)
		switch {
		case err == nil:
			return nil
		case !isBusy(err):
			st.opts.Logger.Error("telemetry could not be ingested", "node", st.agent.Node, "events", len(events), "error", err)
			return status.Error(codes.Unavailable, "the pipeline failed; the server's log says why")
		}
		select {
		case <-time.After(pause):
		case <-st.stopping:
			return status.Error(codes.Unavailable, "the server is stopping")
		case <-st.grpc.Context().Done():
			return status.FromContextError(st.grpc.Context().Err()).Err()
		case <-ctx.Done():
			return status.Errorf(codes.ResourceExhausted, "the pipeline has been busy for %s", st.opts.IngestTimeout)
		}
	}
}

func isBusy(err error) bool {
	busy, ok := errors.AsType[interface {
		error
		Busy() bool
	}](err)
	return ok && busy.Busy()
}
