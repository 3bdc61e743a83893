package sequence

import (
	"fmt"
	"math"
	"math/bits"
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

	keys    map[string]*key
	queue   queue
	sources sources
	// accounts is nil as long as there is room for everybody.
	accounts *accounts
	// tolerance is the most that a clock has been off so far, in nanoseconds; it
	// grows in powers of two up to the limit.
	tolerance int64
	// watermark and floor are in Unix nanoseconds; hits before the floor are refused.
	watermark int64
	floor     int64
	// news is what the caller is to be told next.
	news    []Match
	stats   Stats
	scratch scratch
	// together is maxTogether, which tests exceed.
	together int
}

// Stats is what an Engine holds and what it has counted since New.
type Stats struct {
	// Keys, Hits, Bytes and Partials are what it holds now.
	Keys, Hits, Partials int
	Bytes                int64
	// InOrder and Replayed count accepted hits by what they cost: one step, or the
	// hits around it processed again.
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
		keys:     map[string]*key{}, sources: newSources(), together: maxTogether,
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
	if cause := e.refuse(h); cause != "" {
		e.limits.Dropped(h.Owner, cause, 1)
		e.limits.Forgotten(h.Payload)
		return nil
	}
	n := e.nodeOf(h)
	k := e.keys[h.Key]
	if k == nil {
		k = &key{name: h.Key, index: -1}
		e.keys[h.Key] = k
		if !e.deferred {
			e.open(k, n)
			return e.takeNews() // Of others: it takes two hits at least.
		}
		k.history = &history{reach: newEdge()}
	}
	e.addTo(k, n)
	return e.takeNews()
}

func (e *Engine) takeNews() []Match {
	news := e.news
	e.news = nil
	return news
}

// refuse tells, and counts, why a hit cannot be taken.
func (e *Engine) refuse(h Hit) (cause string) {
	year := h.Time.Year()
	if h.Stage < Until || h.Stage >= len(e.spec.Stages) || (h.Stage == Until && !e.spec.Until) ||
		h.ID == "" || h.Size < 0 || h.Tolerance < 0 || year < firstYear || year > lastYear {
		e.stats.Invalid++
		return CauseInvalid
	}
	if h.Time.UnixNano() < e.floor {
		e.stats.Expired++
		return CauseExpired
	}
	if e.accounts != nil {
		if a := e.accounts.byOwner[h.Owner]; a != nil && h.Time.UnixNano() < a.floor {
			e.stats.OverTotal++
			return CauseOverTotal
		}
	}
	return ""
}

// nodeOf returns what is kept of a hit.
func (e *Engine) nodeOf(h Hit) node {
	off := min(h.Tolerance, e.limits.Tolerance)
	if int64(off) > e.tolerance {
		e.tolerate(int64(off))
	}
	n := node{time: h.Time.UnixNano(), tie: h.Request, owner: h.Owner, payload: h.Payload, source: e.sources.keep(h.Source),
		stage:     int16(h.Stage),                            //nolint:gosec // bounded by maxStages
		size:      int32(min(h.Size, math.MaxInt32)),         //nolint:gosec // bounded just there
		tolerance: uint32((off + tolerance - 1) / tolerance)} //nolint:gosec // bounded by maxTolerance
	if n.tie == "" {
		n.tie = h.ID
	}
	return n
}

// tolerate makes hits be kept for as long as clocks that may be so far off need.
func (e *Engine) tolerate(off int64) {
	e.tolerance = min(max(tolerance, int64(1)<<bits.Len64(uint64(off-1))), int64(e.limits.Tolerance)) //nolint:gosec // positive
	for i, a := range e.queue {
		e.queue[i].due = e.due(a.key)
	}
	e.queue.sort()
}

// open makes n the only hit of a new key.
func (e *Engine) open(k *key, n node) {
	k.one = n
	e.keep(k, &k.one)
	e.stats.InOrder++
	if e.opens(&k.one) {
		e.stats.Partials++
	}
	e.schedule(k)
	e.enforceTotals()
}

// keep counts a hit as kept. It is not among the hits of k yet.
func (e *Engine) keep(k *key, n *node) {
	e.stats.Hits++
	e.stats.Bytes += int64(n.size)
	if e.accounts != nil {
		e.accounts.add(k, n, n == &k.one || !k.has(n.owner))
	}
}

// addTo adds n to a key that may have hits already.
func (e *Engine) addTo(k *key, n node) {
	e.unfold(k)
	e.trimToFloor(k, n.owner)
	if e.tolerance > 0 {
		k.agree(&n)
	}
	at, known := k.place(&n)
	switch {
	case known:
		e.stats.Duplicates++
	case k.refuses(&n):
		e.overKey(n.owner, 1)
	default:
		e.add(k, &n, at)
		e.enforceLimits(k)
		return
	}
	e.sources.release(n.source)
	e.limits.Forgotten(n.payload)
	if len(k.nodes) == 0 {
		e.drop(k) // All it had was below its owner's floor.
	}
}

// add puts n at its place in k and tells what that changed.
func (e *Engine) add(k *key, n *node, at int) {
	e.keep(k, n)
	k.shared = k.shared || len(k.nodes) > 0 && k.nodes[0].owner != n.owner
	newest := at == len(k.nodes) && (e.tolerance == 0 || !k.reach.reaches(n))
	k.insert(at, n)
	from := at
	if newest {
		e.stats.InOrder++
		e.mark(k, at)
		e.apply(k, n)
	} else {
		e.stats.Replayed++
		from = e.replay(k, at, n)
	}
	e.schedule(k)
	switch {
	case !e.deferred:
		e.settle(k, from, math.MinInt64)
	case n.time <= e.watermark: // Else, what closes before the watermark cannot have changed.
		e.settle(k, e.closingSince(k, n.time), n.time)
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
	e.floor = max(e.floor, w-e.retention()+e.blur())
	for len(e.queue) > 0 && e.queue[0].due < w {
		k := e.queue[0].key
		if k.history == nil { // Due for nothing but its end.
			e.remove(k)
			continue
		}
		if e.deferred {
			extras := k.more()
			e.settle(k, e.closingSince(k, extras.settled), extras.settled)
			extras.settled = w
		}
		e.trim(k, k.countBefore(w-e.retention()))
		e.schedule(k)
	}
	e.closeAccounts()
	return e.takeNews()
}

// blur is how far apart two hits are at least that can have nothing to do with each
// other's order, not even by way of a third.
func (e *Engine) blur() int64 { return 4 * e.tolerance }

// retention is how long behind the watermark a hit is kept: a span, as nothing
// older can be in a chain with what is still to come. A sequence negated at
// both ends is decided a span after its first hit, by hits of a span before.
func (e *Engine) retention() int64 {
	retention := e.spec.MaxSpan + e.limits.Lateness
	if e.spec.Stages[0].Negated && e.spec.Stages[len(e.spec.Stages)-1].Negated {
		retention += e.spec.MaxSpan
	}
	return int64(retention) + 2*e.blur()
}

// due is when there is something to do for a key that has hits.
func (e *Engine) due(k *key) int64 {
	due := k.oldest().time + e.retention()
	if e.deferred {
		due = min(due, e.nextDecision(k))
	}
	return due
}

// schedule puts k where it belongs in the queue, or removes it when it is empty.
func (e *Engine) schedule(k *key) {
	if k.oldest() == nil {
		e.drop(k)
		return
	}
	e.queue.put(k, e.due(k))
}

// drop forgets a key without hits.
func (e *Engine) drop(k *key) {
	e.queue.remove(k)
	delete(e.keys, k.name)
}

// remove forgets a key with its only hit.
func (e *Engine) remove(k *key) {
	if e.opens(&k.one) {
		e.stats.Partials--
	}
	e.forget(k, &k.one)
	e.drop(k)
}

// enforceLimits forgets the oldest hits that are over a limit: of k, then of all.
func (e *Engine) enforceLimits(k *key) {
	for k.index >= 0 && len(k.nodes) > e.limits.HitsPerKey {
		owner := k.largestIn()
		_, count := e.forgetSome(k, owner)
		e.overKey(owner, count)
	}
	e.enforceTotals()
}

func (e *Engine) enforceTotals() {
	for e.stats.Hits > e.limits.Hits || e.stats.Bytes > e.limits.Bytes {
		if owner, ok := e.Largest(); !ok || !e.Shed(owner) {
			return
		}
	}
}

func (e *Engine) overKey(owner string, count int) {
	e.stats.OverKey += uint64(count) //nolint:gosec // a length
	e.limits.Dropped(owner, CauseOverKey, count)
}

func (e *Engine) overTotal(owner string, count int) {
	e.stats.OverTotal += uint64(count) //nolint:gosec // a length
	e.limits.Dropped(owner, CauseOverTotal, count)
}

// Clear forgets all hits, and says nothing of the matches that they made.
func (e *Engine) Clear() {
	for _, k := range e.keys {
		e.unfold(k)
		e.trim(k, len(k.nodes))
		e.schedule(k)
	}
	e.news = nil
}

// Held returns how many hits are kept, and their bytes.
func (e *Engine) Held() (hits int, bytes int64) { return e.stats.Hits, e.stats.Bytes }
