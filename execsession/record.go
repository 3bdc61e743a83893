package execsession

import (
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/execsession/join"
)

// Bounds of one session.
const (
	maxTimeline  = 512
	maxProcesses = 512
	maxText      = 2 << 10
	maxLine      = 64
	maxFound     = 64
	// maxArgBytes bounds what is kept of a process' arguments.
	maxArgBytes = 1 << 10
	// maxDetailed is how many entries beyond those that are kept have their arguments redacted: more are a flood,
	// and have none.
	maxDetailed = 8 * maxTimeline
)

// record is a session: what was asked, what ran, or both. The Tracker's lock guards it.
type record struct {
	id  string
	ask *ask
	run *run
	// past is set, instead of both, for a session of an earlier process.
	past *Document
	// at is the record's place among those by their last change.
	at    *list.Element
	bytes int64
	// changed: followers have not been told. stored is when the store got it last.
	changed bool
	stored  time.Time
}

// story is what happened to a request, or in a run.
type story struct {
	timeline timeline
	detected []Detection
}

// story is that of a session that something happens to as a whole.
func (r *record) story() *story {
	if r.run != nil {
		return &r.run.story
	}
	return &r.ask.story
}

// stories are those of a session's request and run.
func (r *record) stories() []*story {
	var out []*story
	if r.ask != nil {
		out = append(out, &r.ask.story)
	}
	if r.run != nil {
		out = append(out, &r.run.story)
	}
	return out
}

// ask is a request.
type ask struct {
	id     string
	record *record
	who    join.Who
	door   string
	pod    event.Pod
	// container as resolved; command as asked.
	container string
	command   []string
	// shown is what is kept of the command.
	shown      []string
	tty, stdin bool
	new        []NewContainer

	reviewed, audited        bool
	denied, failed           bool
	why                      string
	since, opened, completed time.Time
	code                     int32
	extra                    map[string][]string
	sourceIPs                []string
	userAgent                string
	story                    story
	value                    *event.Session
}

// run is a process that came into a container, and all that descends from it.
type run struct {
	record    *record
	pod       event.Pod
	container event.Container
	root      Root
	tty       bool
	// first is an event of it, for what is reported.
	first   *event.Event
	verdict join.Verdict
	// debug is the container's name where it is that of a debug container, which is attributed by it.
	debug    bool
	ended    time.Time
	lastSeen time.Time
	exit     *Exit
	killedBy string

	processes []Process
	places    map[string]int
	living    int
	dropped   int

	reported, counted, attributed bool
	story                         story
	value                         *event.Session
}

// runID names a session of which no request is known when it begins.
func runID(entity string) string {
	sum := sha256.Sum256([]byte(entity))
	return "r-" + hex.EncodeToString(sum[:8])
}

// timeline is bounded: the first entries stay, and the latest half.
type timeline struct {
	entries []Entry
	dropped int
}

func (l *timeline) add(e Entry) {
	e.Text, e.URI = short(e.Text), short(e.URI)
	if len(l.entries) >= maxTimeline {
		l.entries = slices.Delete(l.entries, maxTimeline/2, maxTimeline/2+1)
		l.dropped++
	}
	l.entries = append(l.entries, e)
}

func (l *timeline) size() (n int64) {
	for i := range l.entries {
		n += l.entries[i].size()
	}
	return n
}

// short cuts a text, and makes it one of its own.
func short(text string) string { return cutText(text, maxText) }

func cutText(text string, most int) string {
	if len(text) <= most {
		return strings.Clone(text)
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// brief is the beginning of a command: what is kept of one.
func brief(args []string) []string {
	out := make([]string, 0, min(len(args), maxLine))
	room := maxArgBytes
	for _, arg := range args {
		if len(out) == maxLine || room <= 0 {
			return append(out, "…")
		}
		out = append(out, cutText(arg, room))
		room -= len(arg)
	}
	return out
}

// line is a command as one text.
func line(args []string) string {
	return short(strings.Join(args[:min(len(args), maxLine)], " "))
}

// process finds or makes a process of the run; nil where there is no room.
func (r *run) process(p *event.Process, args []string) *Process {
	if place, ok := r.places[p.EntityID]; ok {
		return &r.processes[place]
	}
	if len(r.processes) >= maxProcesses {
		r.dropped++
		return nil
	}
	made := Process{EntityID: p.EntityID, PID: p.PID, Name: p.Name, Executable: p.Executable, Args: args, Start: p.Start}
	if p.Parent != nil {
		made.ParentEntityID = p.Parent.EntityID
	}
	r.places[p.EntityID] = len(r.processes)
	r.processes = append(r.processes, made)
	r.living++
	return &r.processes[len(r.processes)-1]
}

// size is about how many bytes a record takes.
func (r *record) size() int64 {
	n := int64(2 << 10)
	if r.past != nil {
		return n + r.past.size()
	}
	if r.run != nil {
		n += r.run.story.timeline.size()
		for i := range r.run.processes {
			n += r.run.processes[i].size()
		}
	}
	if r.ask != nil {
		n += r.ask.story.timeline.size()
		for _, arg := range r.ask.command {
			n += int64(len(arg)) + 16
		}
		for key, values := range r.ask.extra {
			n += int64(len(key)) + 64
			for _, v := range values {
				n += int64(len(v)) + 16
			}
		}
	}
	return n
}

func (d *Document) size() int64 {
	n := int64(0)
	for i := range d.Timeline {
		n += d.Timeline[i].size()
	}
	for i := range d.Processes {
		n += d.Processes[i].size()
	}
	return n
}

func (e *Entry) size() int64 {
	return int64(200 + len(e.Text) + len(e.URI) + len(e.User) + len(e.Rule) + len(e.ID))
}

func (p *Process) size() int64 {
	n := 240 + len(p.EntityID) + len(p.ParentEntityID) + len(p.Name) + len(p.Executable)
	for _, arg := range p.Args {
		n += len(arg) + 16
	}
	return int64(n)
}

// state is how far a session is.
func (r *record) state() State {
	switch {
	case r.past != nil:
		return r.past.State
	case r.run != nil && r.run.ended.IsZero():
		return StateOpen
	case r.run != nil:
		return StateEnded
	case r.ask.denied:
		return StateDenied
	case r.ask.failed:
		return StateFailed
	case !r.ask.completed.IsZero():
		return StateEnded
	case !r.ask.opened.IsZero() && r.ask.door != DoorDebug:
		return StateOpen
	default:
		return StateRequested
	}
}

// seen is when a session was heard of last.
func (r *record) seen() (seen time.Time) {
	note := func(t time.Time) {
		if t.After(seen) {
			seen = t
		}
	}
	if r.past != nil {
		note(r.past.Requested)
		note(r.past.Started)
		note(r.past.LastSeen)
	}
	if r.ask != nil {
		note(r.ask.since)
		note(r.ask.opened)
		note(r.ask.completed)
	}
	if r.run != nil {
		note(r.run.root.Start)
		note(r.run.lastSeen)
		note(r.run.ended)
	}
	return seen
}
