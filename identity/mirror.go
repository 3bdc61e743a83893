package identity

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mirrorHash is the UID in the cgroups of the static pod whose mirror the pod is, empty if it is none.
//
// The annotation proves nothing: whoever may create pods can write it. A pod that does not look otherwise like
// what a kubelet makes is not believed. All of that can be forged too, the Node as the owner only by somebody who
// knows its UID: the garbage collector removes what a Node owns that never was. So it is believed, but
// who had the hash first keeps it; see holders.
func mirrorHash(pod *corev1.Pod) string {
	hash, node := pod.Annotations[corev1.MirrorPodAnnotationKey], pod.Spec.NodeName
	owner := metav1.GetControllerOfNoCopy(pod)
	if hash == "" || len(hash) > maxID || node == "" || owner == nil {
		return ""
	}
	if owner.APIVersion != "v1" || owner.Kind != "Node" || owner.Name != node || !strings.HasSuffix(pod.Name, "-"+node) {
		return ""
	}
	return hash
}

// claim notes since when and until when the pod passes for the mirror of a static pod; old is its earlier state,
// nil if there is none. It reports whether that has changed.
//
// A kubelet removes a mirror of something that it does not run. What a finalizer then keeps
// has its deletionTimestamp for good, so that is where the claim ends.
func (r *record) claim(old *record, now time.Time) (changed bool) {
	r.claimed = now
	if old != nil {
		r.released = old.released
		if old.hash == r.hash {
			r.claimed = old.claimed
		}
	}
	if r.ending && r.released.IsZero() {
		r.released = now
		return true
	}
	return false
}

// placed reports whether it is known of the pod with that UID (of a cgroup or of the API object) that
// it runs on the record's node. A mirror that has ended says nothing about where there is another.
func (r *record) placed(uid string) bool {
	return r.pod.Node != "" && (r.pod.UID == uid || r.released.IsZero())
}

// holders are those of the mirror pods with one hash that it was the hash of at that time, one of each node: who lived
// then, better still lives, and was the first. They are all where nobody did.
func (h *history) holders(claimants []*record, t time.Time) []*record {
	had := func(r *record) bool {
		return h.fits(r, t, h.tolerance) && !isOver(r.released, t, h.tolerance)
	}
	has := func(r *record) bool { return r.removed.IsZero() && r.released.IsZero() }
	if !slices.ContainsFunc(claimants, func(r *record) bool { return had(r) || has(r) }) {
		return claimants
	}
	return firsts(prefer(prefer(claimants, had), has))
}

// firsts returns of each node who had the hash first. Of those on one list that is the older one: creation
// times cannot be forged.
func firsts(claimants []*record) []*record {
	ordered := slices.SortedStableFunc(slices.Values(claimants), func(a, b *record) int {
		if order := a.claimed.Compare(b.claimed); order != 0 {
			return order
		}
		return a.created.Compare(b.created)
	})
	var out []*record
	for _, r := range ordered {
		if !slices.ContainsFunc(out, func(first *record) bool { return first.pod.Node == r.pod.Node }) {
			out = append(out, r)
		}
	}
	return out
}
