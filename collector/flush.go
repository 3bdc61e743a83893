package collector

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// ErrCannotFlush says that an agent of the node is too old to flush.
var ErrCannotFlush = errors.New("the agent of that node cannot flush: it is older than the server")

// Flush is a barrier: it returns nil once everything that the kernel of a node had recorded when Flush was called
// has been received and handed to the Pipeline. (An event whose pod is not known yet may go on waiting behind the Pipeline, and
// what is lost is lost: see Losses.) An error means that something may be on its way still: it is
// ErrNotConnected, ErrNoAnswer, ErrCannotFlush, the agent's, or ctx's.
//
// Any number may call it at once: those who come while an agent is asked share the next
// question. Only the replica that has the node's stream can ask.
func (s *Server) Flush(ctx context.Context, node string) error {
	begin := s.opts.Clock()
	err := s.flush(ctx, node)
	s.metrics.flushes.WithLabelValues(flushOutcome(err)).Inc()
	s.metrics.flush.Observe(s.opts.Clock().Sub(begin).Seconds())
	if err != nil {
		return fmt.Errorf("flush the telemetry of %s: %w", node, err)
	}
	return nil
}

// flush asks all agents of the node: of one that is being replaced, the older one may have seen what the younger has not.
func (s *Server) flush(ctx context.Context, node string) error {
	streams := s.sessions.streamsOf(node)
	if len(streams) == 0 {
		return ErrNotConnected
	}
	answers := make([]<-chan error, len(streams))
	for i, st := range streams {
		answer, err := st.flushes.join()
		if err != nil {
			return err
		}
		answers[i] = answer
	}
	for i, st := range streams {
		if err := st.flushed(ctx, answers[i]); err != nil {
			return err
		}
	}
	return nil
}

// flushed waits for an answer.
func (st *stream) flushed(ctx context.Context, answer <-chan error) error {
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-st.over:
	}
	select {
	case err := <-answer: // the last thing that was dealt with
		return err
	default:
	}
	if st.inGoodOrder {
		return nil // The agent has stopped, and had everything acknowledged.
	}
	return ErrNoAnswer
}

func flushOutcome(err error) string {
	switch {
	case err == nil:
		return "done"
	case errors.Is(err, ErrNotConnected):
		return "not-connected"
	case errors.Is(err, ErrNoAnswer):
		return "no-answer"
	case errors.Is(err, ErrCannotFlush):
		return "unsupported"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "too-late"
	default:
		return "failed"
	}
}

// maxFlushes bounds who waits for one agent.
const maxFlushes = 4096

// flushes are those who wait for a stream's agent to flush. One question is under way at a time.
type flushes struct {
	mu sync.Mutex
	// The question with that id serves asked; who came since waits for the next one.
	id             string // empty if none is under way
	asked, waiting []chan<- error
	wake           chan struct{} // holds a token when there may be something to ask
}

// join has somebody wait. The answer is never closed, and can be left alone.
func (f *flushes) join() (<-chan error, error) {
	answer := make(chan error, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.waiting) >= maxFlushes {
		return nil, fmt.Errorf("%d wait for it already", len(f.waiting))
	}
	f.waiting = append(f.waiting, answer)
	select {
	case f.wake <- struct{}{}:
	default:
	}
	return answer, nil
}

// next is the id of a question that is due.
func (f *flushes) next() (id string, due bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.id != "" || len(f.waiting) == 0 {
		return "", false
	}
	f.id, f.asked, f.waiting = rand.Text(), f.waiting, nil
	return f.id, true
}

// answer lets those go who asked, if it was that question.
func (f *flushes) answer(id string, err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.id == "" || f.id != id {
		return false
	}
	for _, asked := range f.asked {
		asked <- err
	}
	f.id, f.asked = "", nil
	return true
}

// askFlush asks the agent, if somebody waits and it is not being asked already.
func (st *stream) askFlush() error {
	id, due := st.flushes.next()
	if !due {
		return nil
	}
	return st.send(&telemetryv1.Command{Id: id, What: &telemetryv1.Command_Flush{Flush: &telemetryv1.Flush{}}})
}

// answeredFlush takes an answer, of which it says whether it was one to a flush. All batches that the agent
// had sent before are dealt with: they came on this stream, or had been acknowledged.
func (st *stream) answeredFlush(result *telemetryv1.CommandResult) (was bool, err error) {
	var failed error
	switch result.GetOutcome() {
	case telemetryv1.Outcome_OUTCOME_DONE:
	case telemetryv1.Outcome_OUTCOME_UNSUPPORTED:
		failed = ErrCannotFlush
	default:
		failed = fmt.Errorf("the agent could not: %s", bounded(result.GetDetail()))
	}
	if !st.flushes.answer(result.GetId(), failed) {
		return false, nil
	}
	return true, st.askFlush()
}
