package coverage

import (
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// Agents notes what the collector tells of the agents' streams. It satisfies collector.Losses.
type Agents struct{ ledger *Ledger }

// Agents returns the Ledger's side of the collector.
func (l *Ledger) Agents() Agents { return Agents{l} }

// Connected notes that the node has a stream, of the agent process with that session. It returns up to when everything of the
// node has arrived, zero if nothing has, and the numbers that Reached was last called with for the session: nil if it is a
// new one. They are not exact if others may have come after them.
func (a Agents) Connected(node, session string, at time.Time) (reached time.Time, numbers []uint64, exact bool) {
	l := a.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.source(FamilyAgent+node, at)
	reached = s.reached
	s.catchUp = at
	if s.session == session {
		return reached, append([]uint64{}, s.numbers...), s.exact
	}
	if s.session != "" {
		// What the process before had not sent went with it.
		l.end(s, CauseDisconnected, CauseRestarted, at)
	}
	// Of the time before it is told already, so that the new process begins here.
	s.session, s.reached, s.heard, s.numbers, s.exact, s.stored = session, at, at, nil, false, time.Time{}
	return reached, nil, false
}

// Reached notes that everything which the session saw up to then has arrived, but for what Lost tells. The numbers are
// the collector's own, for the next time that the session connects.
func (a Agents) Reached(node, session string, at time.Time, numbers ...uint64) {
	l := a.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sources[FamilyAgent+node]
	if s == nil || s.session != session {
		return
	}
	if len(s.numbers) == 0 { // Nothing could be compared with these if they were lost.
		s.stored = time.Time{}
	}
	s.numbers, s.exact, s.moved, s.heard = append(s.numbers[:0], numbers...), true, true, l.opts.Clock()
	if at.After(s.reached) {
		s.reached = at
	}
	if !s.catchUp.IsZero() && !at.Before(s.catchUp) {
		s.catchUp = time.Time{}
		s.take(CauseDisconnected)
	}
}

// Disconnected notes that the node has no stream any more.
func (a Agents) Disconnected(node string, at time.Time) {
	l := a.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.source(FamilyAgent+node, at)
	from := at
	if !s.reached.IsZero() && s.reached.Before(at) {
		from = s.reached
	}
	s.catchUp = time.Time{}
	s.begin(CauseDisconnected, from)
}

// Lost notes that events of the node are missing, n of them if that is known.
func (a Agents) Lost(node, cause string, from, to time.Time, n uint64) {
	a.ledger.Note(event.Hole{Source: FamilyAgent + node, From: from, To: to, Cause: cause, Lost: n})
}
