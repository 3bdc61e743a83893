package sequence

import "slices"

// maxTogether is the most hits whose order is in doubt that are looked at together.
// Of more in a row, the doubt between the first of them and the rest is ignored: it
// takes a flood under one key, and must not take the processor.
const maxTogether = 32

// maxSteps bounds the search for a chain of one hit.
const maxSteps = 1024

// fork is a hit that has a choice of chains.
type fork struct {
	// before are the hits that it can follow, newest first.
	before []*node
	// chain is the chosen one, first to last.
	chain []*node
}

// fork returns n's choice of chains, nil if it has none.
func (k *key) fork(n *node) *fork {
	if k.extras == nil {
		return nil
	}
	return k.forks[n]
}

// chain returns the hits of n's chain, first to last.
func (k *key) chain(n *node) []*node {
	if f := k.fork(n); f != nil {
		return f.chain
	}
	var chain []*node
	for link := n; link != nil; link = link.prev() { // Those before it have no choice either.
		chain = append(chain, link)
	}
	slices.Reverse(chain)
	return chain
}

// hasChain reports whether n's chain is the given one.
func (k *key) hasChain(n *node, chain []*node) bool {
	if f := k.fork(n); f != nil {
		return slices.Equal(f.chain, chain)
	}
	for i := len(chain) - 1; i >= 0; i-- {
		if n != chain[i] {
			return false
		}
		n = n.prev()
	}
	return n == nil
}

// replay processes the hits of k from one on anew, and some before it. It returns
// where it began: what is before is as it was. The hit is nil if some are gone.
func (e *Engine) replay(k *key, at int, changed *node) (from int) {
	from = e.rewind(k, at, changed)
	if e.tolerance == 0 || k.ofOneSource() {
		for i, n := range k.nodes[from:] {
			e.mark(k, from+i)
			e.apply(k, n)
		}
		return from
	}
	rest := k.nodes[from:]
	for starts := e.starts(rest); len(rest) > 0; {
		e.mark(k, len(k.nodes)-len(rest))
		together := newEdge()
		count := 0
		for count < len(rest) && (count == 0 || count < e.together && together.meets(&starts[count])) {
			together.add(rest[count].source, rest[count].latest())
			count++
		}
		if count == 1 {
			e.apply(k, rest[0])
		} else {
			e.applyTogether(k, rest[:count])
		}
		rest, starts = rest[count:], starts[count:]
	}
	return from
}

// mark is what a key was like before one of its hits, all before which happened before
// it for sure.
type mark struct {
	count   int // hits before it
	reach   edge
	waiting [][]*node
}

// markEvery is how many hits lie between two marks at least.
const markEvery = 32

// mark remembers what k is like before the hit at that place, now and then.
func (e *Engine) mark(k *key, count int) {
	last := 0
	if k.extras != nil && len(k.marks) > 0 {
		last = k.marks[len(k.marks)-1].count
	}
	if count-last < markEvery {
		return
	}
	m := mark{count: count, reach: k.reach, waiting: make([][]*node, len(k.partials))}
	for slot := range m.waiting {
		m.waiting[slot] = slices.Clone(k.waiting(slot))
	}
	extras := k.more()
	extras.marks = append(extras.marks, m)
}

// rewind makes k what it was like before a hit at that place, or some time before.
func (e *Engine) rewind(k *key, at int, changed *node) (from int) {
	m := mark{reach: newEdge()}
	if k.extras != nil {
		for len(k.marks) > 0 {
			last := &k.marks[len(k.marks)-1]
			if changed != nil && last.count <= at && !last.reach.reaches(changed) {
				m = *last
				break
			}
			k.marks = k.marks[:len(k.marks)-1]
		}
		k.forgetWork(k.nodes[m.count:])
	}
	k.reach = m.reach
	for slot := range k.partials {
		var waiting []*node
		if slot < len(m.waiting) {
			waiting = slices.DeleteFunc(slices.Clone(m.waiting[slot]), func(n *node) bool { return e.broken(k, n) })
		}
		e.setWaiting(k, slot, waiting)
	}
	return m.count
}

// forgetWork gives up what is noted of the newest hits.
func (x *extras) forgetWork(newest []*node) {
	for _, n := range newest {
		delete(x.forks, n)
	}
	for stage, hits := range x.negated {
		for len(hits) > 0 && (len(newest) == 0 || !hits[len(hits)-1].processedBefore(newest[0])) {
			hits = hits[:len(hits)-1]
		}
		x.negated[stage] = hits
	}
}

// ofOneSource reports whether all hits are, so that their order is in no doubt.
func (k *key) ofOneSource() bool {
	return !slices.ContainsFunc(k.nodes, func(n *node) bool { return n.source != k.nodes[0].source })
}

// starts returns for each hit how early it and those behind it may have happened.
func (e *Engine) starts(nodes []*node) []edge {
	starts := slices.Grow(e.scratch.starts[:0], len(nodes))[:len(nodes)]
	e.scratch.starts = starts
	start := newEdge()
	for i := len(nodes) - 1; i >= 0; i-- {
		start.add(nodes[i].source, nodes[i].earliest())
		starts[i] = start
	}
	return starts
}

// note forgets what n was linked to, and knows it as processed.
func (k *key) note(n *node) {
	k.reach.add(n.source, n.latest())
	if n.link != nil {
		n.link.prev, n.link.first = nil, nil
	}
}

// apply processes n, which happened after all that are processed for sure.
func (e *Engine) apply(k *key, n *node) {
	k.note(n)
	if n.stage == Until {
		for i := range k.partials {
			e.setPartial(k, i, nil)
		}
		return
	}
	position := e.position[n.stage]
	if position < 0 {
		k.negate(n)
		return
	}
	if position > 0 {
		e.follow(k, n, k.waiting(position-1))
		e.setPartial(k, position-1, nil)
	}
	if position < e.last && e.first(n) != nil {
		e.setPartial(k, position, n)
	}
}

// negate notes a hit of a negated stage, which is looked up when a match is decided.
func (k *key) negate(n *node) {
	extras := k.more()
	if extras.negated == nil {
		extras.negated = map[int16][]*node{}
	}
	extras.negated[n.stage] = append(extras.negated[n.stage], n)
}

// follow makes n follow one of the partials, the newest that makes a chain.
func (e *Engine) follow(k *key, n *node, partials []*node) {
	if len(partials) == 0 {
		return
	}
	if len(partials) > 1 || k.fork(partials[0]) != nil {
		e.choose(k, n, partials, func(*key, []*node) bool { return true })
		return
	}
	prev := partials[0]
	if first := e.first(prev); e.within(first, n) && e.inOrder(n, prev) {
		l := n.linked()
		l.prev, l.first = prev, first
	}
}

// inOrder reports whether all of prev's chain, which has no choice, may precede n.
func (e *Engine) inOrder(n, prev *node) bool {
	if e.tolerance == 0 {
		return true
	}
	for ; prev != nil; prev = prev.prev() {
		if !prev.mayPrecede(n) {
			return false
		}
	}
	return true
}

// choose makes n follow one of the partials where there is a choice: the chain is the
// newest that is accepted. It reports false, and changes nothing, if there is none.
func (e *Engine) choose(k *key, n *node, partials []*node, accept func(*key, []*node) bool) bool {
	s := search{engine: e, key: k, chain: []*node{n}, accept: accept}
	if !s.extend(partials) {
		return false
	}
	l := n.linked()
	l.prev, l.first = s.found[len(s.found)-2], s.found[0]
	extras := k.more()
	if extras.forks == nil {
		extras.forks = map[*node]*fork{}
	}
	extras.forks[n] = &fork{before: slices.Clone(partials), chain: s.found}
	return true
}

// search looks for a chain, from its last hit to its first: each hit may precede
// every later one, and the first is within MaxSpan of the last.
type search struct {
	engine *Engine
	key    *key
	accept func(*key, []*node) bool
	chain  []*node // last to first, as far as it is known
	found  []*node // first to last
	steps  int
}

// extend looks for a chain through one of the partials.
func (s *search) extend(partials []*node) bool {
	for _, n := range partials {
		if s.steps++; s.steps > maxSteps {
			return false
		}
		if slices.ContainsFunc(s.chain, func(later *node) bool { return !n.mayPrecede(later) }) {
			continue
		}
		s.chain = append(s.chain, n)
		if s.begins(n) {
			return true
		}
		s.chain = s.chain[:len(s.chain)-1]
	}
	return false
}

// begins looks for the part of a chain before n.
func (s *search) begins(n *node) bool {
	if s.engine.position[n.stage] == 0 {
		if !s.engine.within(n, s.chain[0]) {
			return false
		}
		s.found = slices.Clone(s.chain)
		slices.Reverse(s.found)
		return s.accept(s.key, s.found)
	}
	if f := s.key.fork(n); f != nil {
		return s.extend(f.before)
	}
	return s.extend([]*node{n.prev()})
}

// scratch is memory that is used again for each group of hits in doubt.
type scratch struct {
	starts                  []edge
	stages                  [][]*node
	untils, waiting, before []*node
	guards                  []guards
}

// applyTogether processes hits whose order is in doubt. All that are processed
// happened before them for sure.
func (e *Engine) applyTogether(k *key, nodes []*node) {
	s := &e.scratch
	s.stages, s.untils = slices.Grow(s.stages, e.last+1)[:e.last+1], s.untils[:0]
	for i := range s.stages {
		s.stages[i] = s.stages[i][:0]
	}
	for _, n := range nodes {
		k.note(n)
		switch {
		case n.stage == Until:
			s.untils = append(s.untils, n)
		case e.position[n.stage] < 0:
			k.negate(n)
		default:
			position := e.position[n.stage]
			s.stages[position] = append(s.stages[position], n)
		}
	}
	for slot := range e.last {
		s.waiting = append(s.waiting[:0], k.waiting(slot)...)
		for _, n := range s.stages[slot] {
			if e.first(n) != nil {
				s.waiting = append(s.waiting, n)
			}
		}
		if len(s.waiting) > 0 {
			slices.SortFunc(s.waiting, newestFirst)
			e.pair(k, slot)
		}
	}
}

// pair makes the hits of the stage behind a slot follow the partials of that slot.
// A hit follows a partial that it may be after, unless there is for sure another
// hit, another partial or an Until between the two. What is waiting in the end is
// what nothing came after for sure.
func (e *Engine) pair(k *key, slot int) {
	s := &e.scratch
	hits := s.stages[slot+1]
	s.guards = slices.Grow(s.guards[:0], len(s.waiting))[:len(s.waiting)]
	for i, partial := range s.waiting {
		g := s.guards[i][:0]
		g.addBehind(partial, s.waiting)
		g.addBehind(partial, hits)
		g.addBehind(partial, s.untils)
		s.guards[i] = g
	}
	for _, n := range hits {
		s.before = s.before[:0]
		for i, partial := range s.waiting {
			if partial.mayPrecede(n) && !s.guards[i].before(n) {
				s.before = append(s.before, partial)
			}
		}
		e.follow(k, n, s.before)
	}
	s.before = s.before[:0]
	for i, partial := range s.waiting {
		if len(s.guards[i]) == 0 {
			s.before = append(s.before, partial)
		}
	}
	e.setWaiting(k, slot, s.before)
}

func newestFirst(a, b *node) int {
	switch {
	case b.processedBefore(a):
		return -1
	case a.processedBefore(b):
		return 1
	default:
		return 0
	}
}

// guards are what came after a partial for sure, so that nothing behind it can
// follow the partial: of each source those that can be first.
type guards []*node

// addBehind adds what came after a partial for sure, an Until also with it.
func (g *guards) addBehind(partial *node, nodes []*node) {
	for _, n := range nodes {
		if partial.precedes(n) || n.stage == Until && n.ofOneEvent(partial) {
			g.add(n)
		}
	}
}

// add adds n, unless it is behind another for all purposes.
func (g *guards) add(n *node) {
	behind := func(n, other *node) bool {
		return n.source == other.source && other.time <= n.time && other.latest() <= n.latest() && !n.before(other)
	}
	if slices.ContainsFunc(*g, func(other *node) bool { return behind(n, other) }) {
		return
	}
	*g = append(slices.DeleteFunc(*g, func(other *node) bool { return behind(other, n) }), n)
}

// before reports whether one of them precedes n.
func (g guards) before(n *node) bool {
	return slices.ContainsFunc(g, func(guard *node) bool { return guard.precedes(n) })
}

// waiting returns the partials that wait in a slot, newest first.
func (k *key) waiting(slot int) []*node {
	if slot >= len(k.partials) || k.partials[slot] == nil {
		return nil
	}
	if k.extras == nil || k.beside[slot] == nil {
		return k.partials[slot : slot+1]
	}
	return append([]*node{k.partials[slot]}, k.beside[slot]...)
}

// setWaiting makes these the partials that wait in a slot.
func (e *Engine) setWaiting(k *key, slot int, partials []*node) {
	if len(partials) == 0 {
		e.setPartial(k, slot, nil)
		return
	}
	e.setPartial(k, slot, partials[0])
	if len(partials) > 1 {
		extras := k.more()
		if extras.beside == nil {
			extras.beside = map[int][]*node{}
		}
		extras.beside[slot] = slices.Clone(partials[1:])
	}
}

// setPartial makes n the only one that waits in a slot, or empties it. Slots exist
// from their first use: most keys of a long sequence never come far.
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
	if k.extras != nil {
		delete(k.beside, slot)
	}
}
