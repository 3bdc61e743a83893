package identity

import (
	"slices"
	"time"
)

const (
	// creationResolution is the resolution of creationTimestamp: the API server cuts
	// it down to the second.
	creationResolution = time.Second
	// watchLag is how far a watch that is connected may be behind.
	watchLag = 10 * time.Second
)

// span is a time between two moments, by our clock.
type span struct{ from, to time.Time }

// born is when the pod was created. The stamp was written by the clock of one of the API servers, nobody
// says of which: offsets are how far those may be ahead of ours. Some are ruled out because
// the pod was known before it would have been made, or because a live watch would have told of it
// long before it did.
func (r *record) born(offsets []time.Duration, tolerance time.Duration) span {
	out, some := r.possible(offsets, tolerance, r.fresh)
	if !some && r.fresh {
		out, some = r.possible(offsets, tolerance, false)
	}
	if !some && r.fresh { // The clock of whoever made it was never measured: go by when we heard of it.
		out.from = r.learned.Add(-watchLag)
	}
	if !some || out.to.After(r.learned) {
		out.to = r.learned
	}
	return out
}

// possible is when the pod was created if the clock of whoever made it was ahead by one of the offsets; live
// says that it cannot have been long before it was learned of.
func (r *record) possible(offsets []time.Duration, tolerance time.Duration, live bool) (out span, some bool) {
	for _, o := range offsets {
		from := r.created.Add(-o)
		to := from.Add(creationResolution)
		if from.After(r.learned.Add(tolerance)) || live && to.Before(r.learned.Add(-watchLag)) {
			continue
		}
		if !some || from.Before(out.from) {
			out.from = from
		}
		if !some || to.After(out.to) {
			out.to = to
		}
		some = true
	}
	return out, some
}

// begun reports whether the pod can have existed, now or before.
func (h *history) begun(r *record, t time.Time, tolerance time.Duration) bool {
	return !t.Before(r.born(h.offsets, tolerance).from.Add(-tolerance))
}

// end is the latest moment at which the pod can have lived, zero while it does.
func (h *history) end(r *record) time.Time {
	named := h.names[nameOf(r)]
	return h.endOf(named, slices.Index(named, r))
}

// endOf is the end of the i-th pod of a name. A name belongs to one pod at a time: whoever had it was gone
// when the next one was created, which is often known better than from the watch.
func (h *history) endOf(named []*record, i int) time.Time {
	end := named[i].deleted
	if end.IsZero() || i+1 == len(named) {
		return end
	}
	if latest := named[i+1].born(h.offsets, h.tolerance).to; latest.Before(end) {
		return latest
	}
	return end
}

// isOver reports whether something that ended then was over for longer than the tolerance.
func isOver(end, t time.Time, tolerance time.Duration) bool {
	return !end.IsZero() && t.After(end.Add(tolerance))
}

// fits reports whether the pod can have lived at the time, give or take the tolerance.
func (h *history) fits(r *record, t time.Time, tolerance time.Duration) bool {
	return h.begun(r, t, tolerance) && !isOver(h.end(r), t, tolerance)
}

// certain reports whether a pod that can have lived at the time, and is the only one known that can, did so.
// If nobody saw it go it may have been gone; and where not everything is known, somebody else may
// have had its name before or after it.
func (h *history) certain(r *record, t time.Time, tolerance time.Duration) bool {
	switch {
	case !r.sure.IsZero() && t.After(r.sure), !h.synced && t.After(h.told):
		return false
	case !h.unknown(t, tolerance):
		return true
	case !r.deleted.IsZero() && t.Add(tolerance).After(r.deleted.Add(-watchLag)):
		return false
	default:
		return !t.Before(r.born(h.offsets, tolerance).to.Add(tolerance))
	}
}

// unknown reports whether pods can have lived at the time, and can be gone, of which the history
// never heard.
func (h *history) unknown(t time.Time, tolerance time.Duration) bool {
	if t.Before(h.begin.Add(tolerance)) {
		return true
	}
	return slices.ContainsFunc(h.gaps, func(g span) bool {
		return t.Add(tolerance).After(g.from) && t.Before(g.to.Add(tolerance))
	})
}
