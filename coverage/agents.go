package coverage

import (
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// Agents notes what the collector tells of the agents' streams. It satisfies collector.Losses.
type Agents struct{ ledger *Ledger }

// Agents returns the Ledger's side of the collector.
func (l *Ledger) Agents() Agents { return Agents{l} }

// Connected notes that the node has a stream, of the agent process with that session.
func (a Agents) Connected(node, session string, at time.Time) {
	l := a.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.source(FamilyAgent+node, at)
	if s.session != session {
		if s.session != "" {
			// What the process before had not sent went with it.
			l.end(s, CauseDisconnected, CauseRestarted, at)
		}
		s.session, s.reached, s.stored = session, time.Time{}, time.Time{}
	}
	s.catchUp = at
}

// Reached notes that everything which the session saw up to then has arrived, but for what Lost tells.
func (a Agents) Reached(node, session string, at time.Time) {
	l := a.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sources[FamilyAgent+node]
	if s == nil || s.session != session {
		return
	}
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
