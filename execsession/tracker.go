package execsession

import (
	"container/list"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/execsession/join"
)

const (
	// tick is how often what was heard is judged.
	tick = 100 * time.Millisecond
	// sweepEvery is how often sessions beyond the retention are forgotten.
	sweepEvery = time.Minute
	// maxMains bounds the containers whose first process is remembered, for attach, and maxProbes the latest probes.
	maxMains  = 20_000
	maxProbes = 20_000
	// lateSight is how long after it began a process is no longer taken to be the program it was started as. The runtime's
	// own start takes some hundredths of a second, on a busy node seconds.
	lateSight = 5 * time.Second
)

// live is what Enrich looks up of an entry leader: its session, nil for a probe.
type live struct {
	value atomic.Pointer[event.Session]
	run   *run
}

// Tracker joins what the sources tell into sessions, and keeps their history. Its methods may be called from any
// goroutine.
type Tracker struct {
	opts    Options
	metrics *metrics

	// index is what Enrich looks at for every event: entry leaders, and pods that sessions run in. It has a lock of
	// its own, which is never held for long.
	index struct {
		sync.RWMutex
		leaders map[string]*live
		pods    map[string]int
	}

	mu      sync.Mutex
	engine  *join.Engine
	records map[string]*record
	aliases map[string]*record
	asks    map[string]*ask
	runs    map[string]*run
	// running are the sessions whose first process lives, by the pod's UID.
	running map[string]map[*run]struct{}
	// order has the records by their last change, the oldest first; bytes is about what they take.
	order *list.List
	bytes int64
	// changed are records of which nobody has been told yet; gone are keys to be removed from the store.
	changed map[*record]struct{}
	gone    map[string]struct{}
	// mains are the first processes of containers, debugs the requests for debug containers.
	mains   map[string]*main
	debugs  map[string][]*ask
	kubelet kubelet
	// reports are events for Report.
	reports   []*event.Event
	followers map[*follower]struct{}
	swept     time.Time
	dropped   uint64

	storeFailed rate.Sometimes
}

// New makes a Tracker. Call Load, if there is a Store, and then Run.
func New(opts Options) (*Tracker, error) {
	if err := opts.complete(); err != nil {
		return nil, fmt.Errorf("execsession options: %w", err)
	}
	if opts.Join.Begin.IsZero() {
		// A request of just before the start is not known, its process may come just after.
		opts.Join.Begin = opts.Now().Add(join.DefaultStartLag)
	}
	t := &Tracker{
		opts: opts, engine: join.New(opts.Join),
		records: map[string]*record{}, aliases: map[string]*record{}, asks: map[string]*ask{}, runs: map[string]*run{},
		running: map[string]map[*run]struct{}{}, order: list.New(), changed: map[*record]struct{}{}, gone: map[string]struct{}{},
		mains: map[string]*main{}, debugs: map[string][]*ask{}, kubelet: kubelet{starts: map[string]*starts{}}, followers: map[*follower]struct{}{},
		storeFailed: rate.Sometimes{Interval: time.Minute},
	}
	t.index.leaders, t.index.pods = map[string]*live{}, map[string]int{}
	m, err := newMetrics(opts.Registerer, t)
	if err != nil {
		return nil, fmt.Errorf("execsession metrics: %w", err)
	}
	t.metrics = m
	return t, nil
}

// Run judges and stores until the context ends; then it stores what is left, and returns nil.
func (t *Tracker) Run(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			t.step()
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			t.store(stop, true)
			return nil
		case <-ticker.C:
			t.step()
			t.store(ctx, false)
		}
	}
}

// Advance says up to when the audit stream has told everything, and whether it is known to be blind.
func (t *Tracker) Advance(auditUpTo time.Time, blind bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.engine.Advance(t.opts.Now(), auditUpTo, blind)
}

// step judges what was heard since, and tells whoever wants to know.
func (t *Tracker) step() {
	t.mu.Lock()
	now := t.opts.Now()
	t.engine.Advance(now, time.Time{}, t.engine.Blind())
	for _, v := range t.engine.Resolve() {
		t.apply(&v, now)
	}
	t.metrics.dropped.WithLabelValues("join").Add(float64(t.engine.Dropped() - t.dropped))
	t.dropped = t.engine.Dropped()
	if now.Sub(t.swept) >= sweepEvery {
		t.swept = now
		t.sweep(now)
	}
	t.makeRoom()
	t.tell()
	reports := t.reports
	t.reports = nil
	t.mu.Unlock()
	for _, e := range reports {
		t.opts.Report(e)
	}
}

// Admitted takes what admission has seen, and answered.
func (t *Tracker) Admitted(a Admission) {
	if a.Door == DoorProxy || a.Door == "" || a.Session == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.askFor(a.Session, a.Door, a.Pod, join.Who{User: a.User, UID: a.UserUID, Groups: own(a.Groups)})
	again := q.reviewed
	q.reviewed = true
	if !again {
		q.extra = extraOf(a.Extra)
		q.container, q.command, q.tty, q.stdin = t.containerOf(&a.Pod, a.Container), cut(a.Command), a.TTY, a.Stdin
		if a.Command == nil {
			q.command = nil
		}
		q.new = a.NewContainers
	}
	if a.Time.After(q.since) {
		q.since = a.Time
	}
	q.denied, q.why = !a.Allowed && (q.denied || !again), short(a.Why)
	q.story.timeline.add(Entry{Time: a.Time, Kind: KindReview, User: q.who.User, Text: line(t.opts.Redactor.Args(brief(q.command)))})
	q.story.timeline.add(Entry{Time: a.Time, Kind: KindVerdict, Text: verdictText(a.Allowed, a.Why)})
	t.joinAsk(q, join.Moment{At: a.Time, Tolerance: time.Millisecond})
	t.touch(q.record)
}

func verdictText(allowed bool, why string) string {
	if allowed {
		return "allowed"
	}
	return "denied: " + why
}

// askFor finds or makes the request of that ID.
func (t *Tracker) askFor(id, door string, pod event.Pod, who join.Who) *ask {
	if q := t.asks[id]; q != nil {
		return q
	}
	q := &ask{id: id, door: door, pod: pod, who: who}
	q.record = &record{id: id, ask: q}
	t.asks[id] = q
	t.add(q.record)
	t.metrics.requests.WithLabelValues(door).Inc()
	return q
}

// containerOf is the container that a request means.
func (t *Tracker) containerOf(p *event.Pod, name string) string {
	if name == "" && p.UID != "" {
		name, _ = t.opts.Pods.DefaultContainer(p.UID)
	}
	return short(name)
}

// joinAsk tells the engine of a request that can start a process.
func (t *Tracker) joinAsk(q *ask, since join.Moment) {
	q.value = q.session(q.record.id)
	if q.shown == nil && q.command != nil {
		q.shown = t.opts.Redactor.Args(brief(q.command))
	}
	switch {
	case q.door == DoorDebug:
		t.noteDebug(q)
	case q.door == DoorExec && !q.denied && !q.failed:
		t.engine.Request(join.Request{
			ID: q.id, Who: q.who, Place: placeOf(&q.pod, q.container), Command: q.command, TTY: q.tty, Since: since,
		})
	case q.door == DoorExec:
		t.engine.Refused(q.id)
	}
}

func placeOf(p *event.Pod, container string) join.Place {
	place := join.Place{Namespace: p.Namespace, Pod: p.Name, Container: container}
	if p.Confidence == event.Ambiguous {
		place.UIDs = p.Candidates
		if p.UID != "" {
			place.UIDs = append(slices.Clone(p.Candidates), p.UID)
		}
		return place
	}
	place.UID = p.UID
	return place
}

func containerKey(uid, container string) string { return uid + "/" + container }

// own are texts that may be kept, and not too many.
func own(texts []string) []string {
	out := slices.Clone(texts[:min(len(texts), maxFound)])
	for i, text := range out {
		out[i] = short(text)
	}
	return out
}

const (
	// maxExtra bounds what is kept of a user's extra, maxExtraBytes all of it.
	maxExtra      = 32
	maxExtraBytes = 8 << 10
)

// extraOf is what is kept of a user's extra, in texts of its own; the keys that sort first, where it is too much.
func extraOf(extra map[string][]string) map[string][]string {
	if len(extra) == 0 {
		return nil
	}
	out, room := make(map[string][]string, min(len(extra), maxExtra)), maxExtraBytes
	for _, key := range slices.Sorted(maps.Keys(extra)) {
		values := own(extra[key])
		room -= len(key)
		for _, v := range values {
			room -= len(v)
		}
		if len(out) == maxExtra || room < 0 {
			break
		}
		out[short(key)] = values
	}
	return out
}

// add takes in a new record, touch notes that one has changed.
func (t *Tracker) add(r *record) {
	t.records[r.id] = r
	delete(t.gone, r.id)
	r.at = t.order.PushBack(r)
	t.touch(r)
}

func (t *Tracker) touch(r *record) {
	if r.at == nil {
		return // It is none any more.
	}
	t.order.MoveToBack(r.at)
	r.changed = true
	t.changed[r] = struct{}{}
}

// drop takes a record out.
func (t *Tracker) drop(r *record) {
	t.order.Remove(r.at)
	r.at = nil
	t.bytes -= r.bytes
	delete(t.records, r.id)
	delete(t.changed, r)
	t.gone[r.id] = struct{}{}
}

// publish has events of a run carry what is known now.
func (t *Tracker) publish(r *run) {
	r.value = r.session()
	t.index.RLock()
	l := t.index.leaders[r.root.EntityID]
	t.index.RUnlock()
	if l != nil {
		l.value.Store(r.value)
	}
	if a := r.record.ask; a != nil {
		a.value = a.session(r.record.id)
	}
	t.touch(r.record)
}
