package correlator

import (
	"time"

	"github.com/portcullis-dev/portcullis/correlator/sequence"
	"github.com/portcullis-dev/portcullis/event"
)

// matchOverhead is about what it costs to remember what was told of a match.
const matchOverhead = 384

// maxForgotten is how much room is kept for hits that are forgotten together.
const maxForgotten = 1 << 16

// match is one match of a sequence, from when it is found until the hit that
// completes it is forgotten.
type match struct {
	rule  *joined
	id    string
	chain []link
	// state is what it has come to, told or not, and by what, if it is superseded.
	state event.State
	by    string
	// mute: nobody is told of it, since all there is to tell was told before. held:
	// nobody is told of it while events are replayed.
	mute, held bool
	// first is what was told at first, nil before that.
	first *verdict
}

// verdict is the part of a detection that does not change with it.
type verdict struct {
	action event.Action
	why    string
	at     time.Time
	// pod and user are whom it was about.
	pod, user string
}

// link is one hit of a chain.
type link struct {
	kept *kept
	tie  string
	time time.Time
}

// changes turns what an engine says into detections.
func (j *join) changes(r *joined, news []sequence.Match, now time.Time) []*event.Detection {
	var detections []*event.Detection
	for i := range news {
		if d := j.change(r, &news[i], now); d != nil {
			detections = append(detections, d)
		}
	}
	return append(detections, j.endings(now)...)
}

// change takes one change of a match, and returns what there is to tell of it, or nil.
func (j *join) change(r *joined, n *sequence.Match, now time.Time) *event.Detection {
	m := j.matchOf(r, n)
	switch n.Change {
	case sequence.Superseded:
		j.metrics.changes.WithLabelValues(r.rule.Name, n.Change.String()).Inc()
		by := ""
		if n.By != nil {
			by = detectionID(r.rule.Name, n.By.Key, requestOfTie(n.By.Request))
		}
		return j.tell(m, event.Superseded, by, now)
	case sequence.Final:
		return j.end(m, now)
	case sequence.Found:
	case sequence.Revised, sequence.Reinstated:
		j.metrics.changes.WithLabelValues(r.rule.Name, n.Change.String()).Inc()
	}
	m.chain = chainOf(n)
	return j.tell(m, event.Provisional, "", now)
}

// chainOf is what a match is made of.
func chainOf(n *sequence.Match) []link {
	chain := make([]link, len(n.Hits))
	for i, h := range n.Hits {
		chain[i] = link{kept: h.Payload.(*kept), tie: h.Request, time: h.Time} // step puts nothing else in
	}
	return chain
}

// matchOf returns the match that a change is about, which is new if it was found just now.
func (j *join) matchOf(r *joined, n *sequence.Match) *match {
	completing := n.Hits[len(n.Hits)-1].Payload.(*kept)
	m := r.matches[completing]
	if m == nil {
		m = &match{rule: r, id: detectionID(r.rule.Name, n.Key, requestOfTie(n.Request)), chain: chainOf(n)}
		r.matches[completing] = m
		j.matches++
		told, known := j.known.of(m.id)
		switch {
		case known:
			m.mute = told == event.Final
		case j.resuming && j.options.Known(m.id):
			// It was told, and how it came to what it is would be told anew.
			m.held = true
			j.doubtful = append(j.doubtful, m)
		case j.options.Replay == nil:
		case j.resuming && m.begins().Before(j.options.Replay.Horizon()):
			m.held = true
			j.doubtful = append(j.doubtful, m)
		default:
			m.mute = !j.resuming && j.isPartial(m)
		}
	}
	return m
}

// endings finishes the matches whose completing hit is forgotten: nothing can
// change them any more.
func (j *join) endings(now time.Time) []*event.Detection {
	var detections []*event.Detection
	for _, f := range j.forgotten {
		m := f.rule.matches[f.kept]
		if m == nil {
			continue
		}
		delete(f.rule.matches, f.kept)
		j.matches--
		if d := j.end(m, now); d != nil {
			detections = append(detections, d)
		}
	}
	if cap(j.forgotten) > maxForgotten { // After a storm.
		j.forgotten = nil
	}
	clear(j.forgotten)
	j.forgotten = j.forgotten[:0]
	return detections
}

// end makes a match final, unless it is or exists no more.
func (j *join) end(m *match, now time.Time) *event.Detection {
	if m.state != event.Provisional {
		return nil
	}
	return j.tell(m, event.Final, "", now)
}

// tell notes a match's state and returns what there is to tell of it, or nil.
func (j *join) tell(m *match, state event.State, by string, now time.Time) *event.Detection {
	m.state, m.by = state, by
	if m.mute || m.held {
		return nil
	}
	_, known := j.known.of(m.id)
	known = known || m.first != nil || j.options.Known(m.id)
	if !known && state == event.Superseded { // It was, before anybody was told.
		return nil
	}
	j.known.set(m.id, state)
	events := make([]*event.Event, len(m.chain))
	for i, l := range m.chain {
		events[i] = j.store.event(l.kept, l.tie)
	}
	d := j.newDetection(m.rule.rule, m.id, events, now, known)
	d.State, d.SupersededBy = state, by
	if m.first != nil {
		m.first.impose(d)
		d.Coverage = j.coverage(m.rule, d)
		return d
	}
	m.first = &verdict{action: d.Action, why: d.Why, at: d.At, pod: d.Pod.Key(), user: d.User}
	if known && state == event.Provisional { // An earlier process, or engine, has told so much.
		return nil
	}
	if !known {
		j.metrics.detections.WithLabelValues(m.rule.rule.Name, string(d.Action)).Inc()
	}
	d.Coverage = j.coverage(m.rule, d)
	return d
}

// impose makes a detection one that was concluded before: what it led to stays.
func (v *verdict) impose(d *event.Detection) {
	d.Action, d.Why, d.At = v.action, v.why, v.at
	if d.Pod.Key() != v.pod || d.User != v.user {
		d.Why = "a late event has changed whom it is about; its action is what was decided before that"
	}
}

// coverage asks what was not seen of the time that matters to a detection.
func (j *join) coverage(r *joined, d *event.Detection) event.Coverage {
	if j.options.Coverage == nil {
		return event.Coverage{}
	}
	from, to := d.Events[0].Time, d.Events[0].Time
	for _, e := range d.Events[1:] {
		if e.Time.Before(from) {
			from = e.Time
		}
		if e.Time.After(to) {
			to = e.Time
		}
	}
	if r.absentLast { // What did not happen after it matters as well.
		to = from.Add(r.span)
	}
	return j.options.Coverage(d, from.Add(-r.span), to)
}

// single concludes the detection of an event that is one by itself, unless it is known.
func (j *join) single(r *joined, e *event.Event, now time.Time) []*event.Detection {
	id := singleID(r.rule, e)
	if _, known := j.known.of(id); known {
		return nil
	}
	j.known.set(id, event.Final)
	if j.options.Known(id) {
		return nil
	}
	d := j.newDetection(r.rule, id, []*event.Event{e}, now, false)
	d.State = event.Final
	j.metrics.detections.WithLabelValues(r.rule.Name, string(d.Action)).Inc()
	d.Coverage = j.coverage(r, d)
	return []*event.Detection{d}
}
