package sequence

// queue is a heap of keys by when there is something to do for them, so that
// expiry looks at what is due and at nothing else. It is not a heap.Interface: the
// due times lie beside each other in memory, and nothing is allocated for a key.
type queue []appointment

// appointment is when (as a watermark) there is something to do for a key, which
// knows its index in the queue.
type appointment struct {
	due int64
	key *key
}

// put makes an appointment for a key, or moves the one that it has.
func (q *queue) put(k *key, due int64) {
	if k.index < 0 {
		k.index = len(*q)
		*q = append(*q, appointment{due, k})
	}
	(*q)[k.index].due = due
	q.fix(k.index)
}

// remove takes a key out.
func (q *queue) remove(k *key) {
	i, last := k.index, len(*q)-1
	if i < 0 {
		return
	}
	q.swap(i, last)
	(*q)[last] = appointment{}
	*q = (*q)[:last]
	k.index = -1
	if i < last {
		q.fix(i)
	}
}

// sort brings all keys to their place.
func (q queue) sort() {
	for i := len(q)/2 - 1; i >= 0; i-- {
		q.down(i)
	}
}

// fix brings one key to its place.
func (q queue) fix(i int) {
	for i > 0 && q[i].due < q[(i-1)/2].due {
		q.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	q.down(i)
}

func (q queue) down(i int) {
	for {
		child := 2*i + 1
		if child+1 < len(q) && q[child+1].due < q[child].due {
			child++
		}
		if child >= len(q) || q[i].due <= q[child].due {
			return
		}
		q.swap(i, child)
		i = child
	}
}

func (q queue) swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].key.index, q[j].key.index = i, j
}
