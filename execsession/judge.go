package execsession

import (
	"slices"
	"strings"
	"time"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/execsession/join"
)

// apply takes over what the engine knows of a run now.
func (t *Tracker) apply(v *join.Verdict, now time.Time) {
	r := t.runs[v.Root]
	if r == nil || r.record == nil || r.record.at == nil || r.debug {
		return
	}
	before := r.verdict
	r.verdict = *v
	t.relink(r)
	if before.Attribution != v.Attribution || before.Who.User != v.Who.User {
		r.story.timeline.add(Entry{Time: now, Kind: KindAttribution, User: v.Who.User, Text: attributionText(v)})
	}
	t.count(r, now)
	if v.Unaudited && !r.reported {
		r.reported = true
		t.metrics.unaudited.Inc()
		t.report(r)
	}
	t.publish(r)
}

func attributionText(v *join.Verdict) string {
	text := string(v.Attribution)
	if v.Attribution == event.AttributionCandidates {
		text += ": " + strings.Join(v.Users, ", ")
	}
	if v.Why != "" {
		text += " (" + v.Why + ")"
	}
	return text
}

// count notes how long the first exact user took, and what became of it in the end.
func (t *Tracker) count(r *run, now time.Time) {
	if r.verdict.Attribution == event.AttributionExact && !r.attributed {
		r.attributed = true
		t.metrics.delay.Observe(max(0, now.Sub(r.root.Start).Seconds()))
	}
	if r.verdict.Final && !r.counted {
		r.counted = true
		t.metrics.attributed.WithLabelValues(string(r.verdict.Attribution)).Inc()
	}
}

// relink has a run and the request that it was started for be one session.
func (t *Tracker) relink(r *run) {
	v := &r.verdict
	mine := r.record.ask
	var q *ask
	switch {
	case v.Attribution == event.AttributionExact:
		q = t.asks[v.Request]
	case mine != nil && slices.Contains(v.Requests, mine.id):
		return // It may be, and stays until something else is known.
	default:
		if q = t.sole(v.Requests); q != nil && q.record.run != nil && q.record.run != r {
			q = nil
		}
	}
	if q == mine {
		return
	}
	if mine != nil {
		t.split(r.record)
	}
	if q == nil {
		return
	}
	if q.record.run != nil {
		t.split(q.record)
	}
	t.merge(r, q)
}

// sole is the only request of those, nil if there are several or none.
func (t *Tracker) sole(ids []string) *ask {
	if len(ids) != 1 {
		return nil
	}
	return t.asks[ids[0]]
}

// split makes two sessions of one. The name stays with whoever gave it.
func (t *Tracker) split(both *record) {
	r, q := both.run, both.ask
	if both.id == q.id {
		both.run = nil
		r.record = &record{id: runID(r.root.EntityID), run: r}
		t.add(r.record)
		t.publish(r)
	} else {
		both.ask = nil
		delete(t.aliases, q.id)
		q.record = &record{id: q.id, ask: q}
		t.add(q.record)
		t.publish(r)
	}
	q.value = q.session(q.id)
	t.touch(both)
}

// merge makes one session of a run and a request that has none. It is named as the run, so that what follows has the
// name of what came before.
func (t *Tracker) merge(r *run, q *ask) {
	old := q.record
	r.record.ask, q.record = q, r.record
	t.drop(old)
	if q.id != r.record.id {
		t.aliases[q.id] = r.record
	}
	t.touch(r.record)
}

// usersOf are the users of requests, and that nobody may have asked.
func (t *Tracker) usersOf(ids []string) []string {
	users := []string{event.CandidateUnaudited}
	for _, id := range ids {
		if q := t.asks[id]; q != nil {
			users = append(users, q.who.User)
		}
	}
	slices.Sort(users)
	return slices.Compact(users)
}

// report makes an event of what nobody asked for. Its time is that of what happened, and its stage time that of
// the conclusion: it is not late.
func (t *Tracker) report(r *run) {
	e := *r.first
	d := make(event.Digest, 0, 256)
	d.Text(event.ActionUnauditedExec)
	d.Text(r.root.EntityID)
	e.ID = d.ID()
	e.Request, e.Kind, e.Dataset, e.Delivered = e.ID, event.KindProcess, event.DatasetSession, ""
	e.Category, e.Type, e.Action = []string{"process"}, []string{"info"}, []string{event.ActionUnauditedExec}
	e.File, e.Limit = nil, nil
	e.Received = t.opts.Now()
	e.StageTime = e.Received
	e.Session = r.session()
	t.reports = append(t.reports, &e)
	t.opts.Logger.Warn("a process came into a container that nobody asked the API server for", "session", r.record.id,
		"pod", r.pod.String(), "container", r.container.Name, "pid", r.root.PID, "oneOfSeveral", r.verdict.OneOf)
}
