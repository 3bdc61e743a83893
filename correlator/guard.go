package correlator

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// When a rule counts as slow. Evaluation takes well under a microsecond per
// rule; these are so far from it that only a rule which eats a core comes near,
// and not a machine that is merely busy.
const (
	slowDelivery = 50 * time.Millisecond // plus slowEvent for each event
	slowEvent    = 5 * time.Millisecond
	slowRule     = 50 * time.Millisecond
	slowStrikes  = 5
	timedEvents  = 256
	suspension   = time.Minute
)

// guard keeps a rule that misbehaves from taking the others down. Go cannot
// stop a function that runs; so after a slow delivery the rules are timed one by
// one for a while, and one that is slow again and again is suspended.
type guard struct {
	metrics *metrics
	logger  *slog.Logger
	clock   func() time.Time
	// timed is how many more events are timed rule by rule.
	timed atomic.Int64
	// suspended counts the suspended rules, to look at the map only if there are any.
	suspended atomic.Int64

	mutex   sync.Mutex
	strikes map[string]int
	until   map[string]time.Time
}

func newGuard(o Options, m *metrics) *guard {
	return &guard{metrics: m, logger: o.Logger, clock: o.Clock, strikes: map[string]int{}, until: map[string]time.Time{}}
}

// panicked notes that a rule panicked on an event. What it panicked with may
// hold what an attacker wrote; slog's handlers quote it.
func (g *guard) panicked(rule string, problem any) {
	g.metrics.failures.WithLabelValues(rule, "panic").Inc()
	g.logger.Error("rule panicked on an event, the event counts as no hit of it", "rule", rule, "panic", fmt.Sprint(problem))
}

// allRules stands for a rule's name where it is not known whose fault it is.
const allRules = "*"

// panickedTogether notes that something panicked that rules share.
func (g *guard) panickedTogether(problem any) {
	g.metrics.failures.WithLabelValues(allRules, "panic").Inc()
	g.logger.Error("rules panicked together on an event, each is evaluated alone for it", "panic", fmt.Sprint(problem))
}

// delivery notes how long a delivery of events took.
func (g *guard) delivery(events int, spent time.Duration) {
	if spent > slowDelivery+time.Duration(events)*slowEvent {
		g.timed.Store(timedEvents)
	}
}

// timing reports whether this event is to be timed rule by rule.
func (g *guard) timing() bool {
	if g.timed.Load() <= 0 {
		return false
	}
	g.timed.Add(-1)
	return true
}

// spent notes how long a rule took for an event.
func (g *guard) spent(rule string, d time.Duration) {
	if d < slowRule {
		return
	}
	g.metrics.failures.WithLabelValues(rule, "slow").Inc()
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.strikes[rule]++
	if g.strikes[rule] < slowStrikes {
		return
	}
	if _, already := g.until[rule]; !already {
		g.suspended.Add(1)
		g.metrics.suspended.Inc()
	}
	delete(g.strikes, rule)
	g.until[rule] = g.clock().Add(suspension)
	g.logger.Error("rule is too slow and is suspended, its detections are missing meanwhile",
		"rule", rule, "event", d, "for", suspension)
}

// forget lifts what a rule was charged with: it is another one now.
func (g *guard) forget(rule string) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	delete(g.strikes, rule)
	if _, ok := g.until[rule]; ok {
		delete(g.until, rule)
		g.suspended.Add(-1)
		g.metrics.suspended.Dec()
	}
}

// isSuspended reports whether a rule is to be left out.
func (g *guard) isSuspended(rule string) bool {
	if g.suspended.Load() == 0 {
		return false
	}
	g.mutex.Lock()
	defer g.mutex.Unlock()
	end, ok := g.until[rule]
	if ok && !g.clock().Before(end) {
		delete(g.until, rule)
		g.suspended.Add(-1)
		g.metrics.suspended.Dec()
		g.logger.Info("rule is in force again after its suspension", "rule", rule)
		ok = false
	}
	return ok
}
