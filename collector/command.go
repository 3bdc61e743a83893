package collector

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// Errors of EndSession.
var (
	// ErrNotConnected: no agent of the node has a stream to this server. It may have one to another replica.
	ErrNotConnected = errors.New("no agent of that node is connected to this server")
	// ErrNoAnswer: the agent went before it answered. Whether the session was
	// ended is not known; to ask again does no harm.
	ErrNoAnswer = errors.New("the agent went before it answered")
)

// Session names an exec session that is to end: everything that descends from
// one entry leader.
type Session struct {
	// Node that it runs on.
	Node string
	// EntityID is the entry leader's, event.EntryLeader.EntityID.
	EntityID string
	// ContainerID and PodUID say where it runs. Where they do not agree with the
	// EntityID nothing is ended.
	ContainerID, PodUID string
	// MainProcess permits to end a container's first process, and thereby the container.
	MainProcess bool
	// Reason is shown at the session's terminal, or to who reads its standard error, before it ends, where the
	// agent may write to that. At most MaxReason bytes of it.
	Reason string
}

// MaxReason bounds Session.Reason.
const MaxReason = 256

// Outcome is what became of a session that was to end.
type Outcome string

// The outcomes.
const (
	// OutcomeDone: no process of it is left.
	OutcomeDone Outcome = "done"
	// OutcomeNotFound: it had ended before.
	OutcomeNotFound Outcome = "not-found"
	// OutcomeRefused: it is a container's main process, or in another container than was said.
	OutcomeRefused Outcome = "refused"
	// OutcomeFailed: some of it is left.
	OutcomeFailed Outcome = "failed"
	// OutcomeUnsupported: the agent cannot end sessions, for want of hostPID or the capability KILL.
	OutcomeUnsupported Outcome = "unsupported"
)

// Ended is an agent's answer.
type Ended struct {
	Outcome Outcome
	// Processes that were ended.
	Processes int
	// Detail says more, for people. The agent wrote it: escape it before a terminal or page shows it.
	Detail string
}

// EndSession asks the agent on a node to end an exec session, and waits for its
// answer or ctx's end. An error means that nothing is known of the outcome: it is
// ErrNotConnected, ErrNoAnswer or ctx's.
func (s *Server) EndSession(ctx context.Context, what Session) (Ended, error) {
	if what.EntityID == "" || !validID(what.ContainerID) || !validID(what.PodUID) {
		return Ended{}, errors.New("end a session: it needs an entity id, a container id and a pod UID")
	}
	st := s.sessions.streamOf(what.Node)
	if st == nil {
		return Ended{}, fmt.Errorf("end a session on %s: %w", what.Node, ErrNotConnected)
	}
	result, err := st.ask(ctx, &telemetryv1.Command{
		Id: rand.Text(),
		What: &telemetryv1.Command_EndSession{EndSession: &telemetryv1.EndSession{
			EntityId:    what.EntityID,
			Container:   &telemetryv1.Container{Id: what.ContainerID, PodUid: what.PodUID},
			MainProcess: what.MainProcess,
			Reason:      strings.ToValidUTF8(what.Reason[:min(MaxReason, len(what.Reason))], ""),
		}},
	})
	if err != nil {
		s.metrics.commands.WithLabelValues("no-answer").Inc()
		return Ended{}, fmt.Errorf("end a session on %s: %w", what.Node, err)
	}
	ended := Ended{
		Outcome: outcome(result.GetOutcome()), Processes: int(result.GetEnded()), Detail: bounded(result.GetDetail()),
	}
	s.metrics.commands.WithLabelValues(string(ended.Outcome)).Inc()
	s.opts.Logger.Info("agent answered a command to end a session", "node", what.Node, "entity", what.EntityID,
		"container", what.ContainerID, "podUID", what.PodUID, "outcome", string(ended.Outcome), "processes", ended.Processes, "detail", ended.Detail)
	return ended, nil
}

func outcome(o telemetryv1.Outcome) Outcome {
	switch o {
	case telemetryv1.Outcome_OUTCOME_DONE:
		return OutcomeDone
	case telemetryv1.Outcome_OUTCOME_NOT_FOUND:
		return OutcomeNotFound
	case telemetryv1.Outcome_OUTCOME_REFUSED:
		return OutcomeRefused
	case telemetryv1.Outcome_OUTCOME_UNSUPPORTED:
		return OutcomeUnsupported
	default: // also what a newer agent may say
		return OutcomeFailed
	}
}

// maxAsked bounds the commands that one agent may owe an answer to.
const maxAsked = 64

// ask hands a command to the stream's goroutine and waits for the answer.
func (st *stream) ask(ctx context.Context, command *telemetryv1.Command) (*telemetryv1.CommandResult, error) {
	answer := make(chan *telemetryv1.CommandResult, 1)
	st.asked.Lock()
	if len(st.asked.answers) >= maxAsked {
		st.asked.Unlock()
		return nil, fmt.Errorf("%d commands wait for the agent's answer already", maxAsked)
	}
	st.asked.answers[command.GetId()] = answer
	st.asked.Unlock()
	defer func() {
		st.asked.Lock()
		defer st.asked.Unlock()
		delete(st.asked.answers, command.GetId())
	}()
	select {
	case st.commands <- command:
	case <-st.over:
		return nil, ErrNoAnswer
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case result := <-answer:
		return result, nil
	case <-st.over:
		return nil, ErrNoAnswer
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// answered hands an answer to whoever asked. One that nobody waits for is of an
// earlier stream, or came too late.
func (st *stream) answered(result *telemetryv1.CommandResult) error {
	if was, err := st.answeredFlush(result); was {
		return err
	}
	st.asked.Lock()
	defer st.asked.Unlock()
	if answer, ok := st.asked.answers[result.GetId()]; ok {
		select {
		case answer <- result:
		default: // a second answer
		}
	}
	return nil
}

// send hands a command to the agent.
func (st *stream) send(command *telemetryv1.Command) error {
	err := st.grpc.Send(&telemetryv1.ServerMessage{Message: &telemetryv1.ServerMessage_Command{Command: command}})
	if err != nil {
		return status.Errorf(codes.Unavailable, "send a command: %v", err)
	}
	return nil
}
