package sequence

import (
	"math"
	"slices"
	"sort"
	"time"
)

// told is what the caller has been told of a match.
type told struct {
	// chain is what it was made of when last told.
	chain []*node
	// superseded: the caller believes that it does not exist.
	superseded bool
}

// settle compares what holds now with what the caller has been told, and tells the
// difference. Matches of the hits before start, and those that closed before from, are
// known not to have changed.
func (e *Engine) settle(k *key, start int, from int64) {
	var s successors
	for _, n := range k.nodes[start:] {
		if !e.completes(n) || e.closes(k, n) < from {
			continue
		}
		if change, changed := e.changeOf(k, n); changed {
			if change == Superseded && s == nil {
				s = e.successors(k)
			}
			e.tell(k, n, change, s)
		}
	}
}

// closingSince returns where the hits begin whose matches may close at the time.
func (e *Engine) closingSince(k *key, from int64) int {
	if from < 0 { // Before all hits, and so that nothing overflows.
		return 0
	}
	return k.countBefore(from - int64(e.spec.MaxSpan) - e.blur())
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
	case known.superseded || slices.ContainsFunc(known.chain, func(n *node) bool { return n.forgotten }):
		// A match with a forgotten hit cannot be found again by replaying. It was
		// true when it was told, and stays.
		return 0, false
	case holds:
		return Revised, !k.hasChain(n, known.chain)
	default:
		return Superseded, true
	}
}

// holds reports whether n completes a match, as far as is known now.
func (e *Engine) holds(k *key, n *node) bool {
	if e.first(n) == nil {
		return false
	}
	return !e.deferred || (e.closes(k, n) < e.watermark && e.isAllowed(k, n))
}

// isAllowed reports whether there is a chain to n that nothing forbids. Where there is
// a choice, the newest such chain is chosen.
func (e *Engine) isAllowed(k *key, n *node) bool {
	if e.nothingForbids(k, k.chain(n)) {
		return true
	}
	f := k.fork(n)
	return f != nil && e.choose(k, n, f.before, e.nothingForbids)
}

// tell records a change as told, and tells it.
func (e *Engine) tell(k *key, n *node, change Change, s successors) {
	l := n.linked()
	if change == Superseded {
		l.told.superseded = true
	} else {
		l.told = &told{chain: k.chain(n)}
	}
	m := k.match(n, change)
	if change == Superseded {
		m.By = s.of(k, l.told.chain)
	}
	e.news = append(e.news, m)
}

// match is news of the match that n completes, as told.
func (k *key) match(n *node, change Change) Match {
	chain := n.told().chain
	m := Match{Identity: k.identity(n), Change: change, Hits: make([]Hit, len(chain))}
	for i, link := range chain {
		m.Hits[i] = k.hit(link)
	}
	return m
}

// successors tells which match has a hit now: the first, by the hit that completes it.
type successors map[*node]*node

func (e *Engine) successors(k *key) successors {
	s := successors{}
	for _, n := range k.nodes {
		if !e.completes(n) || !e.holds(k, n) {
			continue
		}
		for _, hit := range k.chain(n) {
			if s[hit] == nil {
				s[hit] = n
			}
		}
	}
	return s
}

// of returns the match that now has one of the hits of a chain that broke.
func (s successors) of(k *key, chain []*node) *Identity {
	var first *node
	for _, hit := range chain {
		if n := s[hit]; n != nil && (first == nil || n.processedBefore(first)) {
			first = n
		}
	}
	if first == nil {
		return nil
	}
	id := k.identity(first)
	return &id
}

// closes is the time after which nothing can forbid n's match any more, or change it.
func (e *Engine) closes(k *key, n *node) int64 {
	closes := n.time + e.blur()
	first := e.first(n)
	switch {
	case first == nil || !e.spec.Stages[len(e.spec.Stages)-1].Negated:
		return closes
	case k.fork(n) != nil: // Any of its chains.
		return closes + int64(e.spec.MaxSpan)
	default:
		return max(closes, first.time+int64(e.spec.MaxSpan))
	}
}

// nextDecision is when the next match of k is to be decided.
func (e *Engine) nextDecision(k *key) int64 {
	next := int64(math.MaxInt64)
	for _, n := range k.nodes[e.closingSince(k, e.watermark):] {
		if n.time+e.blur() >= next { // It closes no earlier.
			break
		}
		if e.completes(n) && e.first(n) != nil && n.told() == nil {
			if closes := e.closes(k, n); closes >= e.watermark {
				next = min(next, closes)
			}
		}
	}
	return next
}

// nothingForbids reports whether no negated stage has a hit in its window for sure.
func (e *Engine) nothingForbids(k *key, chain []*node) bool {
	if k.extras == nil {
		return true
	}
	for stage, hits := range k.negated {
		w := e.windowOf(stage, chain)
		from := sort.Search(len(hits), func(i int) bool { return hits[i].time >= w.from })
		for _, hit := range hits[from:] {
			if hit.time > w.to {
				break
			}
			if w.contains(hit) {
				return false
			}
		}
	}
	return true
}

// window is where a negated stage must have no hit.
type window struct {
	// from and to are its ends by the clocks, inclusive.
	from, to int64
	// contains reports whether a hit lies in it for sure.
	contains func(*node) bool
}

// windowOf returns the window between the hits of the positive stages around a
// negated one.
func (e *Engine) windowOf(stage int16, chain []*node) window {
	first, last := chain[0], chain[len(chain)-1]
	next := 0 // the position of the next positive stage
	for _, position := range e.position[:stage] {
		if position >= 0 {
			next = position + 1
		}
	}
	span := int64(e.spec.MaxSpan)
	switch {
	case next == 0:
		return window{last.time - span, first.time, func(n *node) bool { return n.precedes(first) && e.surelyWithin(n, last) }}
	case next > e.last:
		return window{last.time, first.time + span, func(n *node) bool { return last.precedes(n) && e.surelyWithin(first, n) }}
	default:
		before, after := chain[next-1], chain[next]
		return window{before.time, after.time, func(n *node) bool { return before.precedes(n) && n.precedes(after) }}
	}
}

func (k *key) identity(n *node) Identity {
	return Identity{Key: k.name, Time: time.Unix(0, n.time).UTC(), Request: n.tie}
}

// hit is n as the caller gave it.
func (k *key) hit(n *node) Hit {
	return Hit{Stage: int(n.stage), Key: k.name, Time: time.Unix(0, n.time).UTC(), Tolerance: time.Duration(n.off()),
		Request: n.tie, Owner: n.owner, Payload: n.payload, Size: int(n.size)}
}
