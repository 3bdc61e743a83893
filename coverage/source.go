package coverage

import (
	"slices"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// source is what is known of one source. The Ledger's mutex guards it.
type source struct {
	name string
	// share is what stands for it when there is no room; its own name if nothing does. rank is its place in the Ledger's ranking.
	share string
	rank  int
	// since is from when on it was watched.
	since time.Time
	// ended are sorted by From, open are those that last, one a cause.
	ended, open []event.Hole

	// Of an agent: session is the process that spoke last, reached is up to when everything of it has
	// arrived, heard when it last said so, and catchUp, if not zero, what it has to reach until its time without a stream
	// is made up for. numbers are the collector's, exact if it can have given none after them.
	session                 string
	reached, heard, catchUp time.Time
	numbers                 []uint64
	exact                   bool

	// stored is when it was stored, zero if it has changed since; moved is set if only an agent's progress has.
	stored time.Time
	moved  bool
}

const (
	// promptWithin is how old an agent's news may be if it is not behind: it sends at once what it sees, within milliseconds
	// unless it has much to send. Clocks that are corrected are better than this.
	promptWithin = 2 * time.Second
	// silentFor is how long an agent that is not behind may say nothing: every 10 s it says that there was nothing.
	silentFor = 15 * time.Second
)

// pending is the time up to then of which an agent has not told yet. One that is not behind and was heard of just now
// has had nothing to tell: it would have. What has arrived says that everything before it has, too. An agent without a
// stream has a hole already.
func (s *source) pending(arrived, to, now time.Time) (event.Hole, bool) {
	if s.session == "" || s.lasting(CauseDisconnected) >= 0 {
		return event.Hole{}, false
	}
	reached := s.reached
	if arrived.After(reached) {
		reached = arrived
	}
	prompt := s.heard.Sub(s.reached) <= promptWithin && now.Sub(s.heard) <= silentFor
	if prompt || !to.After(reached) {
		return event.Hole{}, false
	}
	return event.Hole{Source: s.name, From: reached, To: to, Cause: CausePending}, true
}

// touches reports whether the hole and the time from..to have a moment in common.
func touches(h event.Hole, from, to time.Time) bool {
	return !h.From.After(to) && (h.To.IsZero() || !h.To.Before(from))
}

// add notes a hole that has ended: those of the same cause that it touches become one with it. It returns by
// how much the number of holes grew.
func (s *source) add(h event.Hole) (grew int) {
	s.stored = time.Time{}
	before := len(s.ended)
	s.ended = slices.DeleteFunc(s.ended, func(other event.Hole) bool {
		if other.Cause != h.Cause || !touches(other, h.From, h.To) {
			return false
		}
		h = union(h, other)
		return true
	})
	at, _ := slices.BinarySearchFunc(s.ended, h, func(a, b event.Hole) int { return a.From.Compare(b.From) })
	s.ended = slices.Insert(s.ended, at, h)
	return len(s.ended) - before
}

// union is a hole that covers both.
func union(a, b event.Hole) event.Hole {
	if b.From.Before(a.From) {
		a.From = b.From
	}
	if b.To.After(a.To) {
		a.To = b.To
	}
	a.Lost += b.Lost
	if a.Cause != b.Cause {
		a.Cause = CauseSeveral
	}
	return a
}

// compact makes the ended holes no more than n, by closing the shortest times between two. It returns how many are gone.
func (s *source) compact(n int) (gone int) {
	for ; len(s.ended) > max(1, n); gone++ {
		best, least := 1, time.Duration(1<<63-1)
		for i := 1; i < len(s.ended); i++ {
			if between := s.ended[i].From.Sub(s.ended[i-1].To); between < least {
				best, least = i, between
			}
		}
		s.ended[best-1] = union(s.ended[best-1], s.ended[best])
		s.ended = slices.Delete(s.ended, best, best+1)
		s.stored = time.Time{}
	}
	return gone
}

// lasting is the index of the open hole of that cause, -1 without one.
func (s *source) lasting(cause string) int {
	return slices.IndexFunc(s.open, func(h event.Hole) bool { return h.Cause == cause })
}

// begin opens a hole. One of the same cause that is open already began at the earlier of the two times.
func (s *source) begin(cause string, from time.Time) {
	i := s.lasting(cause)
	switch {
	case i < 0:
		s.open = append(s.open, event.Hole{Source: s.name, From: from, Cause: cause})
	case from.Before(s.open[i].From):
		s.open[i].From = from
	default:
		return
	}
	s.stored = time.Time{}
}

// take removes the open hole of that cause.
func (s *source) take(cause string) (h event.Hole, ok bool) {
	i := s.lasting(cause)
	if i < 0 {
		return h, false
	}
	h = s.open[i]
	s.open = slices.Delete(s.open, i, i+1)
	s.stored = time.Time{}
	return h, true
}

// expire forgets the holes that ended before then. It returns how many.
func (s *source) expire(then time.Time) (gone int) {
	before := len(s.ended)
	s.ended = slices.DeleteFunc(s.ended, func(h event.Hole) bool { return h.To.Before(then) })
	if gone = before - len(s.ended); gone > 0 {
		s.stored = time.Time{}
	}
	return gone
}

// between appends the holes that touch the time from..to, that before the source was watched included if
// it is expected.
func (s *source) between(out []event.Hole, from, to time.Time, expected bool) []event.Hole {
	if expected && s.since.After(from) {
		out = append(out, event.Hole{Source: s.name, From: from, To: s.since, Cause: CauseUnknown})
	}
	for _, holes := range [][]event.Hole{s.ended, s.open} {
		for _, h := range holes {
			if touches(h, from, to) {
				out = append(out, h)
			}
		}
	}
	return out
}
