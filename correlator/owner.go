package correlator

import "container/heap"

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
