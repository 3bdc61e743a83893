package transport

import (
	"context"
	"sync"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// maxCommands bounds the commands that are being done at once.
const maxCommands = 4

// commands does what the server asks for, beside the stream: one that takes long
// holds up no telemetry.
type commands struct {
	do      func(context.Context, *telemetryv1.Command) *telemetryv1.CommandResult
	replies chan *telemetryv1.AgentMessage // to the current stream, and perhaps the one before

	running sync.WaitGroup
	slots   chan struct{}
}

func newCommands(do func(context.Context, *telemetryv1.Command) *telemetryv1.CommandResult) *commands {
	if do == nil {
		do = func(context.Context, *telemetryv1.Command) *telemetryv1.CommandResult {
			return &telemetryv1.CommandResult{Outcome: telemetryv1.Outcome_OUTCOME_UNSUPPORTED, Detail: "this agent does nothing on command"}
		}
	}
	return &commands{
		do: do, slots: make(chan struct{}, maxCommands),
		replies: make(chan *telemetryv1.AgentMessage, 2*maxCommands),
	}
}

// start does a command in a goroutine of its own. What was begun is done, whatever becomes of
// the stream; ctx carries values only.
func (c *commands) start(ctx context.Context, command *telemetryv1.Command) {
	select {
	case c.slots <- struct{}{}:
	default:
		c.answer(command.GetId(), &telemetryv1.CommandResult{
			Outcome: telemetryv1.Outcome_OUTCOME_FAILED, Detail: "the agent is busy with other commands: ask again",
		})
		return
	}
	c.running.Go(func() {
		defer func() { <-c.slots }()
		c.answer(command.GetId(), c.do(context.WithoutCancel(ctx), command))
	})
}

func (c *commands) answer(id string, result *telemetryv1.CommandResult) {
	c.reply(resultOf(id, result))
}

// resultOf is the answer to the command with that id.
func resultOf(id string, result *telemetryv1.CommandResult) *telemetryv1.AgentMessage {
	result.Id = id
	return &telemetryv1.AgentMessage{Message: &telemetryv1.AgentMessage_Result{Result: result}}
}

// reply hands a message to the sender. One that nobody takes is forgotten: the
// server knows that a stream's end leaves open what was done.
func (c *commands) reply(m *telemetryv1.AgentMessage) {
	select {
	case c.replies <- m:
	default:
	}
}

// forget drops the replies that an earlier stream was to carry.
func (c *commands) forget() {
	for {
		select {
		case <-c.replies:
		default:
			return
		}
	}
}

func (c *commands) wait() { c.running.Wait() }
