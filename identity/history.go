package identity

import (
	"slices"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// name is a pod's name in the cluster. It is used again and again over time.
type name struct{ namespace, name string }

func nameOf(r *record) name { return name{r.pod.Namespace, r.pod.Name} }

// maxGaps bounds how many gaps are told apart. Beyond, the time between the oldest two counts as one.
const maxGaps = 32

// history is which pods there are and were. It has no clock and no lock of its own.
type history struct {
	tolerance time.Duration
	retention time.Duration
	// maxGone and maxGoneBytes bound the pods that are gone.
	maxGone      int
	maxGoneBytes int64
	// offsets are how far the clocks of API servers may be ahead of ours; at least one.
	offsets []time.Duration
	// touched is called with the UID of each pod of which something else is known now.
	touched func(uid string)
	// shortened is called with a pod that has more labels than are kept, once.
	shortened func(*record)

	pods map[string]*record // by UID, living and gone
	// names has the pods of a name in the order in which they were learned of, the newest last.
	names map[name][]*record
	// hashes has the mirror pods of a static pod by the UID in its cgroups.
	hashes map[string][]*record
	// gone has the UIDs of deleted pods in the order in which they were removed.
	gone []departure
	// goneBytes is about how much memory those take.
	goneBytes int64
	// alive counts the pods that are not gone.
	alive int

	// begin is when the history begins: pods that were gone before may be unknown.
	begin time.Time
	// told is up to when everything is known: when the watch told something last, less its lag.
	told time.Time
	// synced is set once there was a list. Before, whatever happened after told is not known.
	synced bool
	// gaps are the times later than begin in which pods may have come and gone unheard of.
	gaps []span
}

// departure is one entry of history.gone. It is void when the record has come
// back or has been forgotten in the meantime.
type departure struct {
	uid     string
	removed time.Time
}

func newHistory(tolerance, retention time.Duration, maxGone int, maxGoneBytes int64) *history {
	return &history{
		tolerance: tolerance, retention: retention, maxGone: maxGone, maxGoneBytes: maxGoneBytes,
		offsets: []time.Duration{0}, touched: func(string) {}, shortened: func(*record) {},
		pods: map[string]*record{}, names: map[name][]*record{}, hashes: map[string][]*record{},
	}
}

// put adds or updates a living pod. It reports whether something is known now that an event may wait for:
// the pod, where it runs, or another container of it.
func (h *history) put(r *record, now time.Time) (learned bool) {
	old, known := h.pods[r.pod.UID]
	news := true
	if known {
		containers := len(old.containers)
		news = r.inherit(old)
		learned = r.pod.Node != "" && (old.pod.Node == "" || len(r.containers) > containers)
		h.unlink(old)
	} else {
		r.learned = now
		learned = true
	}
	news = r.claim(old, now) || news
	if r.cut && (!known || !old.cut) {
		h.shortened(r)
	}
	if !known || !old.removed.IsZero() {
		h.alive++
	}
	if known {
		h.goneBytes -= old.bytes
	}
	h.link(r)
	h.endPredecessors(r, now)
	if news {
		h.touched(r.pod.UID)
	}
	return learned
}

// link enters the record into the indexes.
func (h *history) link(r *record) {
	h.pods[r.pod.UID] = r
	key := nameOf(r)
	h.names[key] = append(h.names[key], r)
	slices.SortStableFunc(h.names[key], byOrder)
	if r.hash != "" {
		h.hashes[r.hash] = append(h.hashes[r.hash], r)
	}
}

// byOrder sorts pods of one name by who had it first. The watch tells of them in that order; creation
// times, by different clocks, do not.
func byOrder(a, b *record) int {
	switch order := a.learned.Compare(b.learned); {
	case order != 0:
		return order
	case a.removed.IsZero() != b.removed.IsZero():
		if a.removed.IsZero() {
			return 1
		}
		return -1
	default:
		return a.removed.Compare(b.removed)
	}
}

// endPredecessors uses that a name belongs to one pod at a time: whoever had it
// before r is gone, even if nobody has told.
func (h *history) endPredecessors(r *record, now time.Time) {
	for _, other := range h.names[nameOf(r)] {
		if other == r {
			return
		}
		if other.removed.IsZero() {
			h.depart(other, now)
		}
	}
}

// remove notes that a pod is gone.
func (h *history) remove(uid string, now time.Time) {
	if r, ok := h.pods[uid]; ok && r.removed.IsZero() {
		h.depart(r, now)
	}
}

func (h *history) depart(r *record, now time.Time) {
	r.removed, r.deleted = now, now
	r.nameless = nil
	r.bytes = r.size()
	h.goneBytes += r.bytes
	h.alive--
	h.gone = append(h.gone, departure{r.pod.UID, now})
	h.touched(r.pod.UID)
}

// hear notes that a watch that is not behind has told something.
func (h *history) hear(now time.Time) {
	if t := now.Add(-watchLag); t.After(h.told) {
		h.told = t
	}
}

// replace makes the given pods the living ones: whoever is not among them is
// gone since some moment before now, but later than what the watch told last. It returns those of
// which put reports news.
func (h *history) replace(records []*record, now time.Time) (learned []*record) {
	living := make(map[string]bool, len(records))
	for _, r := range records {
		living[r.pod.UID] = true
	}
	told := h.told
	for uid, r := range h.pods {
		if !living[uid] && r.removed.IsZero() {
			h.depart(r, now)
			if r.sure = told; told.Before(r.learned) {
				r.sure = r.learned
			}
		}
	}
	for _, r := range records {
		if h.put(r, now) {
			learned = append(learned, r)
		}
	}
	h.miss(span{told, now})
	h.synced = true
	return learned
}

// miss notes that pods may have come and gone unheard of, until the list that ends the gap.
func (h *history) miss(gap span) {
	h.hear(gap.to)
	if gap.from.IsZero() { // there was nothing before
		h.begin = gap.to
		return
	}
	if n := len(h.gaps); n > 0 && !gap.from.After(h.gaps[n-1].to) {
		h.gaps[n-1].to = gap.to
		return
	}
	h.gaps = append(h.gaps, gap)
	if len(h.gaps) > maxGaps {
		h.gaps[1].from = h.gaps[0].from
		h.gaps = h.gaps[1:]
	}
}

// tooMany reports whether pods that are gone have to be forgotten before their time.
func (h *history) tooMany() bool { return len(h.gone) > h.maxGone || h.goneBytes > h.maxGoneBytes }

// expire forgets pods that have been gone for longer than the retention, and
// then the oldest of those beyond the bounds, whose number it returns.
func (h *history) expire(now time.Time) (evicted int) {
	for len(h.gone) > 0 {
		first := h.gone[0]
		r, ok := h.pods[first.uid]
		void := !ok || !r.removed.Equal(first.removed)
		old := now.Sub(first.removed) > h.retention
		if !void && !old && !h.tooMany() {
			break
		}
		h.gone = h.gone[1:]
		if void {
			continue
		}
		if !old {
			evicted++
		}
		h.forget(r)
	}
	h.gaps = slices.DeleteFunc(h.gaps, func(g span) bool { return !g.to.After(h.begin) })
	return evicted
}

// forget lets go of a pod that is gone. The history begins later now.
func (h *history) forget(r *record) {
	if r.deleted.After(h.begin) {
		h.begin = r.deleted
	}
	h.goneBytes -= r.bytes
	delete(h.pods, r.pod.UID)
	h.unlink(r)
	h.touched(r.pod.UID)
}

// unlink takes the record out of the secondary indexes.
func (h *history) unlink(r *record) {
	removeFrom(h.names, nameOf(r), r)
	if r.hash != "" {
		removeFrom(h.hashes, r.hash, r)
	}
}

func removeFrom[K comparable](index map[K][]*record, key K, r *record) {
	rest := slices.DeleteFunc(index[key], func(other *record) bool { return other == r })
	if len(rest) == 0 {
		delete(index, key)
		return
	}
	index[key] = rest
}

// current is the living pod of that name.
func (h *history) current(namespace, podName string) *record {
	all := h.names[name{namespace, podName}]
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].removed.IsZero() {
			return all[i]
		}
	}
	return nil
}

// maxCandidates bounds the candidates of an ambiguous name: a pod that is made
// anew every second has had many.
const maxCandidates = 16

// at is the pod of that name at a time, give or take the tolerance. It always has the namespace and
// the name.
func (h *history) at(namespace, podName string, t time.Time, tolerance time.Duration) event.Pod {
	fitting := h.fitting(h.names[name{namespace, podName}], t, tolerance)
	nobody := event.Pod{Namespace: namespace, Name: podName}
	if len(fitting) == 1 && !h.certain(fitting[0], t, tolerance) {
		return ambiguous(fitting, nobody)
	}
	return oneOf(fitting, nobody, event.ByName)
}

// fitting are those of the pods of a name that can have lived at the time, oldest first. Most questions
// are about lately, and a name may have had hundreds of pods: those that were gone when a pod
// was learned of long before the time are not looked at.
func (h *history) fitting(named []*record, t time.Time, tolerance time.Duration) []*record {
	var out []*record
	settled := false
	for i := len(named) - 1; i >= 0; i-- {
		r := named[i]
		if settled && !r.removed.IsZero() {
			continue
		}
		if h.begun(r, t, tolerance) && !isOver(h.endOf(named, i), t, tolerance) {
			out = append(out, r)
		}
		settled = settled || t.After(r.learned.Add(tolerance))
	}
	slices.Reverse(out)
	return out
}

// byUID is the pod with that UID, or the pods whose cgroups carry it: mirror
// pods of one static pod that followed each other, or static pods on several nodes that
// share a hash because they name their UID themselves.
func (h *history) byUID(uid string) []*record {
	if r, ok := h.pods[uid]; ok {
		return []*record{r}
	}
	return h.hashes[uid]
}

// inCgroup is the pod whose cgroup on that node carried the UID at that time. An empty node
// stands for any. It returns several where they cannot be told apart, and none, but
// foreign, where the pods of that UID are known to run on other nodes only.
func (h *history) inCgroup(uid, node string, t time.Time) (found []*record, foreign bool) {
	all := h.byUID(uid)
	if node != "" {
		if all, foreign = onThe(node, uid, all); len(all) == 0 {
			return nil, foreign
		}
	}
	if len(all) <= 1 {
		return all, false
	}
	return h.holders(all, t), false
}

// onThe returns the records of pods on the node. If there is none, all being on other nodes is
// foreign; one that is not scheduled yet, as far as is known, may still turn out to be there.
func onThe(node, uid string, records []*record) (here []*record, foreign bool) {
	foreign = len(records) > 0
	for _, r := range records {
		if r.pod.Node == node {
			here = append(here, r)
			foreign = false
		}
		foreign = foreign && r.placed(uid)
	}
	return here, foreign
}

// prefer returns the records that have the property, or all if none has it.
func prefer(records []*record, has func(*record) bool) []*record {
	var out []*record
	for _, r := range records {
		if has(r) {
			out = append(out, r)
		}
	}
	if len(out) == 0 {
		return records
	}
	return out
}

// oneOf is the pod if there is exactly one, else what is known of it with the candidates.
func oneOf(records []*record, known event.Pod, confidence event.Confidence) event.Pod {
	switch len(records) {
	case 0:
		known.Confidence = event.Unknown
		return known
	case 1:
		pod := records[0].pod
		pod.Confidence = confidence
		return pod
	}
	return ambiguous(records, known)
}

// ambiguous is what is known of a pod that may be any of those.
func ambiguous(records []*record, known event.Pod) event.Pod {
	known.Confidence = event.Ambiguous
	for _, r := range records[max(0, len(records)-maxCandidates):] {
		known.Candidates = append(known.Candidates, r.pod.UID)
	}
	return known
}
