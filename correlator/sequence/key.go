package sequence

import (
	"math"
	"sort"
)

// node is a kept hit.
type node struct {
	// time (Unix nanoseconds) and tie order the hits; stage completes the identity.
	time    int64
	tie     string
	payload any
	// link is nil while the hit is in no chain but as its first.
	link  *link
	size  int32
	stage int16
}

// link is a hit's place in a chain, and what came of it.
type link struct {
	// prev is the hit before it in its chain and first the chain's first hit;
	// both are nil while the hit is in no chain.
	prev, first *node
	// told is what the caller knows of the match that this hit completes.
	told *told
}

// linked returns the node's link, which is made if there is none.
func (n *node) linked() *link {
	if n.link == nil {
		n.link = &link{}
	}
	return n.link
}

// prev returns the hit before n in its chain.
func (n *node) prev() *node {
	if n.link == nil {
		return nil
	}
	return n.link.prev
}

// told returns what the caller knows of the match that n completes.
func (n *node) told() *told {
	if n.link == nil {
		return nil
	}
	return n.link.told
}

// first returns the first hit of n's chain, nil if it is in none.
func (e *Engine) first(n *node) *node {
	switch {
	case n.stage >= 0 && e.position[n.stage] == 0:
		return n
	case n.link == nil:
		return nil
	default:
		return n.link.first
	}
}

// before is the order of events: strictly, so an event is not before itself.
func (n *node) before(other *node) bool {
	return n.time < other.time || (n.time == other.time && n.tie < other.tie)
}

// processedBefore is the order in which a key's hits are processed: that of the
// events, and for one event its last stage first and Until after all. So a hit
// never meets a partial (or an Until) of its own event.
func (n *node) processedBefore(other *node) bool {
	switch {
	case n.before(other):
		return true
	case other.before(n):
		return false
	default:
		return n.stage > other.stage
	}
}

// key is everything about one join key. Most keys have one hit, which may or may
// not become a sequence; there are a million of these, so they are one piece of
// memory.
type key struct {
	name string
	// one is the only hit, as long as there is no history.
	one node
	*history
	// due is when (as a watermark) there is something to do, index the place in the queue.
	due   int64
	index int
}

// history is what a key has from its second hit on.
type history struct {
	// nodes are the kept hits in the order of processing.
	nodes []*node
	// partials[i] is the last hit of the partial that waits for positive stage i+1.
	partials []*node
	// until is the newest Until hit processed so far: strictly before the next hit.
	until *node
	// floor is the newest hit that a limit made us forget. Nothing up to it is
	// taken again: delivered once more, it would meet hits that it was not
	// followed by.
	floor *node
	// settled is the watermark of the last settlement (deferred sequences only).
	settled int64
}

// oldest returns the first hit, nil if there is none.
func (k *key) oldest() *node {
	switch {
	case k.history == nil:
		return &k.one
	case len(k.nodes) == 0:
		return nil
	default:
		return k.nodes[0]
	}
}

// unfold gives a key a history.
func (e *Engine) unfold(k *key) {
	if k.history != nil {
		return
	}
	k.history = &history{nodes: make([]*node, 1, 2), settled: math.MinInt64}
	k.nodes[0] = &k.one
	if e.opens(&k.one) {
		k.partials = []*node{&k.one}
	}
}

// opens reports whether a hit is a partial by itself.
func (e *Engine) opens(n *node) bool { return e.last > 0 && n.stage >= 0 && e.position[n.stage] == 0 }

// place returns where n belongs, and whether its hit is there already.
func (k *key) place(n *node) (at int, known bool) {
	count := len(k.nodes)
	if count == 0 || k.nodes[count-1].processedBefore(n) {
		return count, false
	}
	at = sort.Search(count, func(i int) bool { return !k.nodes[i].processedBefore(n) })
	return at, !n.processedBefore(k.nodes[at])
}

// forgetUpTo makes n the floor. A copy, so that the floor keeps no payload alive.
func (k *key) forgetUpTo(n *node) {
	k.floor = &node{time: n.time, tie: n.tie, stage: n.stage}
}

// countBefore returns how many hits are older than the time.
func (k *key) countBefore(time int64) int {
	return sort.Search(len(k.nodes), func(i int) bool { return k.nodes[i].time >= time })
}

// replay processes all kept hits of k anew.
func (e *Engine) replay(k *key) {
	k.until = nil
	for i := range k.partials {
		e.setPartial(k, i, nil)
	}
	for _, n := range k.nodes {
		e.apply(k, n)
	}
}

// apply processes n, the newest hit of k so far.
func (e *Engine) apply(k *key, n *node) {
	if n.link != nil {
		n.link.prev, n.link.first = nil, nil
	}
	if n.stage == Until {
		k.until = n
		return
	}
	position := e.position[n.stage]
	switch {
	case position < 0: // Negated: looked up when a match is decided.
		return
	case position > 0:
		partial := e.take(k, position-1)
		if partial == nil || n.time-e.first(partial).time > int64(e.spec.MaxSpan) {
			return
		}
		if k.until != nil && !k.until.before(partial) {
			return
		}
		l := n.linked()
		l.prev, l.first = partial, e.first(partial)
	}
	if position < e.last {
		e.setPartial(k, position, n)
	}
}

// take removes and returns the partial in a slot.
func (e *Engine) take(k *key, slot int) *node {
	if slot >= len(k.partials) {
		return nil
	}
	partial := k.partials[slot]
	e.setPartial(k, slot, nil)
	return partial
}

// setPartial fills or empties a slot. Slots exist from their first use: most
// keys of a long sequence never come far.
func (e *Engine) setPartial(k *key, slot int, n *node) {
	for slot >= len(k.partials) {
		if n == nil {
			return
		}
		k.partials = append(k.partials, nil)
	}
	if k.partials[slot] != nil {
		e.stats.Partials--
	}
	if n != nil {
		e.stats.Partials++
	}
	k.partials[slot] = n
}

// trim forgets the oldest hits of k, and the partials that began with them.
func (e *Engine) trim(k *key, count int) {
	if count == 0 {
		return
	}
	newest := k.nodes[count-1]
	for i, n := range k.nodes[:count] {
		e.forget(n)
		k.nodes[i] = nil
	}
	k.nodes = k.nodes[count:]
	for i, partial := range k.partials {
		if partial != nil && !newest.processedBefore(e.first(partial)) {
			e.setPartial(k, i, nil)
		}
	}
	if k.until != nil && !newest.processedBefore(k.until) {
		k.until = nil
	}
}

// forget counts a hit as no longer kept.
func (e *Engine) forget(n *node) {
	e.stats.Hits--
	e.stats.Bytes -= int64(n.size)
	e.limits.Forgotten(n.payload)
}
