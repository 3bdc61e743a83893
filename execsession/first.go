package execsession

import (
	"slices"

	"github.com/portcullis-dev/portcullis/event"
)

// First is the first process of a session.
type First struct {
	Pod         event.Pod
	ContainerID string
	Leader      event.EntryLeader
}

// Firsts are the first processes to end where a session is to end: its own, once that is known. Where it is one of several equal
// ones, they are those that it can be, if nobody else can be at one of them: every other request that may have started it
// is to end as well, as ending says of sessions, or its connection is closed. Otherwise there are none.
func (t *Tracker) Firsts(id string, ending func(session string) bool) []First {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.find(id)
	switch {
	case r == nil:
		return nil
	case r.past != nil && r.past.Root != nil && r.past.Door != DoorAttach:
		if run := t.runs[r.past.Root.EntityID]; run != nil {
			return []First{run.firstProcess()}
		}
		return nil
	case r.run != nil:
		return []First{r.run.firstProcess()}
	case r.ask != nil:
		return t.equals(r.ask, func(session string) bool { return session == r.ask.id || ending(session) })
	}
	return nil
}

// equals are the processes that a request may have started, where there is nobody at them but those who are to end.
func (t *Tracker) equals(q *ask, ending func(session string) bool) (out []First) {
	for run := range t.running[q.pod.UID] {
		v := &run.verdict
		switch {
		case !slices.Contains(v.Requests, q.id):
			continue
		case v.Bounded(), slices.Contains(v.Users, event.CandidateProbe), slices.ContainsFunc(v.Requests, func(id string) bool { return t.isAnothers(id, ending) }):
			return nil
		}
		out = append(out, run.firstProcess())
	}
	return out
}

// isAnothers reports whether somebody who is to go on may be at a request's process.
func (t *Tracker) isAnothers(id string, ending func(session string) bool) bool {
	q := t.asks[id]
	return q == nil || q.completed.IsZero() && !ending(id) && !ending(q.record.id)
}

func (r *run) firstProcess() First {
	return First{
		Pod: r.pod, ContainerID: r.container.ID,
		Leader: event.EntryLeader{PID: r.root.PID, EntityID: r.root.EntityID, Start: r.root.Start, Began: r.root.Began, MetaType: "container"},
	}
}
