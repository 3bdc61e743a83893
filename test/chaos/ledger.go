package main

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// story is what happened in a pod, and what must come of it.
type story struct {
	plot plot
	pod  *pod
	// mark is in its completing event, and so in its detections.
	mark string
	acts []act
	// rules are those that must detect it, once each.
	rules []string
	begun time.Time
	// atRisk: some of it was in a store that was damaged on purpose.
	atRisk bool
	// late: the server heard of it only after more time than it waits for.
	late bool
	// forgotten: it was detected, and the record of that was damaged on purpose.
	forgotten bool
}

func (s *story) expect(rule string) { s.rules = append(s.rules, rule) }

// tooLate reports whether a rule need not detect it, since what it needs may have been refused.
func (s *story) tooLate(rule string) bool { return s.late && brief(rule) }

// due reports whether a rule must detect it.
func (s *story) due(rule string) bool { return !s.atRisk && !s.tooLate(rule) }

// happening is a detection: of a rule, and what completed it.
type happening struct{ rule, mark string }

// ledger knows what happened. It may be used concurrently.
type ledger struct {
	mu      sync.Mutex
	stories map[string]*story // by mark
	// unsent is when parts were written that are not acknowledged yet.
	unsent map[int]time.Time
	parts  int
	// slowest is the longest that one took.
	slowest time.Duration
	// sent counts events that were acknowledged, by what they are.
	sent map[string]int
}

func newLedger() *ledger {
	return &ledger{stories: map[string]*story{}, unsent: map[int]time.Time{}, sent: map[string]int{}}
}

func (l *ledger) add(s *story) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stories[s.mark] = s
}

// begin notes that something is on its way that was written at the time. The function that it returns notes that it has arrived.
func (l *ledger) begin(written time.Time) (arrived func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parts++
	part := l.parts
	l.unsent[part] = written
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.slowest = max(l.slowest, time.Since(written))
		delete(l.unsent, part)
	}
}

// oldest is how long something has been on its way that has been for longest.
func (l *ledger) oldest() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var oldest time.Duration
	for _, written := range l.unsent {
		oldest = max(oldest, time.Since(written))
	}
	return oldest
}

// longest is the longest that anything has been on its way.
func (l *ledger) longest() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.slowest
}

// underWay is how much is.
func (l *ledger) underWay() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.unsent)
}

func (l *ledger) count(what string, events int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[what] += events
}

func (l *ledger) counts() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.sent)
}

// risk marks the stories that are not made yet: what the store has of them is about to be damaged.
func (l *ledger) risk(made map[happening]bool) int {
	n := 0
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.stories {
		if !s.atRisk && slices.ContainsFunc(s.rules, func(r string) bool { return s.due(r) && !made[happening{r, s.mark}] }) {
			s.atRisk = true
			n++
		}
	}
	return n
}

// forget marks the stories that are made: the record of that is about to be damaged.
func (l *ledger) forget(made map[happening]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.stories {
		s.forgotten = s.forgotten || slices.ContainsFunc(s.rules, func(r string) bool { return made[happening{r, s.mark}] })
	}
}

// overdue marks the stories that are not made yet: the server will hear of them too late.
func (l *ledger) overdue(made map[happening]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.stories {
		s.late = s.late || slices.ContainsFunc(s.rules, func(r string) bool { return s.due(r) && !made[happening{r, s.mark}] })
	}
}

// refused is how many detections were not made since the server heard of their events too late.
func (l *ledger) refused(made map[happening]bool) int {
	n := 0
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.stories {
		for _, r := range s.rules {
			if s.tooLate(r) && !made[happening{r, s.mark}] {
				n++
			}
		}
	}
	return n
}

// all returns every story.
func (l *ledger) all() []*story {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.stories))
}

// missing are the detections that are still to be made.
func (l *ledger) missing(made map[happening]bool) []happening {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []happening
	for _, s := range l.stories {
		for _, r := range s.rules {
			if h := (happening{r, s.mark}); !made[h] && s.due(r) {
				out = append(out, h)
			}
		}
	}
	return out
}
