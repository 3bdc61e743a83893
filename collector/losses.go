package collector

import (
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// Losses is told what of the agents' telemetry may be missing. Its methods must not block. Times are
// the server's clock's.
type Losses interface {
	// Connected tells that the node has a stream, of the agent process with that session. It returns what is known from before,
	// maybe of an earlier process: up to when everything of the node has arrived, zero if that is not known, and the numbers
	// that Reached was last called with for the session, nil if it is a new one. They are exact if nothing can have
	// arrived since.
	Connected(node, session string, at time.Time) (reached time.Time, numbers []uint64, exact bool)
	// Reached tells that everything which the session saw up to then has arrived, but for what Lost tells.
	Reached(node, session string, at time.Time, numbers ...uint64)
	// Disconnected tells that the node has no stream any more.
	Disconnected(node string, at time.Time)
	// Lost tells that n events of the node which happened between from and to are missing.
	Lost(node, cause string, from, to time.Time, n uint64)
}

// The causes that Lost names beside those that agents count.
const (
	// CauseMissing: numbers of events or batches that the agent skipped.
	CauseMissing = "sequence-gap"
	// CauseRefused: events that made no sense.
	CauseRefused = "refused"
)

// lossCauses are what Lost calls what agents count, in the order of causes. Empty are those of which an event of its own tells
// (ActionLimit): that loss is the container's that did too much, not its node's.
var lossCauses = [len(causes)]string{"kernel-ring-full", "agent-spool-full", "agent-undecodable", "", "", "", "", "kernel-program-skipped"}

// noLosses is nobody who wants to know.
type noLosses struct{}

func (noLosses) Connected(string, string, time.Time) (reached time.Time, numbers []uint64, exact bool) {
	return time.Time{}, nil, false
}
func (noLosses) Reached(string, string, time.Time, ...uint64)      {}
func (noLosses) Disconnected(string, time.Time)                    {}
func (noLosses) Lost(string, string, time.Time, time.Time, uint64) {}

// numbers are the session's, for Losses to remember: what its next batch is compared with.
func (s *session) numbers() []uint64 { return append([]uint64{s.acked, s.lastEvent}, s.lost[:]...) }

// resume takes over what is known of a session that an earlier process has dealt with. Without exact numbers nobody can say
// which batches have arrived already; what the agent has lost only grows.
func (s *session) resume(reached time.Time, numbers []uint64, exact bool) {
	s.reached = reached
	s.unheard = numbers == nil
	if len(numbers) != 2+len(s.lost) {
		return
	}
	if exact {
		s.acked, s.lastEvent = numbers[0], numbers[1]
		s.arrived.Store(s.lastEvent)
	}
	copy(s.lost[:], numbers[2:])
}

// tell tells what is missing of a batch that was received then, and that the session has reached up to its last event.
func (st *stream) tell(missing uint64, lost [len(causes)]uint64, refused int, reached, received time.Time) {
	s := st.session
	from := s.reached
	if from.IsZero() {
		from = s.begun
	}
	for i, n := range lost {
		if n > 0 && lossCauses[i] != "" {
			st.opts.Losses.Lost(s.node, lossCauses[i], from, received, n)
		}
	}
	if missing > 0 {
		st.opts.Losses.Lost(s.node, CauseMissing, from, received, missing)
	}
	if refused > 0 {
		st.opts.Losses.Lost(s.node, CauseRefused, from, received, uint64(refused))
	}
	if reached.After(s.reached) {
		s.reached = reached
	}
	st.opts.Losses.Reached(s.node, s.id, s.reached, s.numbers()...)
}

// reachedBy is up to when a batch tells everything: agents send in order, and one without events has nothing left to send.
func reachedBy(events []*event.Event, received time.Time) time.Time {
	if len(events) == 0 {
		return received
	}
	// No later than it can be, whatever an agent says.
	last := events[len(events)-1].Time
	if last.After(received) {
		return received
	}
	return last
}
