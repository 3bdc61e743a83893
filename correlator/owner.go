package correlator

import (
	"container/heap"
	"strings"

	"github.com/portcullis-dev/portcullis/event"
)

// maxOwner bounds an owner's name. Longer ones that begin alike share a budget.
const maxOwner = 256

// What an owner's name begins with, so that no user can be named like a pod.
const (
	ownerPod    = "pod/"
	ownerCaller = "caller/"
	ownerUser   = "user/"
	ownerSource = "source/"
)

// appendOwner appends the name of who could have made an event happen, and so pays
// for what is kept of it: when there is too much, the owner of most of it loses
// first. A name that somebody else can make events under would be a way to push out
// that one's state. Therefore it is never a name out of a request's object or path, nor
// an impersonated user: anybody may write those.
//
//   - Telemetry is its pod's. The agent read the UID from the kernel, and can speak
//     for pods of its own node only.
//   - A request is the pod's whose token made it, as the API server authenticated it and
//     if such a pod lived then; that keeps the pods of one service account apart.
//     Who may create tokens for a service account can bind one to any of its
//     pods. So what a pod's token does and what happens in the pod are two
//     owners: with a token alone nobody pushes out telemetry.
//   - Any other request is the authenticated user's. All anonymous ones are one user.
func appendOwner(dst []byte, e *event.Event) []byte {
	start := len(dst)
	switch {
	case !e.Pod.IsZero():
		dst = e.Pod.AppendKey(append(dst, ownerPod...))
	case e.Audit != nil && e.Audit.Caller.UID != "" && e.Audit.Caller.Confidence >= event.ByName:
		dst = e.Audit.Caller.AppendKey(append(dst, ownerCaller...))
	case e.Audit != nil:
		dst = append(append(dst, ownerUser...), e.Audit.User.Username...)
	default:
		dst = append(append(dst, ownerSource...), e.Source...)
	}
	return dst[:min(len(dst), start+maxOwner)]
}

// whose is an owner's name as others know it: a pod's key, a user's name, a source.
func whose(owner string) string {
	_, name, _ := strings.Cut(owner, "/")
	return name
}

// owner is whom kept hits belong to.
type owner struct {
	name string
	hits int
	// weight is what the hits cost, of all rules.
	weight int64
	// recent is a rule that keeps some of them, as far as is known.
	recent *joined
	// born is when the first of them came, place where it is in the heap, -1 if it is not.
	born  uint32
	place int
}

// owners finds the one that keeps most. There are never more of them than hits.
type owners struct {
	byName map[string]*owner
	heap   ownerHeap
}

func newOwners() *owners { return &owners{byName: map[string]*owner{}} }

// charge adds hits and their weight to an owner's account, or takes them off.
func (o *owners) charge(name string, born uint32, hits int, weight int64) {
	of := o.byName[name]
	if of == nil {
		of = &owner{name: name, born: born, place: -1}
		o.byName[name] = of
	}
	of.hits += hits
	of.weight += weight
	of.born = min(of.born, born)
	switch {
	case of.hits <= 0:
		o.setAside(of)
		delete(o.byName, of.name)
	case of.place < 0:
		heap.Push(&o.heap, of)
	default:
		heap.Fix(&o.heap, of.place)
	}
}

// most returns the owner that keeps most, nil if there is none.
func (o *owners) most() *owner {
	if len(o.heap) == 0 {
		return nil
	}
	return o.heap[0]
}

// setAside makes most look past an owner until it is charged again.
func (o *owners) setAside(of *owner) {
	if of.place >= 0 {
		heap.Remove(&o.heap, of.place)
	}
}

// ownerHeap implements heap.Interface, heaviest first.
type ownerHeap []*owner

// Len is the number of owners.
func (h ownerHeap) Len() int { return len(h) }

// Less orders by weight, and by age where that is equal.
func (h ownerHeap) Less(i, j int) bool {
	return h[i].weight > h[j].weight || (h[i].weight == h[j].weight && h[i].born < h[j].born)
}

// Swap exchanges two owners, which know their place.
func (h ownerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push appends an *owner.
func (h *ownerHeap) Push(x any) {
	o := x.(*owner) // charge pushes nothing else
	o.place = len(*h)
	*h = append(*h, o)
}

// Pop removes the last owner.
func (h *ownerHeap) Pop() any {
	old := *h
	o := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	o.place = -1
	return o
}
