package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/event"
)

// The defaults of HoldOptions.
const (
	DefaultHold       = 5 * time.Second
	DefaultMaxHeld    = 16_384
	DefaultMaxHeldPod = 1_024
)

// HoldOptions are what a Hold needs.
type HoldOptions struct {
	Resolver *Resolver
	// Max is how long an event waits for its pod; DefaultHold if zero.
	Max time.Duration
	// MaxEvents and MaxPerPod bound the waiting events, in all and of one pod;
	// DefaultMaxHeld and DefaultMaxHeldPod if zero.
	MaxEvents, MaxPerPod int
	Registerer           prometheus.Registerer
}

// Hold passes events on once they are complete. Only telemetry of a pod that is
// not known yet waits, or of a container that its pod's status does not name yet, each pod for itself:
// until that becomes known, or for the time of HoldOptions.Max at most. An event that has waited
// long enough, or finds no room, is passed on as it is, and both cases are counted. A container that
// was waited for in vain is not waited for again.
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
	pods map[string]*waiting
	// queue has the held events in order of their deadlines, and some that have left.
	queue []*held
	// count is how many wait.
	count int
	// news are the UIDs of those of the pods of which more has become known, each once.
	news []string
	wake chan struct{}
}

// Deliver takes an event that is as complete as it will be, or is foreign.
type Deliver func(e *event.Event, foreign bool)

// waiting are the events of one pod, by the UID of their cgroups.
type waiting struct {
	events []*held // oldest first
	news   bool    // it is among the Hold's
}

type held struct {
	e        *event.Event
	uid      string
	deliver  Deliver
	deadline time.Time
	left     bool
}

// NewHold makes a Hold. Make it before the Resolver runs.
func NewHold(opts HoldOptions) (*Hold, error) {
	if opts.Max == 0 {
		opts.Max = DefaultHold
	}
	if opts.MaxEvents == 0 {
		opts.MaxEvents = DefaultMaxHeld
	}
	if opts.MaxPerPod == 0 {
		opts.MaxPerPod = DefaultMaxHeldPod
	}
	switch {
	case opts.Resolver == nil:
		return nil, errors.New("identity hold: Resolver is missing")
	case opts.Registerer == nil:
		return nil, errors.New("identity hold: Registerer is missing")
	case opts.Max < 0 || opts.MaxEvents < 0 || opts.MaxPerPod < 0:
		return nil, errors.New("identity hold: Max, MaxEvents and MaxPerPod must not be negative")
	}
	h := &Hold{opts: opts, pods: map[string]*waiting{}, wake: make(chan struct{}, 1)}
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
	outcomeNoRoom    = "no-room"
	outcomeStopped   = "stopped"
	outcomeForeign   = "foreign"
)

func (h *Hold) register() error {
	h.outcome = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "portcullis_identity_held_total",
		Help: "Telemetry events of pods or containers not known at first, by outcome: resolved, passed on incomplete because of timeout (of the pod), container-timeout or no-room, left for the next process (stopped), or dropped as foreign.",
	}, []string{"outcome"})
	for _, o := range []string{outcomeResolved, outcomeTimeout, outcomeContainer, outcomeNoRoom, outcomeStopped, outcomeForeign} {
		h.outcome.WithLabelValues(o)
	}
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "portcullis_identity_waiting_events",
		Help: "Telemetry events that wait for their pod to become known.",
	}, func() float64 {
		h.mu.Lock()
		defer h.mu.Unlock()
		return float64(h.count)
	})
	return errors.Join(h.opts.Registerer.Register(h.outcome), h.opts.Registerer.Register(waiting))
}

// Complete completes an event as far as that is possible now. One that waits should be given to Submit, in the
// end: more may become known of it. One that is foreign is a lie, and must join nothing.
func (h *Hold) Complete(e *event.Event) (waits, foreign bool) {
	if e.Audit == nil && e.Pod.UID != "" && h.opts.Resolver.mayLearn(e, h.opts.Resolver.completeTelemetry(e)) {
		return true, false
	}
	return false, h.opts.Resolver.Complete(e) == Foreign
}

// Submit takes an event that waits, and calls deliver with it once: when it is as complete as it will
// be, in Run's goroutine, or at once in the caller's if there is no need or no room for waiting. Submit never
// blocks on a pod, and deliver must not block either. The event is the Hold's until it is delivered.
func (h *Hold) Submit(e *event.Event, deliver Deliver) {
	uid := e.Pod.UID
	if !h.opts.Resolver.mayLearn(e, h.opts.Resolver.completeTelemetry(e)) || !h.keep(uid, e, deliver) {
		h.finish(e, deliver)
	}
}

// finish hands on an event that waits no longer.
func (h *Hold) finish(e *event.Event, deliver Deliver) Outcome {
	outcome := h.opts.Resolver.Complete(e)
	deliver(e, outcome == Foreign)
	return outcome
}

// keep takes the event in, unless there is no room or what it lacks has become known. The UID is that of
// its cgroup.
func (h *Hold) keep(uid string, e *event.Event, deliver Deliver) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	// More may have become known since: learned is called after the fact and
	// under this lock, so one of the two sees the other.
	if !h.opts.Resolver.mayLearn(e, h.opts.Resolver.completeTelemetry(e)) {
		return false
	}
	pod := h.pods[uid]
	if h.count >= h.opts.MaxEvents || pod != nil && len(pod.events) >= h.opts.MaxPerPod {
		h.outcome.WithLabelValues(outcomeNoRoom).Inc()
		return false
	}
	if pod == nil {
		pod = &waiting{}
		h.pods[uid] = pod
	}
	entry := &held{e: e, uid: uid, deliver: deliver, deadline: time.Now().Add(h.opts.Max)}
	pod.events = append(pod.events, entry)
	h.enqueue(entry)
	return true
}

func (h *Hold) enqueue(entry *held) {
	if len(h.queue) >= 2*h.opts.MaxEvents {
		h.queue = slices.DeleteFunc(h.queue, func(other *held) bool { return other.left })
	}
	h.queue = append(h.queue, entry)
	h.count++
	if len(h.queue) == 1 {
		h.signal()
	}
}

// learned notes that more is known of a pod.
func (h *Hold) learned(uid, hash string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range []string{uid, hash} {
		if pod := h.pods[id]; pod != nil && !pod.news {
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
			h.outcome.WithLabelValues(outcomeStopped).Add(float64(len(h.overdue(time.Time{}))))
			return nil
		case <-h.wake:
		case <-timer.C:
		}
		h.pass(outcomeResolved, h.takeReady())
		now := time.Now()
		h.pass(outcomeTimeout, h.overdue(now))
		timer.Reset(h.untilNext(now))
	}
}

// takeReady takes out the events that lack nothing any more.
func (h *Hold) takeReady() []*held {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ready []*held
	for _, uid := range h.news {
		if pod := h.pods[uid]; pod != nil {
			pod.news = false
			ready = append(ready, h.ready(uid, pod)...)
		}
	}
	h.news = nil
	return ready
}

func (h *Hold) ready(uid string, pod *waiting) (ready []*held) {
	pod.events = slices.DeleteFunc(pod.events, func(entry *held) bool {
		entry.left = !h.opts.Resolver.mayLearn(entry.e, h.opts.Resolver.completeTelemetry(entry.e))
		if entry.left {
			ready = append(ready, entry)
		}
		return entry.left
	})
	h.count -= len(ready)
	if len(pod.events) == 0 {
		delete(h.pods, uid)
	}
	return ready
}

// overdue takes out the events whose deadline has passed, all for a zero time.
func (h *Hold) overdue(now time.Time) []*held {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []*held
	for len(h.queue) > 0 {
		first := h.queue[0]
		if !first.left && !now.IsZero() && now.Before(first.deadline) {
			break
		}
		h.queue[0] = nil
		h.queue = h.queue[1:]
		if first.left {
			continue
		}
		out = append(out, first)
		h.drop(first)
	}
	return out
}

// drop takes the event, the oldest of its pod, out of the pod's.
func (h *Hold) drop(entry *held) {
	h.count--
	pod := h.pods[entry.uid]
	pod.events = pod.events[1:]
	if len(pod.events) == 0 {
		delete(h.pods, entry.uid)
	}
}

func (h *Hold) untilNext(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.queue) == 0 {
		return h.opts.Max
	}
	return h.queue[0].deadline.Sub(now)
}

// pass completes the events once more, which is where foreign ones show, and hands them on.
func (h *Hold) pass(outcome string, events []*held) {
	for _, entry := range events {
		switch h.finish(entry.e, entry.deliver) {
		case Foreign:
			h.outcome.WithLabelValues(outcomeForeign).Inc()
		case ContainerUnknown:
			counted := outcome
			if outcome == outcomeTimeout {
				h.opts.Resolver.giveUp(entry.e)
				counted = outcomeContainer
			}
			h.outcome.WithLabelValues(counted).Inc()
		case Completed, PodUnknown:
			h.outcome.WithLabelValues(outcome).Inc()
		}
	}
}
