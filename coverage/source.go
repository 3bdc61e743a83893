package coverage

import (
	"slices"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// source is what is known of one source. The Ledger's mutex guards it.
type source struct {
	name string
	// since is from when on it was watched.
	since time.Time
	// ended are sorted by From, open are those that last, one a cause.
	ended, open []event.Hole

	// Of an agent: session is the process that spoke last, reached is up to when everything of it has
	// arrived, and catchUp, if not zero, what it has to reach until its time without a stream is made up for.
	session          string
	reached, catchUp time.Time

	// stored is when it was stored, zero if it has changed since.
	stored time.Time
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
