package sequence

import "math"

// before is the order of events by what their clocks say: strictly, so an event is
// not before itself.
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

// ofOneEvent reports whether two hits are of the same event, or request.
func (n *node) ofOneEvent(other *node) bool { return n.time == other.time && n.tie == other.tie }

// off is how far the hit's clock may be off, in nanoseconds.
func (n *node) off() int64 { return int64(n.tolerance) * tolerance }

// doubt is how far the times of two hits may be wrong against each other.
func (n *node) doubt(other *node) int64 {
	if n.source == other.source {
		return 0
	}
	return n.off() + other.off()
}

// mayPrecede reports whether n may have happened before other.
func (n *node) mayPrecede(other *node) bool {
	doubt := n.doubt(other)
	if doubt == 0 || n.ofOneEvent(other) {
		return n.before(other)
	}
	return n.time <= other.time+doubt
}

// precedes reports whether n happened before other for sure.
func (n *node) precedes(other *node) bool {
	return !n.ofOneEvent(other) && !other.mayPrecede(n)
}

// within reports whether the two may be no further apart than MaxSpan.
func (e *Engine) within(first, last *node) bool {
	return last.time-first.time-first.doubt(last) <= int64(e.spec.MaxSpan)
}

// surelyWithin reports whether they are no further apart, whatever their clocks.
func (e *Engine) surelyWithin(first, last *node) bool {
	return last.time-first.time+first.doubt(last) <= int64(e.spec.MaxSpan)
}

// edge is how far some hits extend to one side of time, by the clocks that told it:
// how late they may have happened, or (with times negated) how early. It knows the
// two sources that extend furthest, and of all others the furthest.
type edge struct {
	source [2]uint32
	end    [3]int64
}

// nowhere is the end of an edge without hits.
const nowhere = math.MinInt64

func newEdge() edge { return edge{end: [3]int64{nowhere, nowhere, nowhere}} }

// latest is how late a hit may have happened, and earliest how early, negated.
func (n *node) latest() int64   { return n.time + n.off() }
func (n *node) earliest() int64 { return n.off() - n.time }

// add takes account of one more hit.
func (x *edge) add(source uint32, end int64) {
	switch {
	case source == x.source[0]:
		x.end[0] = max(x.end[0], end)
	case source == x.source[1]:
		if x.end[1] = max(x.end[1], end); x.end[1] > x.end[0] {
			x.source[0], x.source[1] = x.source[1], x.source[0]
			x.end[0], x.end[1] = x.end[1], x.end[0]
		}
	case end > x.end[0]:
		x.end[2] = max(x.end[2], x.end[1])
		x.source[0], x.source[1] = source, x.source[0]
		x.end[0], x.end[1] = end, x.end[0]
	case end > x.end[1]:
		x.end[2] = max(x.end[2], x.end[1])
		x.source[1], x.end[1] = source, end
	default:
		x.end[2] = max(x.end[2], end)
	}
}

// reaches reports whether a hit of another source than n may have happened after n.
func (x *edge) reaches(n *node) bool {
	end := x.end[0]
	if x.source[0] == n.source {
		end = x.end[1]
	}
	return end != nowhere && end >= -n.earliest()
}

// meets reports whether the order of any of these hits and of some later ones is in
// doubt. The edge of those is the early one.
func (x *edge) meets(later *edge) bool {
	for i, end := range x.end {
		for j, from := range later.end {
			same := i < 2 && j < 2 && x.source[i] == later.source[j]
			if !same && end != nowhere && from != nowhere && end >= -from {
				return true
			}
		}
	}
	return false
}
