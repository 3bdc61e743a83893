package join

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// The defaults of Options.
const (
	DefaultTolerance  = 250 * time.Millisecond
	DefaultStartLag   = 5 * time.Second
	DefaultProofAfter = 3 * time.Second
	DefaultEndLag     = time.Second
	DefaultSettle     = time.Second
	DefaultRetain     = 10 * time.Minute
	DefaultMaxAge     = 24 * time.Hour
	DefaultMaxPerPod  = 256
	DefaultMaxTotal   = 50_000
)

// Options are the engine's windows and bounds; the defaults stand for zeros.
type Options struct {
	// Tolerance is how far the time of a fact may be off that says nothing of its clock.
	Tolerance time.Duration
	// StartLag is how long after its request was opened, or closed, a process may start.
	StartLag time.Duration
	// ProofAfter is how long a request has to stay open to have started its process for certain.
	ProofAfter time.Duration
	// EndLag is how long after its process a request may end.
	EndLag time.Duration
	// Settle is how long after it began a root is not exact yet.
	Settle time.Duration
	// Retain is how long what has ended can still be revised by late facts; MaxAge how long what is not known to
	// have ended is.
	Retain, MaxAge time.Duration
	// MaxPerPod bounds the roots, and the requests, that are kept of one pod; MaxTotal both, of all pods.
	MaxPerPod, MaxTotal int
	// Begin is from when on every fact is known to be heard: roots from before it are never unaudited.
	Begin time.Time
}

func (o *Options) complete() {
	for _, d := range []struct {
		option   *time.Duration
		standard time.Duration
	}{
		{&o.Tolerance, DefaultTolerance}, {&o.StartLag, DefaultStartLag}, {&o.ProofAfter, DefaultProofAfter}, {&o.EndLag, DefaultEndLag},
		{&o.Settle, DefaultSettle}, {&o.Retain, DefaultRetain}, {&o.MaxAge, DefaultMaxAge},
	} {
		if *d.option == 0 {
			*d.option = d.standard
		}
	}
	if o.MaxPerPod == 0 {
		o.MaxPerPod = DefaultMaxPerPod
	}
	if o.MaxTotal == 0 {
		o.MaxTotal = DefaultMaxTotal
	}
}

// Who asked.
type Who struct {
	User, UID string
	Groups    []string
	// Impersonator is who they really are, where User is whom they acted as.
	Impersonator string
}

// key is equal for two that are the same in all.
func (w *Who) key() string {
	return strings.Join(append([]string{w.User, w.UID, w.Impersonator}, slices.Sorted(slices.Values(w.Groups))...), "\x00")
}

// Place is a container.
type Place struct {
	Namespace, Pod string
	// UID is the pod's; UIDs are the candidates where it is not certain. Neither: the name decides.
	UID  string
	UIDs []string
	// Container is empty where it is not known.
	Container string
}

// Moment is a time that may be off by a tolerance, 0 for a clock that says nothing of itself.
type Moment struct {
	At        time.Time
	Tolerance time.Duration
}

// Request is one that may start a process.
type Request struct {
	// ID names it.
	ID    string
	Who   Who
	Place Place
	// Command is nil where it cannot be known.
	Command []string
	TTY     bool
	// Since is when it came: nothing that it started began before.
	Since Moment
}

// Root is a process that came into a container.
type Root struct {
	// ID names the process.
	ID    string
	Place Place
	Args  []string
	// Truncated: there were more Args. Late: it was first seen when it may have been another program already.
	Truncated, Late bool
	TTY             bool
	// Probe: its command is one of the kubelet's own, and it has neither input nor terminal.
	Probe bool
	Start Moment
}

// Verdict is what is known of who asked for a root.
type Verdict struct {
	Root        string
	Attribution event.Attribution
	// Who is set where the attribution is exact.
	Who Who
	// Request is the one that asked, empty if it is not known. Certain is false where it is one of several of the
	// same user.
	Request string
	Certain bool
	// Requests are all that can have, Users their users, sorted, with event.CandidateUnaudited and CandidateProbe. Both are bounded.
	Requests, Users []string
	// Unaudited: nobody asked. OneOf: it is one of several roots of which so many too many are.
	Unaudited, OneOf bool
	// Hole: it cannot be told because the audit stream was not heard then.
	Hole bool
	// Final: only facts that are late, or ends, can change it.
	Final bool
	// Why is a sentence that says what is in the way of more, empty for an exact one.
	Why string
}

// Bounded reports whether there may be more requests than Requests has room for.
func (v *Verdict) Bounded() bool { return len(v.Requests) >= maxNamed }

// Engine joins. It is for one goroutine.
type Engine struct {
	opts     Options
	zones    map[string]*zone
	requests map[string]*request
	roots    map[string]*root
	// now and upTo are the latest time, and that up to which the audit stream has told everything.
	now, upTo time.Time
	// blind are the times of which it has not, oldest first; blinded says that the last still lasts.
	blind   []span
	blinded bool
	// dropped counts the facts for which there was no room.
	dropped uint64
}

// maxBlind bounds the times that are remembered; the two oldest become one.
const maxBlind = 32

type moment struct {
	Moment
	known bool
}

type request struct {
	Request
	zone              *zone
	who               string
	refused           bool
	opened, completed moment
}

type root struct {
	Root
	zone  *zone
	ended moment
	// alone: nothing below it lived when it ended.
	alone bool
	last  *Verdict
}

// zone is what can explain each other at all: all pods of one name.
type zone struct {
	key      string
	requests []*request
	roots    []*root
	dirty    bool
	// wakeNow and wakeUpTo are when time alone can change something.
	wakeNow, wakeUpTo time.Time
	// blurred is a time of which telemetry, and crowded of which requests are missing.
	blurred, crowded span
	// futile is when making room was tried last, and nothing could go.
	futile time.Time
}

type span struct{ from, to time.Time }

func (s *span) add(from, to time.Time) {
	if s.from.IsZero() || from.Before(s.from) {
		s.from = from
	}
	if to.After(s.to) {
		s.to = to
	}
}

func (s *span) has(t time.Time) bool { return !s.to.IsZero() && !t.Before(s.from) && !t.After(s.to) }

// New makes an engine.
func New(opts Options) *Engine {
	opts.complete()
	return &Engine{opts: opts, zones: map[string]*zone{}, requests: map[string]*request{}, roots: map[string]*root{}}
}

func zoneKey(p *Place) string {
	if p.Pod == "" {
		return "\x00" + p.UID // A pod of which nothing else is known: no request reaches into it.
	}
	return p.Namespace + "/" + p.Pod
}

func (e *Engine) zone(p *Place) *zone {
	key := zoneKey(p)
	z := e.zones[key]
	if z == nil {
		z = &zone{key: key}
		e.zones[key] = z
	}
	z.dirty = true
	return z
}

// crowdedFor is how long after a request that found no room nothing in its pod is sure.
const crowdedFor = time.Minute

// room reports whether there is room for one more in a zone. Where there is not, what has ended and is decided makes
// room before its time.
func (e *Engine) room(z *zone, has int) bool {
	full := func(has int) bool { return has >= e.opts.MaxPerPod || e.Len() >= e.opts.MaxTotal }
	if !full(has) {
		return true
	}
	if z.futile.Equal(e.now) && !e.now.IsZero() {
		return false // Nothing has changed since.
	}
	before := len(z.requests) + len(z.roots)
	e.leave(z, e.components(z), 2*(e.opts.StartLag+e.opts.Settle))
	gone := before - len(z.requests) - len(z.roots)
	if gone == 0 {
		z.futile = e.now
	}
	return gone > 0 && !full(max(len(z.requests), len(z.roots)))
}

// Dropped is how many requests and roots found no room.
func (e *Engine) Dropped() uint64 { return e.dropped }

// Len is how many requests and roots are kept.
func (e *Engine) Len() int { return len(e.requests) + len(e.roots) }

// Request takes a request that was not refused; again, it takes what is better known now. It reports whether there was room.
func (e *Engine) Request(r Request) bool {
	if known := e.requests[r.ID]; known != nil {
		known.zone.dirty = true
		if since := known.Since; since.At.After(r.Since.At) {
			r.Since = since // The later one is the tighter bound.
		}
		known.Request, known.who, known.refused = r, r.Who.key(), false
		return true
	}
	z := e.zone(&r.Place)
	if !e.room(z, len(z.requests)) {
		e.dropped++
		z.crowded.add(r.Since.At.Add(-e.opts.StartLag), r.Since.At.Add(crowdedFor))
		return false
	}
	q := &request{Request: r, zone: z, who: r.Who.key()}
	z.requests = append(z.requests, q)
	e.requests[r.ID] = q
	return true
}

// change finds a request of which something more is known.
func (e *Engine) change(id string) *request {
	q := e.requests[id]
	if q != nil {
		q.zone.dirty = true
	}
	return q
}

// Opened says that a request was let through, and when its connection was opened.
func (e *Engine) Opened(id string, at Moment) {
	if q := e.change(id); q != nil && !q.opened.known {
		q.opened = moment{at, true}
	}
}

// Refused says that a request was refused, or failed: it has started nothing.
func (e *Engine) Refused(id string) {
	if q := e.change(id); q != nil {
		q.refused = true
	}
}

// Completed says when a request's connection ended. It had been let through.
func (e *Engine) Completed(id string, at Moment) {
	q := e.change(id)
	if q == nil {
		return
	}
	if !q.opened.known {
		q.opened = moment{q.Since, true}
	}
	q.completed = moment{at, true}
}

// Root takes a root; again, it is the same. It reports whether there was room.
func (e *Engine) Root(r Root) bool {
	if e.roots[r.ID] != nil {
		return true
	}
	z := e.zone(&r.Place)
	if !e.room(z, len(z.roots)) {
		e.dropped++
		z.blurred.add(r.Start.At.Add(-e.opts.StartLag), r.Start.At.Add(e.opts.StartLag))
		return false
	}
	n := &root{Root: r, zone: z}
	z.roots = append(z.roots, n)
	e.roots[r.ID] = n
	return true
}

// Contained says which container a root is in, where that was not known.
func (e *Engine) Contained(id, container string) {
	if r := e.roots[id]; r != nil && r.Place.Container == "" {
		r.zone.dirty, r.Place.Container = true, container
	}
}

// Exited says when a root ended, and whether anything below it lived then.
func (e *Engine) Exited(id string, at Moment, alone bool) {
	if r := e.roots[id]; r != nil && !r.ended.known {
		r.zone.dirty = true
		r.ended, r.alone = moment{at, true}, alone
	}
}

// Blur says that telemetry of a pod is missing between two times: nobody is exact then.
func (e *Engine) Blur(p Place, from, to time.Time) {
	z := e.zone(&p)
	z.blurred.add(from.Add(-e.opts.StartLag), to.Add(e.opts.StartLag))
}

// Advance says what time it is, up to when the audit stream has told everything, and whether it is blind. Times that
// go back are ignored.
func (e *Engine) Advance(now, auditUpTo time.Time, blind bool) {
	if now.After(e.now) {
		e.now = now
	}
	switch {
	case blind && e.blinded:
		e.blind[len(e.blind)-1].to = e.now
	case blind:
		from := e.upTo
		if from.IsZero() {
			from = e.now
		}
		e.blind = append(e.blind, span{from, e.now})
		if len(e.blind) > maxBlind {
			e.blind[1].from = e.blind[0].from
			e.blind = slices.Delete(e.blind, 0, 1)
		}
	case auditUpTo.After(e.upTo):
		e.upTo = auditUpTo
	}
	e.blinded = blind
}

// Blind reports whether the audit stream is blind, by what Advance was told last.
func (e *Engine) Blind() bool { return e.blinded }

// hole reports whether the request for a root that began then may not have been heard.
func (e *Engine) hole(start time.Time) bool {
	return start.Before(e.opts.Begin) || slices.ContainsFunc(e.blind, func(s span) bool {
		return start.After(s.from.Add(-e.opts.StartLag)) && start.Before(s.to.Add(e.opts.StartLag))
	})
}

// Resolve returns the verdicts that have changed, in a fixed order. Facts of roots that have left keep their last.
func (e *Engine) Resolve() []Verdict {
	var changed []Verdict
	for _, key := range slices.Sorted(maps.Keys(e.zones)) {
		z := e.zones[key]
		if !z.dirty && !passed(z.wakeNow, e.now) && !passed(z.wakeUpTo, e.upTo) {
			continue
		}
		z.dirty, z.wakeNow, z.wakeUpTo = false, time.Time{}, time.Time{}
		changed = append(changed, e.resolve(z)...)
		if len(z.requests) == 0 && len(z.roots) == 0 && !z.blurred.has(e.now) && !z.crowded.has(e.now) {
			delete(e.zones, key)
		}
	}
	return changed
}

func passed(wake, now time.Time) bool { return !wake.IsZero() && !now.Before(wake) }

// nowPast reports whether a time is past, and has the zone looked at again when it is.
func (e *Engine) nowPast(z *zone, t time.Time) bool {
	if !e.now.Before(t) {
		return true
	}
	if z.wakeNow.IsZero() || t.Before(z.wakeNow) {
		z.wakeNow = t
	}
	return false
}

// toldPast is nowPast for what the audit stream has told.
func (e *Engine) toldPast(z *zone, t time.Time) bool {
	if !e.upTo.Before(t) {
		return true
	}
	if z.wakeUpTo.IsZero() || t.Before(z.wakeUpTo) {
		z.wakeUpTo = t
	}
	return false
}

func (e *Engine) tolerance(m Moment) time.Duration {
	if m.Tolerance == 0 {
		return e.opts.Tolerance
	}
	return m.Tolerance
}

// either is how far two times may be off together.
func (e *Engine) either(a, b Moment) time.Duration { return e.tolerance(a) + e.tolerance(b) }
