package collector

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc/codes"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// flush calls Flush in the background.
func (r *rig) flush(ctx context.Context, node string) <-chan error {
	done := make(chan error, 1)
	go func() { done <- r.server.Flush(ctx, node) }()
	return done
}

// joined has somebody wait for a flush of a node that has one stream, from now on.
func (r *rig) joined(node string) <-chan error {
	r.t.Helper()
	answer, err := r.server.sessions.streamsOf(node)[0].flushes.join()
	if err != nil {
		r.t.Fatal(err)
	}
	return answer
}

// flushAsked is the id of the flush that the agent is asked for next.
func (c *client) flushAsked() string {
	c.t.Helper()
	command := c.recv().GetCommand()
	if command.GetFlush() == nil {
		c.t.Fatalf("the agent is told %v, want to flush", command)
	}
	return command.GetId()
}

func TestFlushReturnsBehindTheBatchesBeforeIt(t *testing.T) {
	r := newRig(t, nil)
	c := r.agent("node-1", "s-1")
	done := r.flush(t.Context(), "node-1")
	id := c.flushAsked()
	c.batch(batchOf(1, exec(1, "here"), exec(2, "here")))
	c.answers(id, telemetryv1.Outcome_OUTCOME_DONE, "")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := len(r.pipeline.ids()); n != 2 {
		t.Errorf("when the flush was over the pipeline had %d events, want 2", n)
	}
	c.acked(1)
}

func TestFlushesShareTheNextQuestionNeverTheOneUnderWay(t *testing.T) {
	r := newRig(t, nil)
	c := r.agent("node-1", "s-1")
	first := r.flush(t.Context(), "node-1")
	id := c.flushAsked()
	second, third := r.joined("node-1"), r.joined("node-1")
	c.answers(id, telemetryv1.Outcome_OUTCOME_DONE, "")
	if err := <-first; err != nil {
		t.Error(err)
	}
	next := c.flushAsked()
	select {
	case <-second:
		t.Error("a flush ended with an answer to a question that was asked before it")
	default:
	}
	c.answers(id, telemetryv1.Outcome_OUTCOME_FAILED, "an answer that was given already")
	c.answers(next, telemetryv1.Outcome_OUTCOME_DONE, "")
	for _, done := range []<-chan error{second, third} {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestFlushesThatCannotBe(t *testing.T) {
	r := newRig(t, nil)
	if err := <-r.flush(t.Context(), "node-1"); !errors.Is(err, ErrNotConnected) {
		t.Errorf("without an agent: %v", err)
	}
	c := r.agent("node-1", "s-1")
	done := r.flush(t.Context(), "node-1")
	c.answers(c.flushAsked(), telemetryv1.Outcome_OUTCOME_UNSUPPORTED, "")
	if err := <-done; !errors.Is(err, ErrCannotFlush) {
		t.Errorf("of an old agent: %v", err)
	}
	done = r.flush(t.Context(), "node-1")
	c.answers(c.flushAsked(), telemetryv1.Outcome_OUTCOME_FAILED, "the ring is closed")
	if err := <-done; err == nil || errors.Is(err, ErrCannotFlush) {
		t.Errorf("of an agent that failed: %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	done = r.flush(ctx, "node-1")
	late := c.flushAsked()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("of a caller who went: %v", err)
	}
	c.answers(late, telemetryv1.Outcome_OUTCOME_DONE, "")

	done = r.flush(t.Context(), "node-1")
	c.flushAsked()
	c.send(&telemetryv1.AgentMessage{Message: &telemetryv1.AgentMessage_Hello{}})
	c.ended(codes.InvalidArgument)
	if err := <-done; !errors.Is(err, ErrNoAnswer) {
		t.Errorf("of an agent that went: %v", err)
	}
}

// TestFlushOfAnAgentThatStops: whoever ends the stream in good order has nothing left to send.
func TestFlushOfAnAgentThatStops(t *testing.T) {
	r := newRig(t, nil)
	c := r.agent("node-1", "s-1")
	done := r.flush(t.Context(), "node-1")
	c.flushAsked()
	c.batch(batchOf(1, exec(1, "here")))
	if err := c.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := len(r.pipeline.ids()); n != 1 {
		t.Errorf("when the flush was over the pipeline had %d events, want 1", n)
	}
}

// TestFlushAsksBothAgentsOfANode: while one replaces the other.
func TestFlushAsksBothAgentsOfANode(t *testing.T) {
	r := newRig(t, nil)
	old, young := r.agent("node-1", "s-1"), r.agent("node-1", "s-2")
	done := r.flush(t.Context(), "node-1")
	young.answers(young.flushAsked(), telemetryv1.Outcome_OUTCOME_DONE, "")
	id := old.flushAsked()
	select {
	case err := <-done:
		t.Errorf("the flush was over before the older agent had answered: %v", err)
	default:
	}
	old.answers(id, telemetryv1.Outcome_OUTCOME_DONE, "")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestFlushIsBounded(t *testing.T) {
	r := newRig(t, nil)
	r.agent("node-1", "s-1")
	st := r.server.sessions.streamsOf("node-1")[0]
	for range 2 * maxFlushes {
		if _, err := st.flushes.join(); err != nil {
			return
		}
	}
	t.Errorf("%d callers wait for one agent", 2*maxFlushes)
}
