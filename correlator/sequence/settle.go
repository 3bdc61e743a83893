package sequence

import (
	"math"
	"slices"
	"time"
)

// told is what the caller has been told of a match.
type told struct {
	// chain is what it was made of when last told.
	chain []*node
	// superseded: the caller believes that it does not exist.
	superseded bool
}

// settleNewest is settle after a step in order, which can only have completed n.
func (e *Engine) settleNewest(k *key, n *node) []Match {
	if !e.completes(n) || e.first(n) == nil {
		return nil
	}
	return []Match{e.tell(k, n, Found)}
}

// settle compares what holds now with what the caller has been told, and
// returns the difference. Matches that closed before from are known not to
// have changed.
func (e *Engine) settle(k *key, from int64) []Match {
	var matches []Match
	for _, n := range k.nodes {
		if !e.completes(n) || e.closes(n) < from {
			continue
		}
		if change, changed := e.changeOf(k, n); changed {
			matches = append(matches, e.tell(k, n, change))
		}
	}
	return matches
}

// completes reports whether n is a hit of the last positive stage.
func (e *Engine) completes(n *node) bool {
	return n.stage >= 0 && e.position[n.stage] == e.last
}

// changeOf is what the caller does not know yet of the match that n completes.
func (e *Engine) changeOf(k *key, n *node) (Change, bool) {
	holds, known := e.holds(k, n), n.told()
	switch {
	case known == nil:
		return Found, holds
	case holds && known.superseded:
		return Reinstated, true
	case holds:
		return Revised, !isChain(n, known.chain)
	case known.superseded:
		return 0, false
	default:
		// A match whose first hit is forgotten cannot be found again by
		// replaying. It was true when it was told, and stays.
		first := known.chain[0]
		at, kept := k.place(first)
		return Superseded, kept && k.nodes[at] == first
	}
}

// holds reports whether n completes a match, as far as is known now.
func (e *Engine) holds(k *key, n *node) bool {
	if e.first(n) == nil {
		return false
	}
	return !e.deferred || (e.closes(n) < e.watermark && e.nothingForbids(k, n))
}

// tell records a change as told and returns it.
func (e *Engine) tell(k *key, n *node, change Change) Match {
	m := Match{Identity: k.identity(n), Change: change}
	l := n.linked()
	if change == Superseded {
		m.By = e.successor(k, l.told.chain)
		l.told.superseded = true
	} else {
		l.told = &told{chain: chainOf(n)}
	}
	m.Hits = make([]Hit, len(l.told.chain))
	for i, link := range l.told.chain {
		m.Hits[i] = k.hit(link)
	}
	return m
}

// successor is the match that now has one of the hits of a chain that broke.
func (e *Engine) successor(k *key, chain []*node) *Identity {
	for _, n := range k.nodes {
		if !e.completes(n) || !e.holds(k, n) {
			continue
		}
		for link := n; link != nil; link = link.prev() {
			if slices.Contains(chain, link) {
				id := k.identity(n)
				return &id
			}
		}
	}
	return nil
}

// chainOf returns the hits of n's chain, first to last.
func chainOf(n *node) []*node {
	var chain []*node
	for link := n; link != nil; link = link.prev() {
		chain = append(chain, link)
	}
	slices.Reverse(chain)
	return chain
}

// isChain reports whether n's chain is the given one.
func isChain(n *node, chain []*node) bool {
	for i := len(chain) - 1; i >= 0; i-- {
		if n != chain[i] {
			return false
		}
		n = n.prev()
	}
	return n == nil
}

// closes is the time after which nothing can forbid n's match any more.
func (e *Engine) closes(n *node) int64 {
	if first := e.first(n); first != nil && e.spec.Stages[len(e.spec.Stages)-1].Negated {
		return first.time + int64(e.spec.MaxSpan)
	}
	return n.time
}

// nextDecision is when the next match of k is to be decided.
func (e *Engine) nextDecision(k *key) int64 {
	next := int64(math.MaxInt64)
	for _, n := range k.nodes {
		if e.completes(n) && e.first(n) != nil && n.told() == nil {
			if closes := e.closes(n); closes >= e.watermark {
				next = min(next, closes)
			}
		}
	}
	return next
}

// nothingForbids reports whether no negated stage has a hit in its window.
func (e *Engine) nothingForbids(k *key, n *node) bool {
	chain := chainOf(n)
	for _, other := range k.nodes {
		if other.stage >= 0 && e.spec.Stages[other.stage].Negated && e.inWindow(other, chain) {
			return false
		}
	}
	return true
}

// inWindow reports whether a hit of a negated stage lies between the hits of
// the positive stages around it.
func (e *Engine) inWindow(n *node, chain []*node) bool {
	first, last := chain[0], chain[len(chain)-1]
	next := 0 // the position of the next positive stage
	for _, position := range e.position[:n.stage] {
		if position >= 0 {
			next = position + 1
		}
	}
	switch {
	case next == 0:
		return n.before(first) && last.time-n.time <= int64(e.spec.MaxSpan)
	case next > e.last:
		return last.before(n) && n.time-first.time <= int64(e.spec.MaxSpan)
	default:
		return chain[next-1].before(n) && n.before(chain[next])
	}
}

func (k *key) identity(n *node) Identity {
	return Identity{Key: k.name, Time: time.Unix(0, n.time).UTC(), Request: n.tie}
}

// hit is n as the caller gave it.
func (k *key) hit(n *node) Hit {
	return Hit{Stage: int(n.stage), Key: k.name, Time: time.Unix(0, n.time).UTC(),
		Request: n.tie, Payload: n.payload, Size: int(n.size)}
}
