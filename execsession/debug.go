package execsession

import (
	"slices"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/execsession/join"
)

// A debug container is attributed by its name: a pod has it once, and only one request can have added it. What its
// first process starts is the session's, like an exec's.

// maxDebugs bounds the requests for debug containers that are remembered.
const maxDebugs = 4096

// debugKey is by the pod's name where its UID is not certain: the container's is made up at random, or its owner's choice.
func debugKey(p *event.Pod, container string) string {
	return p.Namespace + "/" + p.Name + "/" + container
}

// noteDebug remembers the containers that a request adds.
func (t *Tracker) noteDebug(q *ask) {
	for _, c := range q.new {
		key := debugKey(&q.pod, c.Name)
		if slices.Contains(t.debugs[key], q) {
			continue
		}
		if len(t.debugs) >= maxDebugs {
			clear(t.debugs)
			t.metrics.dropped.WithLabelValues("debug").Inc()
		}
		t.debugs[key] = append(t.debugs[key], q)
		if q.container == "" {
			q.container, q.command = short(c.Name), cut(c.Command)
		}
	}
}

// main is a container's first process.
type main struct {
	Root
	container string
}

// beginContainer takes a container's first process: attach shows it, and a debug container's is a session. A second first one is none:
// the agent no longer knew the first, so this one came later, as sessions do.
func (t *Tracker) beginContainer(e *event.Event) {
	if e.Container == nil || e.Container.Name == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	leader := e.Process.EntryLeader
	if t.runs[leader.EntityID] != nil || t.isIndexed(leader.EntityID) {
		return
	}
	key := containerKey(e.Pod.UID, e.Container.Name)
	if first := t.mains[key]; first != nil && first.container == e.Container.ID && first.EntityID != leader.EntityID && leader.Start.After(first.Start) {
		t.beginRun(e)
		return
	}
	if leader.Began != event.BeganContainer {
		return
	}
	r := t.newRun(e)
	if len(t.mains) >= maxMains {
		clear(t.mains)
	}
	t.mains[key] = &main{Root: r.root, container: e.Container.ID}
	asks := t.debugs[debugKey(&e.Pod, e.Container.Name)]
	if len(asks) == 0 {
		return
	}
	r.debug = true
	r.record = &record{id: runID(leader.EntityID), run: r}
	if q := asks[0]; len(asks) == 1 && q.record.run == nil {
		r.record = q.record
		q.record.run = r
	} else {
		t.add(r.record)
	}
	t.enter(r, e)
	t.judgeDebugRun(r, asks)
}

// judgeDebug judges the sessions in the containers that a request adds, of which more is known now. Its own may have ended: a short
// command is over before the audit stream tells of it.
func (t *Tracker) judgeDebug(q *ask) {
	if r := q.record.run; r != nil && r.debug {
		t.judgeDebugRun(r, t.debugs[debugKey(&q.pod, r.container.Name)])
	}
	for _, c := range q.new {
		asks := t.debugs[debugKey(&q.pod, c.Name)]
		for r := range t.running[q.pod.UID] {
			if r.debug && r.container.Name == c.Name && r != q.record.run {
				t.judgeDebugRun(r, asks)
			}
		}
	}
}

func (t *Tracker) judgeDebugRun(r *run, asks []*ask) {
	v := join.Verdict{Root: r.root.EntityID, Attribution: event.AttributionCandidates, Final: true, Why: "the audit stream has not told yet that the request was let through"}
	var added []*ask
	for _, q := range asks {
		if q.denied || q.failed {
			continue
		}
		v.Requests = append(v.Requests, q.id)
		v.Users = append(v.Users, q.who.User)
		if q.audited {
			added = append(added, q)
		}
	}
	slices.Sort(v.Users)
	v.Users = slices.Compact(v.Users)
	switch {
	case len(added) > 0 && len(v.Users) == 1:
		v.Attribution, v.Who, v.Users, v.Why = event.AttributionExact, added[0].who, nil, ""
		v.Request, v.Certain = added[0].id, len(v.Requests) == 1
	case len(v.Users) > 1:
		v.Why = "several users asked for a container of that name"
	}
	v.Final = len(added) > 0
	r.verdict = v
	t.relink(r)
	t.count(r, t.opts.Now())
	t.publish(r)
}
