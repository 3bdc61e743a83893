package collector

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

var shell = Session{
	Node: "node-1", EntityID: "boot-1-2", ContainerID: "c1", PodUID: "here", Reason: strings.Repeat("é", MaxReason),
}

// answer is what EndSession returned.
type answer struct {
	ended Ended
	err   error
}

// ask calls EndSession in the background.
func (r *rig) ask(ctx context.Context, what Session) <-chan answer {
	out := make(chan answer, 1)
	go func() {
		ended, err := r.server.EndSession(ctx, what)
		out <- answer{ended, err}
	}()
	return out
}

func (c *client) answers(id string, outcome telemetryv1.Outcome, detail string) {
	c.t.Helper()
	c.send(&telemetryv1.AgentMessage{Message: &telemetryv1.AgentMessage_Result{
		Result: &telemetryv1.CommandResult{Id: id, Outcome: outcome, Ended: 3, Detail: detail},
	}})
}

func TestEndSession(t *testing.T) {
	for outcome, want := range map[telemetryv1.Outcome]Outcome{
		telemetryv1.Outcome_OUTCOME_DONE:        OutcomeDone,
		telemetryv1.Outcome_OUTCOME_NOT_FOUND:   OutcomeNotFound,
		telemetryv1.Outcome_OUTCOME_REFUSED:     OutcomeRefused,
		telemetryv1.Outcome_OUTCOME_FAILED:      OutcomeFailed,
		telemetryv1.Outcome_OUTCOME_UNSUPPORTED: OutcomeUnsupported,
		telemetryv1.Outcome(99):                 OutcomeFailed,
	} {
		t.Run(string(want), func(t *testing.T) {
			r := newRig(t, nil)
			c := r.agent("node-1", "s-1")
			result := r.ask(t.Context(), shell)
			command := c.recv().GetCommand()
			wantCommand := &telemetryv1.EndSession{
				EntityId: "boot-1-2", Container: &telemetryv1.Container{Id: "c1", PodUid: "here"},
				Reason: strings.Repeat("é", MaxReason/2),
			}
			if diff := cmp.Diff(wantCommand, command.GetEndSession(), protocmp.Transform()); diff != "" {
				t.Errorf("the command differs (-want +got):\n%s", diff)
			}
			c.answers("of another command", telemetryv1.Outcome_OUTCOME_FAILED, "")
			c.answers(command.GetId(), outcome, strings.Repeat("x", 1000))
			got := <-result
			if got.err != nil || got.ended.Outcome != want || got.ended.Processes != 3 || len(got.ended.Detail) > 200 {
				t.Errorf("the answer is %+v, %v", got.ended, got.err)
			}
			if n := testutil.ToFloat64(r.server.metrics.commands.WithLabelValues(string(want))); n != 1 {
				t.Errorf("%v commands are counted", n)
			}
			c.batch(batchOf(1, exec(1, "here")))
			c.acked(1)
		})
	}
}

func TestEndSessionNeedsAnAgent(t *testing.T) {
	r := newRig(t, nil)
	c := r.agent("node-2", "s-1")
	if got := <-r.ask(t.Context(), shell); !errors.Is(got.err, ErrNotConnected) {
		t.Errorf("without an agent: %v", got.err)
	}
	nothing := shell
	nothing.ContainerID = ""
	if got := <-r.ask(t.Context(), nothing); got.err == nil || !strings.Contains(got.err.Error(), "container id") {
		t.Errorf("without a container: %v", got.err)
	}
	c.batch(batchOf(1))
	c.acked(1)
}

func TestEndSessionOfAnAgentThatGoes(t *testing.T) {
	r := newRig(t, nil)
	c := r.agent("node-1", "s-1")
	result := r.ask(t.Context(), shell)
	c.recv()
	c.send(&telemetryv1.AgentMessage{Message: &telemetryv1.AgentMessage_Hello{}})
	c.ended(codes.InvalidArgument)
	if got := <-result; !errors.Is(got.err, ErrNoAnswer) {
		t.Errorf("of an agent that went: %v", got.err)
	}
}

func TestEndSessionHasTheCallersPatience(t *testing.T) {
	r := newRig(t, nil)
	c := r.agent("node-1", "s-1")
	ctx, cancel := context.WithCancel(t.Context())
	result := r.ask(ctx, shell)
	command := c.recv().GetCommand()
	cancel()
	if got := <-result; !errors.Is(got.err, context.Canceled) {
		t.Errorf("after the caller went: %v", got.err)
	}
	c.answers(command.GetId(), telemetryv1.Outcome_OUTCOME_DONE, "") // nobody waits for it
	c.batch(batchOf(1))
	c.acked(1)
}

func TestEndSessionAsksTheNewestAgent(t *testing.T) {
	r := newRig(t, nil)
	old := r.agent("node-1", "s-1")
	young := r.agent("node-1", "s-2")
	result := r.ask(t.Context(), shell)
	young.answers(young.recv().GetCommand().GetId(), telemetryv1.Outcome_OUTCOME_DONE, "")
	if got := <-result; got.err != nil || got.ended.Outcome != OutcomeDone {
		t.Errorf("the answer is %+v, %v", got.ended, got.err)
	}
	old.batch(batchOf(1))
	old.acked(1)
}
