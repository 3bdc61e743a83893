package jetstream

import (
	"hash/maphash"
	"sync"

	"github.com/portcullis-dev/portcullis/bus"
)

// remembered is how many messages are known when they are published again: an API
// server sends a batch again at once, a handful of times.
const remembered = 4096

// recent remembers what was stored lately by a hash, so that a delivery that was
// refused in part and comes again does not take room twice. The seed is random: nobody
// can make an event that passes for another. Consumers know duplicates anyway.
type recent struct {
	seed maphash.Seed

	mu    sync.Mutex
	known map[uint64]struct{}
	order [remembered]uint64
	next  int
}

func newRecent() *recent {
	return &recent{seed: maphash.MakeSeed(), known: make(map[uint64]struct{})}
}

// hash is over everything but when the events were received and what was found out about them since.
func (r *recent) hash(candidates []bus.Candidate) uint64 {
	var h maphash.Hash
	h.SetSeed(r.seed)
	for _, c := range candidates {
		_, _ = h.WriteString(c.Event.ID)
		c.Event = nil
		maphash.WriteComparable(&h, c)
	}
	return h.Sum64()
}

func (r *recent) has(hash uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.known[hash]
	return ok
}

func (r *recent) add(hash uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.known[hash]; ok {
		return
	}
	if len(r.known) == remembered {
		delete(r.known, r.order[r.next])
	}
	r.known[hash] = struct{}{}
	r.order[r.next] = hash
	r.next = (r.next + 1) % remembered
}
