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
	// repeatKept is how long an action is remembered: that the API server's policy refused a
	// part of it comes with the audit stream, which may be a batch late.
	repeatKept = 5 * time.Minute
	// maxRepeats bounds the actions that are remembered. With more at a time, a
	// second try is told of as if it were another action, and nothing else goes wrong.
	maxRepeats = 4096
)

// repeats recognises that a request repeats one of a moment ago.
type repeats struct {
	seed maphash.Seed

	mu      sync.Mutex
	actions map[uint64][]action
	// order has the keys of the actions, oldest first as they were heard of.
	order []heard
}

// action is the first of some requests that are one action of a person.
type action struct {
	at      time.Time
	session string
}

// heard is when it was heard of an action.
type heard struct {
	key uint64
	at  time.Time
}

func newRepeats() *repeats {
	return &repeats{seed: maphash.MakeSeed(), actions: map[uint64][]action{}}
}

// seen reports whether the request repeats one that came shortly before or after it, with the session of that one,
// and remembers it with its own if not.
func (p *repeats) seen(r *Request, now time.Time) (session string, repeat bool) {
	key := p.key(r)
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.order) > 0 && (now.Sub(p.order[0].at) > repeatKept || len(p.order) >= maxRepeats) {
		p.forget(p.order[0].key)
		p.order = p.order[1:]
	}
	for _, a := range p.actions[key] {
		if r.At.Sub(a.at).Abs() < repeatWindow {
			return firstOf(a.session, r.Session), true
		}
	}
	p.actions[key] = append(p.actions[key], action{r.At, r.Session})
	p.order = append(p.order, heard{key, now})
	return r.Session, false
}

// forget forgets the action of the key that was heard of first.
func (p *repeats) forget(key uint64) {
	if rest := p.actions[key][1:]; len(rest) > 0 {
		p.actions[key] = rest
		return
	}
	delete(p.actions, key)
}

// key is a hash over everything that makes the action, with a seed that nobody
// outside knows: nobody can make two actions look like one.
func (p *repeats) key(r *Request) uint64 {
	var h maphash.Hash
	h.SetSeed(p.seed)
	resource := firstOf(r.Resource, resourcePods)
	for _, s := range []string{r.User, r.Door, resource, r.Namespace, r.Pod, r.Service, r.Node, r.Container} {
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
