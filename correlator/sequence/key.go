package sequence

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
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
	owner string
	size  int32
	stage int16
	// forgotten: it is not kept any longer, though a match may still have it.
	forgotten bool
	source    uint32
	// tolerance is in microseconds: nodes are many.
	tolerance uint32
}

// tolerance is the unit of node.tolerance in nanoseconds.
const tolerance = 1000

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

// key is everything about one join key. Most keys have one hit, which may or may
// not become a sequence; there are a million of these, so they are one piece of
// memory.
type key struct {
	name string
	// one is the only hit, as long as there is no history.
	one node
	*history
	// index is the place in the queue, negative outside of it.
	index int
}

// history is what a key has from its second hit on.
type history struct {
	// nodes are the kept hits in the order of processing, ties the beginnings of
	// their ties.
	nodes []*node
	ties  []uint64
	// partials[i] is the last hit of the partial that waits for positive stage i+1.
	partials []*node
	// reach is how late the hits may have happened.
	reach edge
	// shared: the hits may be of several owners.
	shared bool
	*extras
}

// extras are what few keys have.
type extras struct {
	// beside are the partials that wait beside partials[i], newest first: the order
	// of their last hits is in doubt.
	beside map[int][]*node
	// forks are the hits that have a choice of chains.
	forks map[*node]*fork
	// marks are places from which the hits can be processed anew, oldest first.
	marks []mark
	// negated are the hits of each negated stage, in order.
	negated map[int16][]*node
	// floors are the newest hits that limits made us forget, one for each owner.
	// Nothing of the owner's up to it is taken again: delivered once more, it would
	// be told once more.
	floors []*node
	// settled is the watermark of the last settlement (deferred sequences only).
	settled int64
}

// maxFloors bounds extras.floors.
const maxFloors = 16

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

// more returns the key's extras, which are made if there are none.
func (k *key) more() *extras {
	if k.extras == nil {
		k.extras = &extras{settled: math.MinInt64}
	}
	return k.extras
}

// unfold gives a key a history.
func (e *Engine) unfold(k *key) {
	if k.history != nil {
		return
	}
	k.history = &history{nodes: make([]*node, 0, 2), reach: newEdge()}
	k.insert(0, &k.one)
	k.reach.add(k.one.source, k.one.latest())
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

// insert puts n at its place.
func (k *key) insert(at int, n *node) {
	k.nodes = slices.Insert(k.nodes, at, n)
	k.ties = slices.Insert(k.ties, at, n.beginning())
}

// beginning is the first part of the node's tie, which is all of it that most ever differ by.
func (n *node) beginning() uint64 {
	var b [8]byte
	copy(b[:], n.tie)
	return binary.LittleEndian.Uint64(b[:])
}

// countBefore returns how many hits are older than the time.
func (k *key) countBefore(time int64) int {
	return sort.Search(len(k.nodes), func(i int) bool { return k.nodes[i].time >= time })
}

// refuses reports whether a limit made us forget n, or a newer hit of its owner.
func (k *key) refuses(n *node) bool {
	return k.extras != nil && slices.ContainsFunc(k.floors, func(floor *node) bool {
		return floor.owner == n.owner && !floor.processedBefore(n)
	})
}

// refuseUpTo makes n its owner's floor. A copy, so that it keeps no payload alive.
func (k *key) refuseUpTo(n *node) {
	extras := k.more()
	extras.floors = slices.DeleteFunc(extras.floors, func(floor *node) bool { return floor.owner == n.owner })
	extras.floors = append(extras.floors, &node{time: n.time, tie: n.tie, stage: n.stage, owner: n.owner})
	if len(extras.floors) > maxFloors { // The oldest is the one that is missed least.
		extras.floors = extras.floors[1:]
	}
}

// has reports whether a hit of the owner is kept.
func (k *key) has(owner string) bool {
	if k.history == nil {
		return k.one.owner == owner
	}
	for i := len(k.nodes) - 1; i >= 0; i-- {
		if k.nodes[i].owner == owner {
			return true
		}
	}
	return false
}

// trim forgets the oldest hits of k, and the partials that began with them.
func (e *Engine) trim(k *key, count int) {
	if count == 0 {
		return
	}
	for i, n := range k.nodes[:count] {
		e.forget(k, n)
		k.nodes[i] = nil
	}
	k.nodes, k.ties = k.nodes[count:], k.ties[count:]
	for i := range k.partials {
		e.trimSlot(k, i)
	}
	if k.extras == nil {
		return
	}
	for stage, list := range k.negated {
		kept := slices.IndexFunc(list, func(n *node) bool { return !n.forgotten })
		if kept < 0 {
			kept = len(list)
		}
		k.negated[stage] = list[kept:]
	}
	maps.DeleteFunc(k.forks, func(n *node, _ *fork) bool { return n.forgotten })
	for i := range k.marks {
		k.marks[i].count -= count
	}
	k.marks = slices.DeleteFunc(k.marks, func(m mark) bool { return m.count <= 0 })
}

// trimSlot gives up the partials that wait in a slot and have a forgotten hit.
func (e *Engine) trimSlot(k *key, slot int) {
	waiting := k.waiting(slot)
	if !slices.ContainsFunc(waiting, func(n *node) bool { return e.broken(k, n) }) {
		return
	}
	// A copy, as waiting may be the slot itself.
	e.setWaiting(k, slot, slices.DeleteFunc(slices.Clone(waiting), func(n *node) bool { return e.broken(k, n) }))
}

// broken reports whether a hit of n's chain is forgotten. Where no clock is in
// doubt, no hit of a chain is older than its first.
func (e *Engine) broken(k *key, n *node) bool {
	if e.tolerance == 0 {
		return e.first(n).forgotten
	}
	return slices.ContainsFunc(k.chain(n), func(n *node) bool { return n.forgotten })
}

// forget counts a hit as no longer kept. A match that it completes is final.
func (e *Engine) forget(k *key, n *node) {
	if known := n.told(); known != nil && !known.superseded {
		e.news = append(e.news, k.match(n, Final))
	}
	n.forgotten = true
	e.stats.Hits--
	e.stats.Bytes -= int64(n.size)
	e.sources.release(n.source)
	if e.accounts != nil {
		e.accounts.remove(n)
	}
	e.limits.Forgotten(n.payload)
}

// agree has a hit happen when another of its event did, if there is one. What is delivered again, or a
// request's second stage, may have been corrected by another offset than the first: its clock was measured anew in between.
func (k *key) agree(n *node) {
	beginning := n.beginning()
	for i, tie := range slices.Backward(k.ties) { // A busy key has a thousand, and none is like it.
		if tie != beginning {
			continue
		}
		if other := k.nodes[i]; other.tie == n.tie && other.source == n.source {
			n.time = other.time
			return
		}
	}
}
