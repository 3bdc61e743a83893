package ending

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/app/admission"
	"github.com/portcullis-dev/portcullis/collector"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/execsession"
)

const (
	// patience is how long it is waited for a session that was admitted to begin.
	patience = 2 * time.Minute
	// lookEvery is how often it is looked whether a session that is waited for has begun.
	lookEvery = 50 * time.Millisecond
	// answerTime bounds how long an agent may take to end one.
	answerTime = 10 * time.Second
	// atATime bounds how many are being ended.
	atATime = 16
	// maxPending bounds how many are waited for.
	maxPending = 4096
	// maxRecent bounds the detections for which it is looked again: each costs a list of sessions every time, and
	// whoever sets off a rule decides how many there are.
	maxRecent = 64
	// lookAgain is for how long it is looked for sessions that were let in before a detection, and of which nobody had heard
	// when it was concluded: a verdict is told just after it was made.
	// Besides, what was admitted takes its time to begin.
	lookAgain = 10 * time.Second
)

// Sessions knows the sessions. *execsession.Tracker is one.
type Sessions interface {
	// Firsts are the first processes to end for a session, where the sessions that ending reports end as well.
	Firsts(id string, ending func(session string) bool) []execsession.First
	Get(id string) (execsession.Document, bool)
	List(f execsession.Filter) []execsession.Document
	Killed(id, by string, at time.Time)
}

// Agents end sessions on nodes. *collector.Server is one.
type Agents interface {
	EndSession(ctx context.Context, what collector.Session) (collector.Ended, error)
}

// Announcer tells people. *quarantine.Events is one.
type Announcer interface {
	SessionKilled(pod event.Pod, session, why string)
}

// Options are what a Killer needs. All are required.
type Options struct {
	Sessions   Sessions
	Agents     Agents
	Announcer  Announcer
	Now        func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Order says which session is to end, and why.
type Order struct {
	Session string
	// By says whose order it is, such as "rule x", Why what the person at the terminal reads.
	By, Why string
	// Since is when it was concluded.
	Since time.Time
	// After, if it is set: only a process that began after it is meant. What began before is none of the reason's.
	After time.Time
}

// Killer ends sessions. Its methods may be called from any goroutine; to order never waits.
type Killer struct {
	Options
	outcomes *prometheus.CounterVec
	seconds  prometheus.Histogram
	wake     chan struct{}

	mutex   sync.Mutex
	pending map[string]*pending
	// over are sessions that were ended, and when that is forgotten: what is equal to them is ended by that.
	over   map[string]time.Time
	recent []*recent
}

// Reach says which sessions are meant beside those that a detection's events happened in.
type Reach struct {
	// User: what its user has been let into, anywhere, before it.
	User bool
	// Shut: its pod is shut since, so that whatever begins there now was let in before, or came another way.
	Shut bool
}

// recent is a detection of just now.
type recent struct {
	detection *event.Detection
	// at is when it was carried out: who was let in later was let in by a verdict that knew of it.
	at    time.Time
	reach Reach
	// ordered are the sessions that were to end because of it.
	ordered map[string]bool
}

// pending is a session that is to end.
type pending struct {
	order    Order
	deadline time.Time
	// asked: an agent is being asked.
	asked bool
}

// The outcomes that are no agent's.
const (
	outcomeNeverBegan = "never-began"
	outcomeNoAgent    = "no-agent"
	outcomeBreakGlass = "break-glass"
	outcomeNoRoom     = "no-room"
)

// New makes a Killer that ends nothing before Run.
func New(o Options) (*Killer, error) {
	k := &Killer{
		Options: o, wake: make(chan struct{}, 1), pending: map[string]*pending{}, over: map[string]time.Time{},
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "portcullis", Subsystem: "session_kill", Name: "orders_total",
			Help: "Exec sessions that were to end, by what became of that: an agent's answer (done, not-found, refused, failed, unsupported), never-began: " +
				"it was admitted, and no process of it was seen in time; no-agent: no agent of its node was connected in time; break-glass: it goes on; " +
				"no-room: too many were to end at once.",
		}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "portcullis", Subsystem: "session_kill", Name: "seconds",
			Help:    "Time from the detection until no process of the session was left.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}),
	}
	for _, c := range []prometheus.Collector{k.outcomes, k.seconds} {
		if err := o.Registerer.Register(c); err != nil {
			return nil, fmt.Errorf("session kill metrics: %w", err)
		}
	}
	for _, outcome := range []string{string(collector.OutcomeDone), outcomeNeverBegan, outcomeNoAgent, outcomeBreakGlass, outcomeNoRoom} {
		k.outcomes.WithLabelValues(outcome)
	}
	return k, nil
}

// End orders the end of the sessions that a detection is about: those that it happened in, and those that were admitted
// before and have not begun, into its pod and as far as it reaches. Whatever else the detection leads to is in force by then.
func (k *Killer) End(d *event.Detection, reach Reach) {
	r := &recent{detection: d, at: k.Now(), reach: reach, ordered: map[string]bool{}}
	for _, e := range d.Events {
		if e.Session != nil && e.Session.ID != "" {
			k.order(r, e.Session.ID, time.Time{})
		}
	}
	k.look(r)
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if len(k.recent) >= maxRecent { // What happened first has been looked after longest.
		k.recent = k.recent[1:]
	}
	k.recent = append(k.recent, r)
}

// look orders the end of further sessions.
func (k *Killer) look(r *recent) {
	since := r.at.Add(-patience)
	if pod := &r.detection.Pod; pod.UID != "" && pod.Confidence >= event.ByName {
		docs := k.Sessions.List(execsession.Filter{Namespace: pod.Namespace, Pod: pod.Name, Since: since})
		docs = slices.DeleteFunc(docs, func(d execsession.Document) bool { return d.Pod.UID != pod.UID })
		glass := slices.ContainsFunc(docs, byBreakGlass)
		for _, doc := range docs {
			if waits(&doc, r.at) || r.reach.Shut && !glass && began(&doc, r.at) {
				k.order(r, doc.ID, r.at)
			}
		}
	}
	if r.reach.User && r.detection.User != "" {
		for _, doc := range k.Sessions.List(execsession.Filter{User: r.detection.User, Since: since}) {
			if waits(&doc, r.at) {
				k.order(r, doc.ID, r.at)
			}
		}
	}
}

// waits reports whether the session was admitted before, and has not begun.
func waits(d *execsession.Document, before time.Time) bool {
	return d.State == execsession.StateRequested && !d.Requested.After(before)
}

// began reports whether the session began after, and is none of the kubelet's own.
func began(d *execsession.Document, after time.Time) bool {
	return d.State == execsession.StateOpen && d.Started.After(after) && !slices.Contains(d.Candidates, event.CandidateProbe)
}

// byBreakGlass reports whether the session came by break-glass.
func byBreakGlass(d execsession.Document) bool {
	return d.Verdict != nil && strings.HasPrefix(d.Verdict.Why, admission.BreakGlass)
}

// order orders the end of a session, once for a detection.
func (k *Killer) order(r *recent, id string, after time.Time) {
	if r.ordered[id] {
		return
	}
	r.ordered[id] = true
	d := r.detection
	by := "rule " + d.Rule.Name
	k.EndSession(Order{Session: id, By: by, Why: fmt.Sprintf("%s (%s), detection %s", d.Rule.Title, by, d.ID), Since: d.At, After: after})
}

// again looks for sessions of which it is heard only now.
func (k *Killer) again() {
	now := k.Now()
	k.mutex.Lock()
	k.recent = slices.DeleteFunc(k.recent, func(r *recent) bool { return now.Sub(r.at) > lookAgain })
	all := slices.Clone(k.recent)
	k.mutex.Unlock()
	for _, r := range all {
		k.look(r)
	}
}

// EndSession orders the end of one session.
func (k *Killer) EndSession(o Order) {
	if k.passed(o.Session) {
		k.outcomes.WithLabelValues(outcomeBreakGlass).Inc()
		k.Logger.Warn("session goes on: it came by break-glass", "session", o.Session, "by", o.By)
		return
	}
	k.mutex.Lock()
	_, again := k.pending[o.Session]
	full := len(k.pending) >= maxPending
	if !again && !full {
		k.pending[o.Session] = &pending{order: o, deadline: k.Now().Add(patience)}
	}
	k.mutex.Unlock()
	if full && !again {
		k.outcomes.WithLabelValues(outcomeNoRoom).Inc()
		k.Logger.Error("session cannot be ended, too many others are to end", "session", o.Session, "by", o.By)
		return
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// passed reports whether the session came by break-glass.
func (k *Killer) passed(id string) bool {
	doc, known := k.Sessions.Get(id)
	return known && byBreakGlass(doc)
}

// Run ends what is ordered until ctx ends, and waits for the agents that are being asked then.
func (k *Killer) Run(ctx context.Context) error {
	var asking sync.WaitGroup
	defer asking.Wait()
	room := make(chan struct{}, atATime)
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.wake:
		case <-ticker.C:
			k.again()
		}
		for _, p := range k.due() {
			select {
			case room <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
			asking.Go(func() {
				defer func() { <-room }()
				k.ask(ctx, p)
			})
		}
	}
}

// due are the pending sessions that are not being asked for and have begun. Those whose time is over are given up.
func (k *Killer) due() []*pending {
	now := k.Now()
	ending := k.ending()
	k.mutex.Lock()
	defer k.mutex.Unlock()
	var due []*pending
	for id, p := range k.pending {
		if p.asked {
			continue
		}
		firsts, began := k.firsts(&p.order, ending)
		switch {
		case len(firsts) > 0:
			p.asked = true
			due = append(due, p)
		case began:
			delete(k.pending, id)
		case now.After(p.deadline):
			delete(k.pending, id)
			k.outcomes.WithLabelValues(outcomeNeverBegan).Inc()
			k.Logger.Warn("session was to end, and none of its processes is known for sure: if it has any, they go on", "session", id, "by", p.order.By)
		}
	}
	maps.DeleteFunc(k.over, func(_ string, until time.Time) bool { return now.After(until) })
	return due
}

// firsts are the processes to end for an order, and began reports whether there are any of the session at all.
func (k *Killer) firsts(o *Order, ending func(string) bool) (firsts []execsession.First, began bool) {
	all := k.Sessions.Firsts(o.Session, ending)
	firsts = slices.DeleteFunc(all, func(f execsession.First) bool { return !o.After.IsZero() && !f.Leader.Start.After(o.After) })
	return firsts, len(all) > 0
}

// ending says which sessions are to end now, or were to just before.
func (k *Killer) ending() func(session string) bool {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	ids := make(map[string]bool, len(k.pending)+len(k.over))
	for id := range k.pending {
		ids[id] = true
	}
	for id := range k.over {
		ids[id] = true
	}
	return func(session string) bool { return ids[session] }
}

// ask has the session's agent end it.
func (k *Killer) ask(ctx context.Context, p *pending) {
	o := p.order
	firsts, _ := k.firsts(&o, k.ending())
	if len(firsts) == 0 {
		k.retry(p, errors.New("its first process is not known any more"))
		return
	}
	limited, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var last collector.Ended
	for i := range firsts {
		first := &firsts[i]
		ended, err := k.Agents.EndSession(limited, collector.Session{
			Node: first.Pod.Node, EntityID: first.Leader.EntityID, ContainerID: first.ContainerID, PodUID: first.Pod.UID,
			Reason: "Portcullis has ended this session: " + o.Why,
		})
		if err != nil {
			k.retry(p, err)
			return
		}
		if i == 0 || last.Outcome != collector.OutcomeDone {
			last = ended
		}
	}
	k.drop(o.Session)
	k.settle(&o, firsts, last)
}

// settle tells what became of an order.
func (k *Killer) settle(o *Order, firsts []execsession.First, ended collector.Ended) {
	pod := &firsts[0].Pod
	k.outcomes.WithLabelValues(string(ended.Outcome)).Inc()
	switch ended.Outcome {
	case collector.OutcomeDone:
		now := k.Now()
		k.seconds.Observe(max(0, now.Sub(o.Since).Seconds()))
		k.Sessions.Killed(o.Session, o.By, now)
		k.Announcer.SessionKilled(*pod, o.Session, o.Why)
		if len(firsts) > 1 {
			k.Logger.Warn("session was one of several equal ones that nobody else is at, all were ended", "session", o.Session, "processes", len(firsts), "by", o.By)
		}
	case collector.OutcomeNotFound: // It had ended before.
	default:
		k.Logger.Error("session could not be ended", "session", o.Session, "pod", pod.String(), "node", pod.Node, "outcome", string(ended.Outcome), "detail", ended.Detail)
	}
}

// retry has the session asked for again, until its time is over.
func (k *Killer) retry(p *pending, err error) {
	k.mutex.Lock()
	p.asked = false
	over := k.Now().After(p.deadline)
	if over {
		delete(k.pending, p.order.Session)
	}
	k.mutex.Unlock()
	if over {
		k.outcomes.WithLabelValues(outcomeNoAgent).Inc()
		k.Logger.Error("session could not be ended in time", "session", p.order.Session, "error", err)
	}
}

func (k *Killer) drop(id string) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	delete(k.pending, id)
	if len(k.over) < maxPending {
		k.over[id] = k.Now().Add(patience)
	}
}
