package jetstream

import (
	"hash/maphash"
	"sync"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/portcullis-dev/portcullis/event"
)

// What one owner may have of the bus: a part of what nobody has, so that one alone gets to a quarter, two to a fifth
// each, and so on, and together they never fill it; and a small part of the whole in any case. Those
// who have no more than that are many if they fill it, and are refused, not cut off.
const (
	partOfFree  = 3
	partOfWhole = 64
)

// overhead is about what a message takes besides its data.
const overhead = 64

// maxGenerations bounds what is remembered of a bus of which nothing is let go: that is some 5 MiB.
const maxGenerations = 2 * ageSteps

// generation is what was stored in a time. It is let go as a whole.
type generation struct {
	bytes table
	empty bool
	// last is the last sequence of what it counts, as far as is known.
	last uint64
	born time.Time
	gone bool
}

// shares knows how much of the bus each owner has. Its methods may be called concurrently.
type shares struct {
	seed maphash.Seed

	mu sync.Mutex
	// bound is the stream's, held what it has of it.
	bound, held int64
	// before is the last sequence of what was there at the start.
	before uint64
	total  table
	// generations are never none, oldest first. The last one takes what is published.
	generations []*generation
}

func newShares(now time.Time) *shares {
	return &shares{seed: maphash.MakeSeed(), generations: []*generation{newGeneration(now)}}
}

func newGeneration(now time.Time) *generation { return &generation{empty: true, born: now} }

// account is that of an event's owner.
func (s *shares) account(e *event.Event) account {
	var buffer [320]byte // more than an owner's name
	return account(maphash.Bytes(s.seed, e.AppendOwner(buffer[:0])))
}

// over reports whether an owner has more than its share.
func (s *shares) over(a account) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	has := s.total.of(a)
	return has > s.bound/partOfWhole && has > (s.bound-s.held)/partOfFree
}

// begin learns how large the stream is. What the first stream holds is counted by found, in generations of as
// many sequences each.
func (s *shares) begin(info *natsjs.StreamInfo, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.bound == 0
	s.bound, s.held = info.Config.MaxBytes, signed(info.State.Bytes)
	if !first || info.State.Msgs == 0 {
		return
	}
	s.before = info.State.LastSeq
	newest := s.generations[0]
	s.generations = nil
	from, number := info.State.FirstSeq, info.State.LastSeq-info.State.FirstSeq+1
	for i := range uint64(ageSteps) {
		g := newGeneration(now)
		g.last = from + number/ageSteps*(i+1) - 1
		s.generations = append(s.generations, g)
	}
	s.generations[ageSteps-1].last = info.State.LastSeq
	s.generations = append(s.generations, newest)
}

// claim is what the owners in a message have been charged with.
type claim struct {
	shares     *shares
	generation *generation
	bytes      map[account]int64
	total      int64
}

// newClaim divides a message's bytes among the owners of its candidates by their weights.
func (s *shares) newClaim(accounts []account, weights []int, data int) *claim {
	c := &claim{shares: s, total: int64(data) + overhead, bytes: make(map[account]int64, 1)}
	whole := 0
	for _, w := range weights {
		whole += w
	}
	for i, a := range accounts {
		c.bytes[a] += c.total * int64(weights[i]) / int64(max(whole, 1))
	}
	return c
}

// claim charges the owners of candidates with the message that they become.
func (s *shares) claim(accounts []account, weights []int, data int) *claim {
	c := s.newClaim(accounts, weights, data)
	s.mu.Lock()
	defer s.mu.Unlock()
	c.generation = s.generations[len(s.generations)-1]
	s.held += c.total
	c.apply(1)
	return c
}

// apply adds the claim to its generation, or takes it off. The lock is held.
func (c *claim) apply(sign int64) {
	c.generation.empty = false
	for a, bytes := range c.bytes {
		c.generation.bytes.add(a, sign*bytes)
		c.shares.total.add(a, sign*bytes)
	}
}

// stored says which sequence the message has.
func (c *claim) stored(sequence uint64) {
	c.shares.mu.Lock()
	defer c.shares.mu.Unlock()
	c.generation.last = max(c.generation.last, sequence)
}

// undo takes back the claim on a message that was not stored.
func (c *claim) undo() {
	c.shares.mu.Lock()
	defer c.shares.mu.Unlock()
	c.shares.held -= c.total
	if !c.generation.gone {
		c.apply(-1)
	}
}

// found counts a message if it is from before the start.
func (s *shares) found(sequence uint64, accounts []account, weights []int, data int) {
	c := s.newClaim(accounts, weights, data)
	s.mu.Lock()
	defer s.mu.Unlock()
	if sequence > s.before {
		return // It was charged when it was published.
	}
	for _, c.generation = range s.generations {
		if sequence <= c.generation.last {
			break
		}
	}
	c.apply(1)
}

// measured learns what the stream holds. The shares of what it holds no more are given back; what comes
// from now on is another generation if the newest one has lasted long enough.
func (s *shares) measured(state natsjs.StreamState, keep time.Duration, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = signed(state.Bytes)
	newest := s.generations[len(s.generations)-1]
	switch {
	case newest.empty:
		newest.born = now
	case now.Sub(newest.born) >= keep/ageSteps && len(s.generations) < maxGenerations:
		newest.last = max(newest.last, state.LastSeq)
		s.generations = append(s.generations, newGeneration(now))
	}
	for len(s.generations) > 1 && s.generations[0].last < state.FirstSeq {
		s.generations[0].gone = true
		s.total.subtract(&s.generations[0].bytes)
		s.generations = s.generations[1:]
	}
}

func signed(n uint64) int64 { return int64(min(n, 1<<62)) }
