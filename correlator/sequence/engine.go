package sequence

import (
	"container/heap"
	"fmt"
	"math"
	"slices"
	"time"
)

// Engine is the state of one sequence. It is not safe for concurrent use.
type Engine struct {
	spec   Spec
	limits Limits
	// position and last are Spec.positives: the final positive stage is last.
	position []int
	last     int
	// deferred sequences are decided at the watermark only.
	deferred bool

	keys  map[string]*key
	queue queue
	// watermark and floor are in Unix nanoseconds; hits before the floor are forgotten.
	watermark int64
	floor     int64
	stats     Stats
}

// Stats is what an Engine holds and what it has counted since New.
type Stats struct {
	// Keys, Hits, Bytes and Partials are what it holds now.
	Keys, Hits, Partials int
	Bytes                int64
	// InOrder and Replayed count accepted hits by what they cost.
	InOrder, Replayed uint64
	// Duplicates were known already: nothing is lost with them.
	Duplicates uint64
	// Expired hits came too late, Invalid ones make no sense (stage, time, ID).
	Expired, Invalid uint64
	// OverKey and OverTotal hits were forgotten before their time, by limit.
	OverKey, OverTotal uint64
}

// The years in which a hit can be, so that adding spans to its time cannot overflow.
const (
	firstYear = 1970
	lastYear  = 2200
)

// End returns the last watermark: Advance to it decides everything and forgets
// all hits. It is later than any hit and all spans together.
func End() time.Time { return time.Date(lastYear+50, 1, 1, 0, 0, 0, 0, time.UTC) }

// New returns an empty Engine.
func New(spec Spec, limits Limits) (*Engine, error) {
	limits = limits.withDefaults()
	if err := spec.validate(); err != nil {
		return nil, fmt.Errorf("sequence spec: %w", err)
	}
	if err := limits.validate(); err != nil {
		return nil, fmt.Errorf("sequence limits: %w", err)
	}
	position, count := spec.positives()
	e := &Engine{
		spec: spec, limits: limits, position: position, last: count - 1,
		deferred: spec.Until || count < len(spec.Stages),
		keys:     map[string]*key{},
		// A margin, so that adding spans to either end cannot overflow.
		watermark: math.MinInt64 / 2, floor: math.MinInt64 / 2,
	}
	return e, nil
}

// Stats returns the current figures.
func (e *Engine) Stats() Stats {
	s := e.stats
	s.Keys = len(e.keys)
	return s
}

// Step takes a hit and returns the matches that it changed, in event order.
func (e *Engine) Step(h Hit) []Match {
	n, ok := e.accept(h)
	if !ok {
		e.limits.Forgotten(h.Payload)
		return nil
	}
	k := e.keys[h.Key]
	if k == nil {
		k = &key{name: h.Key, index: -1}
		e.keys[h.Key] = k
		if !e.deferred {
			e.open(k, n)
			return nil // It takes two hits at least.
		}
		k.history = &history{settled: math.MinInt64}
	}
	return e.addTo(k, n)
}

// open makes n the only hit of a new key.
func (e *Engine) open(k *key, n node) {
	k.one = n
	e.stats.Hits++
	e.stats.Bytes += int64(n.size)
	e.stats.InOrder++
	if e.opens(&k.one) {
		e.stats.Partials++
	}
	e.schedule(k)
	e.enforceTotals()
}

// addTo adds n to a key that may have hits already.
func (e *Engine) addTo(k *key, n node) []Match {
	e.unfold(k)
	e.trimToFloor(k)
	at, known := k.place(&n)
	switch {
	case known:
		e.stats.Duplicates++
	case k.floor != nil && !k.floor.processedBefore(&n):
		e.stats.OverKey++
	default:
		matches := e.add(k, &n, at)
		e.enforceLimits(k)
		return matches
	}
	e.limits.Forgotten(n.payload)
	return nil
}

// accept turns a hit into a node, or counts why not.
func (e *Engine) accept(h Hit) (node, bool) {
	year := h.Time.Year()
	if h.Stage < Until || h.Stage >= len(e.spec.Stages) || (h.Stage == Until && !e.spec.Until) ||
		h.ID == "" || h.Size < 0 || year < firstYear || year > lastYear {
		e.stats.Invalid++
		return node{}, false
	}
	n := node{time: h.Time.UnixNano(), tie: h.Request, stage: int16(h.Stage), //nolint:gosec // bounded by maxStages above
		size: int32(min(h.Size, math.MaxInt32)), payload: h.Payload}
	if n.tie == "" {
		n.tie = h.ID
	}
	if n.time < e.floor {
		e.stats.Expired++
		return node{}, false
	}
	return n, true
}

// add puts n at its place in k and returns what that changed.
func (e *Engine) add(k *key, n *node, at int) []Match {
	e.stats.Hits++
	e.stats.Bytes += int64(n.size)
	inOrder := at == len(k.nodes)
	if inOrder {
		e.stats.InOrder++
		k.nodes = append(k.nodes, n)
		e.apply(k, n)
	} else {
		e.stats.Replayed++
		k.nodes = slices.Insert(k.nodes, at, n)
		e.replay(k)
	}
	e.schedule(k)
	switch {
	case e.deferred && n.time > e.watermark:
		return nil // What closes before the watermark cannot have changed.
	case !e.deferred && inOrder:
		return e.settleNewest(k, n)
	default:
		return e.settle(k, n.time)
	}
}

// Advance says that no more hits before the watermark are expected. It returns
// what that decided. A watermark that does not advance changes nothing.
func (e *Engine) Advance(watermark time.Time) []Match {
	if watermark.Year() < firstYear || watermark.After(End()) {
		return nil
	}
	w := watermark.UnixNano()
	if w <= e.watermark {
		return nil
	}
	e.watermark = w
	e.floor = max(e.floor, w-e.retention())
	var matches []Match
	for len(e.queue) > 0 && e.queue[0].due < w {
		k := e.queue[0]
		if k.history == nil { // Due for nothing but its end.
			e.remove(k)
			continue
		}
		if e.deferred {
			matches = append(matches, e.settle(k, k.settled)...)
			k.settled = w
		}
		e.trim(k, k.countBefore(w-e.retention()))
		e.trimToFloor(k)
		e.schedule(k)
	}
	return matches
}

// retention is how long behind the watermark a hit is kept: a span, as nothing
// older can be in a chain with what is still to come. A sequence negated at
// both ends is decided a span after its first hit, by hits of a span before.
func (e *Engine) retention() int64 {
	retention := e.spec.MaxSpan + e.limits.Lateness
	if e.spec.Stages[0].Negated && e.spec.Stages[len(e.spec.Stages)-1].Negated {
		retention += e.spec.MaxSpan
	}
	return int64(retention)
}

// schedule puts k where it belongs in the queue, or removes it when it is empty.
func (e *Engine) schedule(k *key) {
	oldest := k.oldest()
	if oldest == nil {
		e.drop(k)
		return
	}
	due := oldest.time + e.retention()
	if e.deferred {
		due = min(due, e.nextDecision(k))
	}
	switch {
	case k.index < 0:
		k.due = due
		heap.Push(&e.queue, k)
	case k.due != due:
		k.due = due
		heap.Fix(&e.queue, k.index)
	}
}

// drop forgets a key without hits.
func (e *Engine) drop(k *key) {
	if k.index >= 0 {
		heap.Remove(&e.queue, k.index)
	}
	delete(e.keys, k.name)
}

// remove forgets a key with its only hit.
func (e *Engine) remove(k *key) {
	if e.opens(&k.one) {
		e.stats.Partials--
	}
	e.forget(&k.one)
	e.drop(k)
}

// enforceLimits forgets the oldest hits that are over a limit: of k, then of all.
func (e *Engine) enforceLimits(k *key) {
	if over := len(k.nodes) - e.limits.HitsPerKey; over > 0 {
		e.stats.OverKey += uint64(over)
		k.forgetUpTo(k.nodes[over-1])
		e.trim(k, over)
		e.schedule(k)
	}
	e.enforceTotals()
}

func (e *Engine) enforceTotals() {
	for (e.stats.Hits > e.limits.Hits || e.stats.Bytes > e.limits.Bytes) && e.Shed() {
	}
}

// Shed forgets at least one hit, of the oldest that are kept. It reports false
// if there are none. It is for callers who share memory between engines.
func (e *Engine) Shed() bool {
	if len(e.queue) == 0 {
		return false
	}
	// The floor rises for all keys: under pressure the window shrinks for all
	// alike, and a forgotten hit that is delivered again stays forgotten.
	k := e.queue[0]
	e.floor = max(e.floor, k.oldest().time+1)
	if k.history == nil {
		e.stats.OverTotal++
		e.remove(k)
		return true
	}
	e.trimToFloor(k)
	e.schedule(k)
	return true
}

// Clear forgets all hits.
func (e *Engine) Clear() {
	for _, k := range e.keys {
		e.unfold(k)
		e.trim(k, len(k.nodes))
		e.schedule(k)
	}
}

// Held returns how many hits are kept, and their bytes.
func (e *Engine) Held() (hits int, bytes int64) { return e.stats.Hits, e.stats.Bytes }

// trimToFloor forgets what a risen floor has left behind in a key.
func (e *Engine) trimToFloor(k *key) {
	if len(k.nodes) > 0 && k.nodes[0].time < e.floor {
		count := k.countBefore(e.floor)
		e.stats.OverTotal += uint64(count) //nolint:gosec // a length
		e.trim(k, count)
	}
}
