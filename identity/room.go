package identity

import (
	"container/heap"
	"slices"
	"time"
)

// room is where events wait: found by the pod that they lack, counted by who reported them. A reporter
// has a share of its own, and where the whole is full, the one that has most of it gives way. So whoever floods it
// loses what is his own. It has no lock of its own.
type room struct {
	maxEvents, maxPerPod int

	pods      map[string]*waiting
	reporters map[string]*reporter
	// busiest has the reporters, the one with most events first.
	busiest crowd
	// due are the events by how long they wait, each queue in order of its deadlines.
	due [patiences]queue
	// count is how many events there are.
	count int
}

// How long an event waits depends on what it is.
const (
	forTelemetry = iota
	forCaller
	patiences
)

// waiting are the events of one pod, by the UID of their cgroups, or of the credential that they were asked with.
type waiting struct {
	events []*held // oldest first
	// of is how many of them each reporter has.
	of   map[*reporter]int
	news bool // it is among the Hold's
}

// reporter is who reported events that wait: a node, or an API server.
type reporter struct {
	queue queue
	// place is that in the crowd.
	place int
}

type held struct {
	entry
	deadline time.Time
	pod      *waiting
	reporter *reporter
	due      *queue
	left     bool
}

func newRoom(maxEvents, maxPerPod int) *room {
	return &room{
		maxEvents: maxEvents, maxPerPod: maxPerPod,
		pods: map[string]*waiting{}, reporters: map[string]*reporter{},
	}
}

// add takes an event in, and returns one for which there is no room, if so: the event itself where its
// reporter or its pod has too many already, else the oldest of whoever has most.
func (r *room) add(e entry, deadline time.Time) (outgoing []entry) {
	by := r.reporters[e.by]
	pod := r.pods[e.uid]
	if by != nil && (by.queue.count >= e.share || pod != nil && pod.of[by] >= r.maxPerPod) {
		return []entry{e}
	}
	if by == nil {
		by = &reporter{}
		r.reporters[e.by] = by
		heap.Push(&r.busiest, by)
	}
	if pod == nil {
		pod = &waiting{of: map[*reporter]int{}}
		r.pods[e.uid] = pod
	}
	in := &held{entry: e, deadline: deadline, pod: pod, reporter: by, due: &r.due[e.patience]}
	pod.events = append(pod.events, in)
	pod.of[by]++
	by.queue.add(in)
	in.due.add(in)
	r.count++
	heap.Fix(&r.busiest, by.place)
	if r.count <= r.maxEvents {
		return nil
	}
	oldest := r.busiest[0].queue.first()
	r.remove(oldest)
	return []entry{oldest.entry}
}

// remove takes an event out.
func (r *room) remove(h *held) {
	i := slices.Index(h.pod.events, h)
	h.pod.events = slices.Delete(h.pod.events, i, i+1)
	r.left(h)
}

// left notes that an event is out of its pod's.
func (r *room) left(h *held) {
	h.left = true
	r.count--
	h.due.count--
	h.reporter.queue.count--
	if h.reporter.queue.count > 0 {
		heap.Fix(&r.busiest, h.reporter.place)
	} else {
		heap.Remove(&r.busiest, h.reporter.place)
		delete(r.reporters, h.by)
	}
	if h.pod.of[h.reporter]--; h.pod.of[h.reporter] == 0 {
		delete(h.pod.of, h.reporter)
	}
	if len(h.pod.events) == 0 {
		delete(r.pods, h.uid)
	}
}

// takeIf takes out the events of one pod that no longer lack anything.
func (r *room) takeIf(uid string, complete func(entry) bool) (out []entry) {
	pod := r.pods[uid]
	if pod == nil {
		return nil
	}
	pod.news = false
	var leaving []*held
	pod.events = slices.DeleteFunc(pod.events, func(h *held) bool {
		done := complete(h.entry)
		if done {
			leaving = append(leaving, h)
		}
		return done
	})
	for _, h := range leaving {
		r.left(h)
		out = append(out, h.entry)
	}
	return out
}

// takeOverdue takes out the events whose deadline has passed, all for a zero time.
func (r *room) takeOverdue(now time.Time) (out []entry) {
	for i := range r.due {
		for h := r.due[i].first(); h != nil && (now.IsZero() || !now.Before(h.deadline)); h = r.due[i].first() {
			r.remove(h)
			out = append(out, h.entry)
		}
	}
	return out
}

// next is when the next event is overdue; never if there is none.
func (r *room) next() (deadline time.Time, some bool) {
	for i := range r.due {
		if h := r.due[i].first(); h != nil && (!some || h.deadline.Before(deadline)) {
			deadline, some = h.deadline, true
		}
	}
	return deadline, some
}

// queue has events in the order in which they came, and some that have left: at most about as many.
type queue struct {
	events []*held
	// count is how many have not left.
	count int
}

func (q *queue) add(h *held) {
	if len(q.events) > 2*q.count {
		q.events = slices.DeleteFunc(q.events, func(other *held) bool { return other.left })
	}
	q.events = append(q.events, h)
	q.count++
}

// first is the oldest, nil if there is none.
func (q *queue) first() *held {
	for len(q.events) > 0 && q.events[0].left {
		q.events[0] = nil
		q.events = q.events[1:]
	}
	if len(q.events) == 0 {
		return nil
	}
	return q.events[0]
}

// crowd is a heap of reporters.
type crowd []*reporter

func (c crowd) Len() int           { return len(c) }
func (c crowd) Less(i, j int) bool { return c[i].queue.count > c[j].queue.count }

func (c crowd) Swap(i, j int) {
	c[i], c[j] = c[j], c[i]
	c[i].place, c[j].place = i, j
}

// Push implements heap.Interface.
func (c *crowd) Push(x any) {
	r := x.(*reporter)
	r.place = len(*c)
	*c = append(*c, r)
}

// Pop implements heap.Interface.
func (c *crowd) Pop() any {
	last := len(*c) - 1
	r := (*c)[last]
	(*c)[last] = nil
	*c = (*c)[:last]
	return r
}
