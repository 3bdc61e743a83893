package sequence

// queue is a heap of keys by when there is something to do for them, so that
// expiry looks at what is due and at nothing else. It implements heap.Interface.
type queue []*key

// Len is the number of keys.
func (q queue) Len() int { return len(q) }

// Less orders by due time.
func (q queue) Less(i, j int) bool { return q[i].due < q[j].due }

// Swap exchanges two keys, which know their place.
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push appends a *key.
func (q *queue) Push(x any) {
	k := x.(*key) // schedule pushes nothing else
	k.index = len(*q)
	*q = append(*q, k)
}

// Pop removes the last key.
func (q *queue) Pop() any {
	old := *q
	k := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	k.index = -1
	return k
}
