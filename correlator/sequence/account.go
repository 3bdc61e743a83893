package sequence

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
)

// accounts tell who keeps how much, so that too much can be taken from whom it is.
// They exist from the first time that a limit is exceeded until the hits have
// become few: nothing is spent on them as long as there is room.
type accounts struct {
	limits  Limits
	byOwner map[string]*account
	// most is a heap, who keeps most comes first.
	most accountHeap
	// opened counts accounts: of equal ones the oldest comes first.
	opened uint64
	// level is how many hits were kept when something was last taken.
	level int
}

// account is what one owner keeps.
type account struct {
	owner  string
	opened uint64
	index  int
	hits   int
	bytes  int64
	// share is how much of both limits it is.
	share float64
	// keys are those that have hits of the owner, the first to have one first. Some
	// may have none any more.
	keys []*key
	// floor is the time below which no more hits are taken from the owner: under
	// pressure its window shrinks, and what was forgotten stays forgotten.
	floor int64
}

// account returns the accounts, which are made if there are none.
func (e *Engine) account() *accounts {
	if e.accounts != nil {
		return e.accounts
	}
	oldest := slices.Clone(e.queue)
	slices.SortFunc(oldest, func(a, b appointment) int { return cmp.Compare(a.due, b.due) })
	e.accounts = &accounts{limits: e.limits, byOwner: map[string]*account{}, level: e.stats.Hits}
	for _, next := range oldest {
		k := next.key
		if k.history == nil {
			e.accounts.add(k, &k.one, true)
			continue
		}
		seen := map[string]bool{}
		for _, n := range k.nodes {
			e.accounts.add(k, n, !seen[n.owner])
			seen[n.owner] = true
		}
	}
	return e.accounts
}

// closeAccounts gives the accounts up when they have not been needed for long.
func (e *Engine) closeAccounts() {
	if e.accounts != nil && e.stats.Hits < e.accounts.level/2 {
		e.accounts = nil
	}
}

// add takes account of a hit of a key, and says whether it is its owner's first there.
func (a *accounts) add(k *key, n *node, first bool) {
	owner := a.byOwner[n.owner]
	if owner == nil {
		a.opened++
		owner = &account{owner: n.owner, opened: a.opened, floor: math.MinInt64}
		a.byOwner[n.owner] = owner
		heap.Push(&a.most, owner)
	}
	owner.hits++
	owner.bytes += int64(n.size)
	a.changed(owner)
	if first {
		if len(owner.keys) > 2*owner.hits+16 {
			owner.tidy()
		}
		owner.keys = append(owner.keys, k)
	}
}

// remove takes account of a hit that is not kept any longer.
func (a *accounts) remove(n *node) {
	owner := a.byOwner[n.owner]
	owner.hits--
	owner.bytes -= int64(n.size)
	if owner.hits == 0 {
		heap.Remove(&a.most, owner.index)
		delete(a.byOwner, n.owner)
		return
	}
	a.changed(owner)
}

func (a *accounts) changed(owner *account) {
	owner.share = float64(owner.hits)/float64(a.limits.Hits) + float64(owner.bytes)/float64(a.limits.Bytes)
	heap.Fix(&a.most, owner.index)
}

// tidy leaves each key with hits of the owner once.
func (a *account) tidy() {
	seen := make(map[*key]bool, len(a.keys))
	a.keys = slices.DeleteFunc(a.keys, func(k *key) bool {
		gone := seen[k] || k.index < 0 || !k.has(a.owner)
		seen[k] = true
		return gone
	})
}

// Shed forgets the oldest hits, one at least, of the key that an owner has had for
// longest. It reports false if the owner keeps none. What that changes is told by
// the next Step or Advance.
func (e *Engine) Shed(owner string) bool {
	accounts := e.account()
	a := accounts.byOwner[owner]
	if a == nil {
		return false
	}
	accounts.level = e.stats.Hits
	for len(a.keys) > 0 {
		k := a.keys[0]
		a.keys = a.keys[1:]
		if k.index < 0 || !k.has(owner) {
			continue
		}
		newest, count := e.forgetSome(k, owner)
		a.floor = max(a.floor, newest.time+1)
		e.overTotal(owner, count)
		if k.index >= 0 && k.has(owner) {
			a.keys = append(a.keys, k)
		}
		return true
	}
	return false
}

// Largest returns the owner that keeps most, and false if nobody keeps anything.
func (e *Engine) Largest() (owner string, ok bool) {
	if e.stats.Hits == 0 {
		return "", false
	}
	return e.account().most[0].owner, true
}

// trimToFloor forgets the hits of a key that an owner's window does not have any more.
func (e *Engine) trimToFloor(k *key, owner string) {
	if e.accounts == nil || len(k.nodes) == 0 {
		return
	}
	a := e.accounts.byOwner[owner]
	if a == nil || a.floor <= k.nodes[0].time {
		return
	}
	if count := countOf(k.nodes[:k.countBefore(a.floor)], owner); count > 0 {
		e.forgetOldest(k, owner, count)
		e.overTotal(owner, count)
	}
}

// forgetSome forgets the oldest hit of an owner in a key, or some more of many.
func (e *Engine) forgetSome(k *key, owner string) (newest *node, count int) {
	if k.history == nil {
		e.remove(k)
		return &k.one, 1
	}
	count = len(k.nodes)
	if k.shared {
		count = countOf(k.nodes, owner)
	}
	count = 1 + count/16
	newest = e.forgetOldest(k, owner, count)
	e.schedule(k)
	return newest, count
}

func countOf(nodes []*node, owner string) (count int) {
	for _, n := range nodes {
		if n.owner == owner {
			count++
		}
	}
	return count
}

// forgetOldest forgets so many hits of an owner in a key, the oldest, and returns the
// newest of them.
func (e *Engine) forgetOldest(k *key, owner string, count int) (newest *node) {
	if k.shared {
		newest = e.pick(k, owner, count)
	} else {
		newest = k.nodes[count-1]
		e.trim(k, count)
	}
	k.refuseUpTo(newest)
	return newest
}

// pick forgets hits of an owner from between those of others. What is left is as if
// they had never been: an attacker's hits no longer stand between others'.
func (e *Engine) pick(k *key, owner string, count int) (newest *node) {
	k.nodes = slices.DeleteFunc(k.nodes, func(n *node) bool {
		if count == 0 || n.owner != owner {
			return false
		}
		count--
		newest = n
		e.forget(k, n)
		return true
	})
	k.ties = k.ties[:0]
	for _, n := range k.nodes {
		k.ties = append(k.ties, n.beginning())
	}
	e.replay(k, 0, nil)
	e.settle(k, 0, math.MinInt64)
	return newest
}

// largestIn returns the owner that has most hits in a key, of equal ones the one with
// the oldest.
func (k *key) largestIn() string {
	owner := k.nodes[0].owner
	if !k.shared {
		return owner
	}
	hits := map[string]int{}
	for _, n := range k.nodes {
		hits[n.owner]++
	}
	for _, n := range k.nodes {
		if hits[n.owner] > hits[owner] {
			owner = n.owner
		}
	}
	return owner
}

// accountHeap implements heap.Interface.
type accountHeap []*account

// Len is the number of accounts.
func (h accountHeap) Len() int { return len(h) }

// Less orders by share, and equal ones by age.
func (h accountHeap) Less(i, j int) bool {
	if h[i].share != h[j].share {
		return h[i].share > h[j].share
	}
	return h[i].opened < h[j].opened
}

// Swap exchanges two accounts, which know their place.
func (h accountHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push appends an *account.
func (h *accountHeap) Push(x any) {
	a := x.(*account) // accounts push nothing else
	a.index = len(*h)
	*h = append(*h, a)
}

// Pop removes the last account.
func (h *accountHeap) Pop() any {
	old := *h
	a := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return a
}
