package identity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/event"
)

// The defaults of HoldOptions.
const (
	DefaultHold        = 5 * time.Second
	DefaultHoldCaller  = 2 * time.Second
	DefaultMaxHeld     = 16_384
	DefaultMaxHeldNode = 4_096
	DefaultMaxHeldPod  = 1_024
)

// maxHeldCallers bounds what waits of one API server's requests. They are larger than telemetry.
const maxHeldCallers = 1_024

// HoldOptions are what a Hold needs.
type HoldOptions struct {
	Resolver *Resolver
	// Max is how long telemetry waits for its pod; DefaultHold if zero. MaxCaller is how long a request
	// waits for the pod that made it; DefaultHoldCaller if zero.
	Max, MaxCaller time.Duration
	// MaxEvents, MaxPerNode and MaxPerPod bound the waiting events, in all, of what one node reported, and of what
	// it reported of one pod; DefaultMaxHeld, DefaultMaxHeldNode and DefaultMaxHeldPod if zero.
	MaxEvents, MaxPerNode, MaxPerPod int
	// Incomplete is called with telemetry just before it is passed on although its pod is not known, or
	// found no room to wait for its container: rules judge it on little. The outcome is "no-room" or "timeout".
	// A container that does not become known in time is none of it. It must not block, change the event,
	// or keep it. It may be nil.
	Incomplete func(e *event.Event, outcome string)
	Registerer prometheus.Registerer
}

// Hold passes events on once they are complete. What waits is telemetry of a pod that is
// not known yet, or of a container that its pod's status does not name yet, and a request by a pod that the watch
// may not have told of yet; each pod's for itself: until that becomes known, or for the time of
// HoldOptions.Max or MaxCaller at most. An event that has waited long enough, or finds no room, is passed on
// as it is, and both cases are counted. A container, or a caller, that was waited for in vain is not
// waited for again.
//
// Which pods an agent speaks of is its choice, so each node has its share of the room. Where the whole is
// full, the oldest event of the node that has most of it goes.
//
// No event is ever dropped but one: telemetry of a pod that turns out to run on another
// node than the one that reported it. Whoever sent it is lying, so it must join nothing
// (Foreign; counted by the Resolver, and logged as a possible attack).
//
// The order of events is not kept: the correlator goes by event time.
type Hold struct {
	opts    HoldOptions
	outcome *prometheus.CounterVec

	mu   sync.Mutex
	room *room
	// news are the UIDs of those of the pods of which more has become known, each once.
	news []string
	wake chan struct{}
}

// Deliver takes an event that is as complete as it will be, or is foreign.
type Deliver func(e *event.Event, foreign bool)

// entry is an event that may have to wait.
type entry struct {
	e       *event.Event
	deliver Deliver
	// uid is that of the pod that it lacks. by is who reported it, who may have share of the room.
	uid, by  string
	share    int
	patience int
}

// NewHold makes a Hold. Make it before the Resolver runs.
func NewHold(opts HoldOptions) (*Hold, error) {
	opts.Max = cmp.Or(opts.Max, DefaultHold)
	opts.MaxCaller = cmp.Or(opts.MaxCaller, DefaultHoldCaller)
	opts.MaxEvents = cmp.Or(opts.MaxEvents, DefaultMaxHeld)
	opts.MaxPerNode = cmp.Or(opts.MaxPerNode, DefaultMaxHeldNode)
	opts.MaxPerPod = cmp.Or(opts.MaxPerPod, DefaultMaxHeldPod)
	switch {
	case opts.Resolver == nil:
		return nil, errors.New("identity hold: Resolver is missing")
	case opts.Registerer == nil:
		return nil, errors.New("identity hold: Registerer is missing")
	case opts.Max < 0 || opts.MaxCaller < 0:
		return nil, errors.New("identity hold: Max and MaxCaller must not be negative")
	case opts.MaxEvents < 0 || opts.MaxPerNode < 0 || opts.MaxPerPod < 0:
		return nil, errors.New("identity hold: MaxEvents, MaxPerNode and MaxPerPod must not be negative")
	}
	h := &Hold{opts: opts, room: newRoom(opts.MaxEvents, opts.MaxPerPod), wake: make(chan struct{}, 1)}
	if err := h.register(); err != nil {
		return nil, fmt.Errorf("identity hold metrics: %w", err)
	}
	opts.Resolver.onLearned(h.learned)
	return h, nil
}

// The outcomes of a wait, as the metrics name them.
const (
	outcomeResolved  = "resolved"
	outcomeTimeout   = "timeout"
	outcomeContainer = "container-timeout"
	outcomeCaller    = "caller-timeout"
	outcomeNoRoom    = "no-room"
	outcomeStopped   = "stopped"
	outcomeForeign   = "foreign"
)

func (h *Hold) register() error {
	h.outcome = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "portcullis_identity_held_total",
		Help: "Events of pods or containers not known at first, by outcome: resolved, passed on incomplete because of timeout (of telemetry's pod), container-timeout, caller-timeout (of the pod that made a request) or no-room, left for the next process (stopped), or dropped as foreign.",
	}, []string{"outcome"})
	for _, o := range []string{outcomeResolved, outcomeTimeout, outcomeContainer, outcomeCaller, outcomeNoRoom, outcomeStopped, outcomeForeign} {
		h.outcome.WithLabelValues(o)
	}
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "portcullis_identity_waiting_events",
		Help: "Events that wait for their pod to become known.",
	}, func() float64 {
		h.mu.Lock()
		defer h.mu.Unlock()
		return float64(h.room.count)
	})
	return errors.Join(h.opts.Registerer.Register(h.outcome), h.opts.Registerer.Register(waiting))
}

// Complete completes an event as far as that is possible now. One that waits should be given to Submit, in the
// end: more may become known of it. An audit event that waits is unchanged. One that is foreign is a lie, and must
// join nothing.
func (h *Hold) Complete(e *event.Event) (waits, foreign bool) {
	r := h.opts.Resolver
	switch {
	case e.Audit != nil:
		return r.completeAudit(e, true), false
	case r.wanting(e):
		return true, false
	default:
		return false, r.Complete(e) == Foreign
	}
}

// Submit takes an event that waits, and calls deliver with it once: when it is as complete as it will
// be, in Run's goroutine, or in that of a caller of Submit if there is no need or no room for waiting. Submit never
// blocks on a pod, and deliver must not block either. The event is the Hold's until it is delivered.
func (h *Hold) Submit(e *event.Event, deliver Deliver) {
	in := h.entryOf(e, deliver)
	if !h.opts.Resolver.wanting(e) {
		h.passOne(in)
		return
	}
	outgoing, kept := h.keep(in)
	if !kept {
		h.passOne(in)
	}
	h.pass(outcomeNoRoom, outgoing)
}

// entryOf is made before anything is completed: then its pod may have another UID.
func (h *Hold) entryOf(e *event.Event, deliver Deliver) entry {
	if e.Audit != nil {
		return entry{e: e, deliver: deliver, uid: e.Audit.Caller.UID, by: e.Source, share: maxHeldCallers, patience: forCaller}
	}
	return entry{e: e, deliver: deliver, uid: e.Pod.UID, by: e.Pod.Node, share: h.opts.MaxPerNode, patience: forTelemetry}
}

// keep takes the event in, unless what it lacks has become known. For those that it returns there is no room: it
// may be among them.
func (h *Hold) keep(in entry) (outgoing []entry, kept bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	// More may have become known since: learned is called after the fact and
	// under this lock, so one of the two sees the other.
	if !h.opts.Resolver.wanting(in.e) {
		return nil, false
	}
	patience := h.opts.Max
	if in.patience == forCaller {
		patience = h.opts.MaxCaller
	}
	idle := h.room.due[in.patience].count == 0
	outgoing = h.room.add(in, time.Now().Add(patience))
	if idle {
		h.signal()
	}
	return outgoing, true
}

// learned notes that more is known of a pod.
func (h *Hold) learned(uid, hash string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range []string{uid, hash} {
		if pod := h.room.pods[id]; pod != nil && !pod.news {
			pod.news = true
			h.news = append(h.news, id)
			h.signal()
		}
	}
}

func (h *Hold) signal() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Run passes held events on until the context ends, and then returns nil. What still waits is not passed
// on: incomplete it would join nothing, so it is for whoever submitted it to keep it for the next process.
// Submit must not be called after that.
func (h *Hold) Run(ctx context.Context) error {
	timer := time.NewTimer(h.opts.Max)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			h.outcome.WithLabelValues(outcomeStopped).Add(float64(len(h.takeOverdue(time.Time{}))))
			return nil
		case <-h.wake:
		case <-timer.C:
		}
		h.pass(outcomeResolved, h.takeReady())
		now := time.Now()
		h.pass(outcomeTimeout, h.takeOverdue(now))
		timer.Reset(h.untilNext(now))
	}
}

// takeReady takes out the events that lack nothing any more.
func (h *Hold) takeReady() (ready []entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, uid := range h.news {
		ready = append(ready, h.room.takeIf(uid, func(in entry) bool { return !h.opts.Resolver.wanting(in.e) })...)
	}
	h.news = nil
	return ready
}

func (h *Hold) takeOverdue(now time.Time) []entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.room.takeOverdue(now)
}

func (h *Hold) untilNext(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	next, some := h.room.next()
	if !some {
		return h.opts.Max
	}
	return next.Sub(now)
}

// pass completes the events once more, which is where foreign ones show, and hands them on.
func (h *Hold) pass(why string, events []entry) {
	for _, in := range events {
		outcome := h.opts.Resolver.Complete(in.e)
		h.note(why, in.e, outcome)
		in.deliver(in.e, outcome == Foreign)
	}
}

// passOne hands on an event that never waited.
func (h *Hold) passOne(in entry) {
	in.deliver(in.e, h.opts.Resolver.Complete(in.e) == Foreign)
}

// note notes how a wait has ended.
func (h *Hold) note(why string, e *event.Event, outcome Outcome) {
	overdue := why == outcomeTimeout
	switch {
	case outcome == Foreign:
		why = outcomeForeign
	case overdue && e.Audit != nil:
		h.opts.Resolver.giveUpCaller(e.Audit.Caller.UID)
		why = outcomeCaller
	case overdue && outcome == ContainerUnknown:
		h.opts.Resolver.giveUp(e)
		why = outcomeContainer
	case outcome != Completed && why != outcomeResolved && h.opts.Incomplete != nil:
		h.opts.Incomplete(e, why)
	}
	h.outcome.WithLabelValues(why).Inc()
}
