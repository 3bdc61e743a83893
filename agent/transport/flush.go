package transport

import (
	"context"
	"sync"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// flushes has what happened before be read, for the server that asks for it. It is answered by the
// sender, behind the last event of that.
type flushes struct {
	do   func(context.Context) error
	read chan flush // to the current stream's sender

	running sync.WaitGroup
	slots   chan struct{}
}

// flush is one whose events are in the spool, up to a place.
type flush struct {
	id    string
	place uint64
}

// maxFlushes bounds those that are under way. A server asks for the next one once it has its answer.
const maxFlushes = 4

func newFlushes(do func(context.Context) error) *flushes {
	return &flushes{do: do, read: make(chan flush, maxFlushes), slots: make(chan struct{}, maxFlushes)}
}

// start begins one in a goroutine of its own, which ends with ctx. It returns the answer if it does not begin; failed is told
// of an error. place is asked where the spool ends then.
func (f *flushes) start(ctx context.Context, id string, place func() uint64, failed func(string, *telemetryv1.CommandResult)) *telemetryv1.CommandResult {
	if f.do == nil {
		return &telemetryv1.CommandResult{Outcome: telemetryv1.Outcome_OUTCOME_UNSUPPORTED, Detail: "this agent cannot flush"}
	}
	select {
	case f.slots <- struct{}{}:
	default:
		return &telemetryv1.CommandResult{Outcome: telemetryv1.Outcome_OUTCOME_FAILED, Detail: "the agent is flushing already: ask again"}
	}
	f.running.Go(func() {
		defer func() { <-f.slots }()
		if err := f.do(ctx); err != nil {
			failed(id, &telemetryv1.CommandResult{Outcome: telemetryv1.Outcome_OUTCOME_FAILED, Detail: err.Error()})
			return
		}
		select {
		case f.read <- flush{id, place()}:
		case <-ctx.Done():
		}
	})
	return nil
}
