package execsession

import (
	"slices"

	"github.com/portcullis-dev/portcullis/event"
)

// document is a session as others see it; without details, without its processes and timeline.
func (t *Tracker) document(r *record, details bool) Document {
	if r.past != nil {
		d := *r.past
		if !details {
			d.Processes, d.Timeline = nil, nil
		} else {
			d.Processes, d.Timeline = slices.Clone(d.Processes), slices.Clone(d.Timeline)
		}
		return d
	}
	d := Document{ID: r.id, State: r.state(), Attribution: event.AttributionNone}
	d.LastSeen = r.seen()
	if r.ask != nil {
		t.showAsk(&d, r.ask)
	}
	if r.run != nil {
		t.showRun(&d, r.run)
	}
	if d.User != nil && r.ask != nil && r.ask.who.User == d.User.Name {
		d.User.Extra = r.ask.extra // It is not changed any more.
	}
	for _, s := range r.stories() {
		d.Detections = append(d.Detections, s.detected...)
	}
	if details {
		t.showDetails(&d, r)
	}
	return d
}

func (t *Tracker) showAsk(d *Document, a *ask) {
	if a.id != d.ID {
		d.Aliases = []string{a.id}
	}
	d.Door, d.Pod, d.Container = a.door, podOf(&a.pod), a.container
	d.Command = a.shown
	d.TTY, d.Stdin, d.Interactive = a.tty, a.stdin, a.tty
	d.Requested, d.Started, d.Ended = a.since, a.opened, a.completed
	d.Request = &Request{
		Certain: true, Time: a.since, SourceIPs: a.sourceIPs, UserAgent: a.userAgent,
		Reviewed: a.reviewed, Audited: a.audited, Started: a.opened, Completed: a.completed, Code: a.code,
	}
	if a.reviewed {
		d.Verdict = &Verdict{Allowed: !a.denied, Why: a.why}
	}
	d.Attribution, d.Final = event.AttributionExact, a.audited
	d.User = userOf(a.value)
	if a.door == DoorAttach {
		if main := t.mains[containerKey(a.pod.UID, a.container)]; main != nil {
			root := main.Root
			d.Root = &root
		}
	}
}

func (t *Tracker) showRun(d *Document, r *run) {
	v := &r.verdict
	d.Attribution, d.Final, d.Why = v.Attribution, v.Final, v.Why
	d.CoverageHole, d.Unaudited = v.Hole, v.Unaudited
	d.User, d.Candidates = nil, slices.Clone(v.Users)
	if v.Attribution == event.AttributionExact {
		d.User = userOf(r.value)
	}
	if d.Request != nil {
		d.Request.Sessions, d.Request.Certain = slices.Clone(v.Requests), v.Certain
	} else if len(v.Requests) > 0 {
		d.Request = &Request{Sessions: slices.Clone(v.Requests)}
	}
	d.Pod, d.ContainerID = podOf(&r.pod), r.container.ID
	if r.container.Name != "" {
		d.Container = r.container.Name
	}
	root := r.root
	d.Root = &root
	if d.Command == nil {
		d.Command = slices.Clone(root.Args)
	}
	d.TTY, d.Interactive = d.TTY || r.tty, d.Interactive || r.tty
	d.Started, d.Ended = root.Start, r.ended
	if r.exit != nil {
		exit := *r.exit
		exit.KilledBy = r.killedBy
		d.Exit = &exit
	}
}

func (t *Tracker) showDetails(d *Document, r *record) {
	for _, s := range r.stories() {
		d.Timeline = append(d.Timeline, s.timeline.entries...)
		d.TimelineDropped += s.timeline.dropped
	}
	slices.SortStableFunc(d.Timeline, func(a, b Entry) int { return a.Time.Compare(b.Time) })
	if r.run != nil {
		d.Processes, d.ProcessesDropped = slices.Clone(r.run.processes), r.run.dropped
	}
}

func podOf(p *event.Pod) Pod {
	return Pod{Namespace: p.Namespace, Name: p.Name, UID: p.UID, Node: p.Node}
}

func userOf(s *event.Session) *User {
	if s == nil {
		return nil
	}
	return &User{Name: s.User, UID: s.UserUID, Groups: slices.Clone(s.Groups), Impersonator: s.Impersonator}
}

// askValue is what an event of the request itself carries: who made it is certain.
func (a *ask) session(id string) *event.Session {
	return &event.Session{
		ID: id, User: a.who.User, UserUID: a.who.UID, Groups: a.who.Groups, Impersonator: a.who.Impersonator,
		Attribution: event.AttributionExact, Interactive: a.tty, Command: a.command, Door: a.door,
	}
}

// session is what an event of the run carries, by what is known now.
func (r *run) session() *event.Session {
	v := &r.verdict
	s := &event.Session{
		ID: r.record.id, Attribution: v.Attribution, Candidates: v.Users, Interactive: r.tty, Command: r.first.Process.Args,
	}
	if !r.first.Process.EntryLeader.SameAsProcess {
		s.Command = nil
	}
	if v.Attribution == event.AttributionExact {
		s.User, s.UserUID, s.Groups, s.Impersonator = v.Who.User, v.Who.UID, v.Who.Groups, v.Who.Impersonator
	}
	if a := r.record.ask; a != nil {
		s.Door = a.door
		if a.command != nil {
			s.Command = a.command
		}
	} else if len(v.Requests) > 0 {
		s.Door = DoorExec
	}
	return s
}

// matches reports whether a filter chooses a session.
func (f *Filter) matches(d *Document) bool {
	if f.Namespace != "" && f.Namespace != d.Pod.Namespace || f.Pod != "" && f.Pod != d.Pod.Name ||
		f.Attribution != "" && f.Attribution != d.Attribution {
		return false
	}
	if f.User != "" && (d.User == nil || d.User.Name != f.User && d.User.Impersonator != f.User) && !slices.Contains(d.Candidates, f.User) {
		return false
	}
	began := d.Requested
	if began.IsZero() {
		began = d.Started
	}
	return (f.Since.IsZero() || !d.LastSeen.Before(f.Since)) && (f.Until.IsZero() || !began.After(f.Until))
}
