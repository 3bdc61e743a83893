package identity

import (
	"slices"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// creationResolution is the resolution of creationTimestamp: the API server cuts
// it down to the second.
const creationResolution = time.Second

// name is a pod's name in the cluster. It is used again and again over time.
type name struct{ namespace, name string }

// history is which pods there are and were. It has no clock and no lock of its own.
type history struct {
	tolerance time.Duration
	retention time.Duration
	maxGone   int

	pods map[string]*record // by UID, living and gone
	// names has the pods of a name by creation, the newest last.
	names map[name][]*record
	// hashes has the mirror pods of a static pod by the UID in its cgroups.
	hashes map[string][]*record
	// gone has the UIDs of deleted pods in the order in which they were removed.
	gone []departure
	// alive counts the pods that are not gone.
	alive int
}

// departure is one entry of history.gone. It is void when the record has come
// back or has been forgotten in the meantime.
type departure struct {
	uid     string
	removed time.Time
}

func newHistory(tolerance, retention time.Duration, maxGone int) *history {
	return &history{
		tolerance: tolerance, retention: retention, maxGone: maxGone,
		pods: map[string]*record{}, names: map[name][]*record{}, hashes: map[string][]*record{},
	}
}

// put adds or updates a living pod and reports whether it was unknown before where it runs.
func (h *history) put(r *record, now time.Time) (learned bool) {
	old, known := h.pods[r.pod.UID]
	if known {
		r.inherit(old)
		h.unlink(old)
	}
	if !known || !old.removed.IsZero() {
		h.alive++
	}
	h.pods[r.pod.UID] = r
	key := name{r.pod.Namespace, r.pod.Name}
	h.names[key] = append(h.names[key], r)
	slices.SortStableFunc(h.names[key], func(a, b *record) int { return a.created.Compare(b.created) })
	if r.hash != "" {
		h.hashes[r.hash] = append(h.hashes[r.hash], r)
	}
	h.endPredecessors(key, r, now)
	return r.pod.Node != "" && (!known || old.pod.Node == "")
}

// endPredecessors uses that a name belongs to one pod at a time: whoever had it
// before r was gone when r was created, which is often known better than
// from the watch.
func (h *history) endPredecessors(key name, r *record, now time.Time) {
	latest := r.created.Add(creationResolution)
	for _, other := range h.names[key] {
		if other == r || !other.created.Before(r.created) {
			continue
		}
		if other.removed.IsZero() {
			h.depart(other, now)
		}
		if other.deleted.After(latest) {
			other.deleted = latest
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
	h.alive--
	h.gone = append(h.gone, departure{r.pod.UID, now})
}

// replace makes the given pods the living ones: whoever is not among them is
// gone since some moment before now. It returns those of which put reports news.
func (h *history) replace(records []*record, now time.Time) (learned []*record) {
	living := make(map[string]bool, len(records))
	for _, r := range records {
		living[r.pod.UID] = true
	}
	for uid := range h.pods {
		if !living[uid] {
			h.remove(uid, now)
		}
	}
	for _, r := range records {
		if h.put(r, now) {
			learned = append(learned, r)
		}
	}
	return learned
}

// expire forgets pods that have been gone for longer than the retention, and
// then the oldest of those beyond the bound, whose number it returns.
func (h *history) expire(now time.Time) (evicted int) {
	for len(h.gone) > 0 {
		first := h.gone[0]
		r, ok := h.pods[first.uid]
		void := !ok || !r.removed.Equal(first.removed)
		old := now.Sub(first.removed) > h.retention
		if !void && !old && len(h.gone) <= h.maxGone {
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
	return evicted
}

func (h *history) forget(r *record) {
	delete(h.pods, r.pod.UID)
	h.unlink(r)
}

// unlink takes the record out of the secondary indexes.
func (h *history) unlink(r *record) {
	removeFrom(h.names, name{r.pod.Namespace, r.pod.Name}, r)
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

// at is the pod of that name at a time. It always has the namespace and the name.
func (h *history) at(namespace, podName string, t time.Time) event.Pod {
	var fitting []*record
	for _, r := range h.names[name{namespace, podName}] {
		if r.fits(t, h.tolerance) {
			fitting = append(fitting, r)
		}
	}
	return oneOf(fitting, event.Pod{Namespace: namespace, Name: podName}, event.ByName)
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
		if all, foreign = onThe(node, all); len(all) == 0 {
			return nil, foreign
		}
	}
	if len(all) <= 1 {
		return all, false
	}
	all = prefer(all, func(r *record) bool { return r.fits(t, h.tolerance) })
	return prefer(all, func(r *record) bool { return r.removed.IsZero() }), false
}

// onThe returns the records of pods on the node. If there is none, all being on other nodes is
// foreign; one that is not scheduled yet, as far as is known, may still turn out to be there.
func onThe(node string, records []*record) (here []*record, foreign bool) {
	foreign = len(records) > 0
	for _, r := range records {
		switch r.pod.Node {
		case node:
			here = append(here, r)
			foreign = false
		case "":
			foreign = false
		}
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
	known.Confidence = event.Ambiguous
	for _, r := range records[max(0, len(records)-maxCandidates):] {
		known.Candidates = append(known.Candidates, r.pod.UID)
	}
	return known
}
