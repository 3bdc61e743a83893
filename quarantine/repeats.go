package quarantine

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	// repeatWindow is how long the same request counts as the same action. kubectl's
	// second try follows the refusal of the first within a second.
	repeatWindow = 5 * time.Second
	// maxRepeats bounds the actions that are remembered. With more at a time, a
	// second try is told of as if it were another action, and nothing else goes wrong.
	maxRepeats = 4096
)

// repeats recognises that a request repeats one of a moment ago.
type repeats struct {
	seed maphash.Seed

	mu    sync.Mutex
	until map[uint64]time.Time
	// order has the keys by time, oldest first.
	order []repeat
}

type repeat struct {
	key   uint64
	until time.Time
}

func newRepeats() *repeats {
	return &repeats{seed: maphash.MakeSeed(), until: map[uint64]time.Time{}}
}

// seen reports whether the request repeats an earlier one, and remembers it if not.
func (p *repeats) seen(r Request, now time.Time) bool {
	key := p.key(r)
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.order) > 0 && (!now.Before(p.order[0].until) || len(p.order) >= maxRepeats) {
		delete(p.until, p.order[0].key)
		p.order = p.order[1:]
	}
	if _, ok := p.until[key]; ok {
		return true
	}
	until := now.Add(repeatWindow)
	p.until[key] = until
	p.order = append(p.order, repeat{key, until})
	return false
}

// key is a hash over everything that makes the action, with a seed that nobody
// outside knows: nobody can make two actions look like one.
func (p *repeats) key(r Request) uint64 {
	var h maphash.Hash
	h.SetSeed(p.seed)
	for _, s := range []string{r.User, r.Namespace, r.Pod, r.Door} {
		part(&h, s)
	}
	for _, s := range r.Command {
		part(&h, s)
	}
	return h.Sum64()
}

// part adds the string with its end, so that "ab", "c" is not "a", "bc".
func part(h *maphash.Hash, s string) {
	maphash.WriteComparable(h, len(s))
	_, _ = h.WriteString(s)
}
