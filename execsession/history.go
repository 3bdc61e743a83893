package execsession

import (
	"container/list"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/execsession/join"
)

const (
	// StoreTTL is how long a Store has to keep what is not written again.
	StoreTTL = DefaultRetention
	// storeKey begins the keys of sessions.
	storeKey = "session/"
	// maxStored bounds a stored session: what is too large is stored without processes and timeline.
	maxStored = 256 << 10
	// storeEvery is how often a session that changes all the time is stored.
	storeEvery = 5 * time.Second
	// atATime is how many sessions are stored in a step.
	atATime = 256
	// stopTimeout bounds storing what is left.
	stopTimeout = 5 * time.Second
)

// sweep forgets sessions that were last heard of before the retention.
func (t *Tracker) sweep(now time.Time) {
	for at := t.order.Front(); at != nil; {
		r := recordAt(at)
		at = at.Next()
		if now.Sub(r.seen()) > t.opts.Retention && (r.run == nil || !r.run.ended.IsZero()) {
			t.forget(r)
		}
	}
}

func recordAt(at *list.Element) *record {
	r, _ := at.Value.(*record) // nothing else is on the list
	return r
}

// makeRoom forgets sessions while there are too many: ended ones first, the oldest first.
func (t *Tracker) makeRoom() {
	for t.order.Len() > t.opts.MaxSessions || t.bytes > t.opts.MaxBytes {
		victim := t.order.Front()
		if victim == nil {
			return
		}
		const look = 512
		for at, n := victim, 0; at != nil && n < look; at, n = at.Next(), n+1 {
			if s := recordAt(at).state(); s != StateOpen && s != StateRequested {
				victim = at
				break
			}
		}
		t.metrics.dropped.WithLabelValues("session").Inc()
		t.forget(recordAt(victim))
	}
}

// forget drops a session with all that leads to it.
func (t *Tracker) forget(r *record) {
	t.drop(r)
	if q := r.ask; q != nil {
		delete(t.asks, q.id)
		delete(t.aliases, q.id)
		for _, c := range q.new {
			key := debugKey(&q.pod, c.Name)
			if t.debugs[key] = slices.DeleteFunc(t.debugs[key], func(other *ask) bool { return other == q }); len(t.debugs[key]) == 0 {
				delete(t.debugs, key)
			}
		}
	}
	if run := r.run; run != nil {
		t.halt(run)
		delete(t.runs, run.root.EntityID)
		t.unindex(run.root.EntityID)
	}
	if r.past != nil && r.past.Root != nil {
		delete(t.runs, r.past.Root.EntityID)
		t.unindex(r.past.Root.EntityID)
	}
}

func (t *Tracker) unindex(id string) {
	t.index.Lock()
	defer t.index.Unlock()
	delete(t.index.leaders, id)
}

// tell weighs what has changed, and tells those who follow.
func (t *Tracker) tell() {
	for r := range t.changed {
		if !r.changed {
			continue
		}
		r.changed = false
		size := r.size()
		t.bytes += size - r.bytes
		r.bytes = size
		if len(t.followers) > 0 {
			d := t.document(r, false)
			for f := range t.followers {
				t.send(f, &d)
			}
		}
	}
	if t.opts.Store == nil {
		clear(t.changed)
		clear(t.gone)
	}
}

// store writes what has changed, each session once in a while, or all of them. What cannot be written is tried again.
func (t *Tracker) store(ctx context.Context, all bool) {
	if t.opts.Store == nil {
		return
	}
	for ctx.Err() == nil {
		values, gone := t.toStore(all)
		if len(values)+len(gone) == 0 {
			return
		}
		if err := t.write(ctx, values, gone); err != nil {
			t.metrics.stored.WithLabelValues("failed").Inc()
			t.storeFailed.Do(func() { t.opts.Logger.Error("sessions cannot be stored at present, it is tried again", "error", err) })
			t.retry(values, gone)
			return
		}
	}
}

// toStore takes out some of what is to be written.
func (t *Tracker) toStore(all bool) (values map[string][]byte, gone []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	values = map[string][]byte{}
	now := t.opts.Now()
	for r := range t.changed {
		if len(values) == atATime {
			break
		}
		if since := now.Sub(r.stored); !all && since >= 0 && since < storeEvery {
			continue
		}
		r.stored = now
		delete(t.changed, r)
		d := t.document(r, true)
		text, err := json.Marshal(d)
		if err == nil && len(text) > maxStored {
			d.Processes, d.Timeline = nil, nil
			text, err = json.Marshal(d)
		}
		if err == nil {
			values[r.id] = text
		}
	}
	gone = slices.Sorted(maps.Keys(t.gone))
	clear(t.gone)
	return values, gone
}

func (t *Tracker) write(ctx context.Context, values map[string][]byte, gone []string) error {
	for _, id := range gone {
		if err := t.opts.Store.Delete(ctx, storeKey+id); err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(values)) {
		if err := t.opts.Store.Put(ctx, storeKey+id, values[id]); err != nil {
			return err
		}
		t.metrics.stored.WithLabelValues("stored").Inc()
	}
	return nil
}

// retry puts back what could not be written.
func (t *Tracker) retry(values map[string][]byte, gone []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range values {
		if r := t.records[id]; r != nil {
			t.changed[r] = struct{}{}
		}
	}
	for _, id := range gone {
		if t.records[id] == nil {
			t.gone[id] = struct{}{}
		}
	}
}

// Load takes over the history of an earlier process. Call it once, before the first event and review. What was open
// then goes on; its attribution stays as it was.
func (t *Tracker) Load(ctx context.Context) error {
	if t.opts.Store == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var bad []error
	err := t.opts.Store.Range(ctx, func(key string, value []byte, _ time.Time) error {
		if err := t.load(key, value); err != nil {
			bad = append(bad, fmt.Errorf("%q: %w", key, err))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the sessions' history: %w", err)
	}
	if len(bad) > 0 {
		t.opts.Logger.Error("some sessions of the history cannot be read", "sessions", len(bad), "first", bad[0])
	}
	clear(t.changed)
	t.opts.Logger.Info("sessions' history was read", "sessions", t.order.Len())
	return nil
}

func (t *Tracker) load(key string, value []byte) error {
	if len(key) <= len(storeKey) || key[:len(storeKey)] != storeKey {
		return nil // not ours
	}
	d := &Document{}
	if err := json.Unmarshal(value, d); err != nil {
		return err
	}
	if d.ID != key[len(storeKey):] || t.records[d.ID] != nil {
		return errors.New("it is not that session's")
	}
	d.Final = true
	r := &record{id: d.ID, past: d}
	t.add(r)
	for _, alias := range d.Aliases {
		t.aliases[alias] = r
	}
	r.bytes, r.changed = r.size(), false
	t.bytes += r.bytes
	if d.Root == nil || d.Door == DoorAttach || d.Root.EntityID == "" {
		return nil
	}
	// Its processes may still live.
	run := &run{
		record: r, pod: event.Pod{Namespace: d.Pod.Namespace, Name: d.Pod.Name, UID: d.Pod.UID, Node: d.Pod.Node}, root: *d.Root, places: map[string]int{},
		ended: d.Ended, value: sessionOf(d), verdict: join.Verdict{Root: d.Root.EntityID, Attribution: d.Attribution}, counted: true, attributed: true, reported: true,
	}
	for i := range d.Processes {
		run.places[d.Processes[i].EntityID] = i
	}
	t.runs[d.Root.EntityID] = run
	l := &live{run: run}
	l.value.Store(run.value)
	t.index.Lock()
	t.index.leaders[d.Root.EntityID] = l
	t.index.Unlock()
	return nil
}

// sessionOf is what events of a session of the history carry.
func sessionOf(d *Document) *event.Session {
	s := &event.Session{ID: d.ID, Attribution: d.Attribution, Candidates: d.Candidates, Interactive: d.Interactive, Command: d.Command, Door: d.Door}
	if d.User != nil && d.Attribution == event.AttributionExact {
		s.User, s.UserUID, s.Groups, s.Impersonator = d.User.Name, d.User.UID, d.User.Groups, d.User.Impersonator
	}
	return s
}

// past is the session of an earlier process that a request made.
func (t *Tracker) past(id string) *record {
	r := t.records[id]
	if r == nil {
		r = t.aliases[id]
	}
	if r == nil || r.past == nil {
		return nil
	}
	return r
}

// finishPast takes what a request of an earlier process' session tells.
func (t *Tracker) finishPast(r *record, e *event.Event) {
	d := r.past
	e.Session = sessionOf(d)
	if e.Audit.Stage != "ResponseComplete" || d.Request != nil && !d.Request.Completed.IsZero() {
		return
	}
	if d.Request != nil {
		d.Request.Completed, d.Request.Code, d.Request.Audited = e.StageTime, e.Audit.Code, true
	}
	if d.Root == nil || d.Door == DoorAttach {
		d.State, d.Ended = StateEnded, e.StageTime
	}
	d.LastSeen = e.StageTime
	t.touch(r)
}

// takePast notes what a process of an earlier process' session does.
func (t *Tracker) takePast(r *run, e *event.Event) {
	d := r.record.past
	if e.Time.After(d.LastSeen) {
		d.LastSeen = e.Time
	}
	lines := timeline{d.Timeline, d.TimelineDropped}
	switch {
	case e.Limit != nil:
	case e.File != nil:
		lines.add(Entry{Time: e.Time, Kind: KindOpen, PID: e.Process.PID, Text: e.File.Path, ID: e.Process.EntityID})
	case e.Process.Exit == nil:
		lines.add(Entry{Time: e.Time, Kind: KindExec, PID: e.Process.PID, Text: line(t.opts.Redactor.Args(brief(e.Process.Args))), ID: e.Process.EntityID})
	case e.Process.EntityID == r.root.EntityID && d.State == StateOpen:
		d.State, d.Ended, d.Exit = StateEnded, e.Time, &Exit{Code: e.Process.Exit.Code, Signal: e.Process.Exit.Signal}
		lines.add(Entry{Time: e.Time, Kind: KindEnd, PID: e.Process.PID, Text: endText(d.Exit)})
	}
	d.Timeline, d.TimelineDropped = lines.entries, lines.dropped
}
