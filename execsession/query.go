package execsession

import (
	"context"
	"slices"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// followerRoom is how many changes a follower may be behind before it is let go.
const followerRoom = 1024

// follower is somebody who wants to know of changes.
type follower struct {
	filter  Filter
	changes chan Document
	gone    bool
}

// find is the session of that name, or of a request of that name.
func (t *Tracker) find(id string) *record {
	if r := t.records[id]; r != nil {
		return r
	}
	return t.aliases[id]
}

// Get returns a session with all that is known of it, by its ID or that of its request.
func (t *Tracker) Get(id string) (Document, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.find(id)
	if r == nil {
		return Document{}, false
	}
	return t.document(r, true), true
}

// List returns the sessions that a filter chooses, those that began last first, without their processes and timelines.
func (t *Tracker) List(f Filter) []Document {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Document
	for _, r := range t.records {
		if d := t.document(r, false); f.matches(&d) {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b Document) int {
		if order := beginOf(&b).Compare(beginOf(&a)); order != 0 {
			return order
		}
		return compareText(a.ID, b.ID)
	})
	if f.Limit > 0 && len(out) > f.Limit {
		out = out[:f.Limit]
	}
	return out
}

func beginOf(d *Document) time.Time {
	if d.Requested.IsZero() {
		return d.Started
	}
	return d.Requested
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	default:
		return 0
	}
}

// Follow sends each session that a filter chooses whenever something has changed, without its processes and timeline. The
// channel is closed when the context ends, or when the reader is too far behind.
func (t *Tracker) Follow(ctx context.Context, filter Filter) <-chan Document {
	f := &follower{filter: filter, changes: make(chan Document, followerRoom)}
	t.mu.Lock()
	t.followers[f] = struct{}{}
	t.mu.Unlock()
	context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.leave(f)
	})
	return f.changes
}

func (t *Tracker) leave(f *follower) {
	if !f.gone {
		f.gone = true
		delete(t.followers, f)
		close(f.changes)
	}
}

func (t *Tracker) send(f *follower, d *Document) {
	if !f.filter.matches(d) {
		return
	}
	select {
	case f.changes <- *d:
	default:
		t.metrics.dropped.WithLabelValues("follower").Inc()
		t.leave(f)
	}
}

// Current is what is known of a session now. What acts on a user asks here: events carry what was known when they came.
// It is nil for one that is not known.
func (t *Tracker) Current(id string) *event.Session {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.find(id)
	switch {
	case r == nil:
		return nil
	case r.past != nil:
		return sessionOf(r.past)
	case r.run != nil:
		return r.run.value
	default:
		return r.ask.value
	}
}

// Killed notes that Portcullis ended a session, and which rule or person had it do so.
func (t *Tracker) Killed(id, by string, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.find(id)
	if r == nil {
		return
	}
	entry := Entry{Time: at, Kind: KindKill, Text: "ended by " + by}
	if r.past != nil {
		r.past.Timeline = append(r.past.Timeline, entry)
	} else {
		r.story().timeline.add(entry)
	}
	if r.run != nil {
		r.run.killedBy = short(by)
	}
	t.touch(r)
}

// Detected notes a detection with the sessions of its events.
func (t *Tracker) Detected(d *event.Detection) {
	t.mu.Lock()
	defer t.mu.Unlock()
	told := map[*record]bool{}
	for _, e := range d.Events {
		if e == nil || e.Session == nil {
			continue
		}
		r := t.find(e.Session.ID)
		if r == nil || told[r] {
			continue
		}
		told[r] = true
		t.noteDetection(r, d)
	}
}

func (t *Tracker) noteDetection(r *record, d *event.Detection) {
	var list *[]Detection
	if r.past != nil {
		list = &r.past.Detections
	} else {
		list = &r.story().detected
	}
	if len(*list) >= maxFound || slices.ContainsFunc(*list, func(known Detection) bool { return known.ID == d.ID }) {
		return
	}
	*list = append(*list, Detection{ID: d.ID, Rule: d.Rule.Name, Time: d.Time})
	entry := Entry{Time: d.Time, Kind: KindDetection, Rule: d.Rule.Name, Text: d.Rule.Title, ID: d.ID}
	if r.past != nil {
		r.past.Timeline = append(r.past.Timeline, entry)
	} else {
		r.story().timeline.add(entry)
	}
	t.touch(r)
}
