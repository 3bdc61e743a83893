package enforcement

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// The defaults of Limits.
const (
	DefaultPerRule = 20
	DefaultTotal   = 100
)

// window is the time over which the breaker counts.
const window = time.Hour

// Limits are how many new quarantines may be made within an hour, of any length; the defaults if zero.
type Limits struct {
	// PerRule is for each rule, Total for all together.
	PerRule, Total int
}

// Trip says that the breaker holds quarantines back.
type Trip struct {
	// Rule is the rule whose quarantine is held back, Total whether that is because of all rules together.
	Rule  string
	Total bool
	// Limit is how many are allowed within an hour, Until when there is room for one again.
	Limit int
	Until time.Time
}

// String is the reason as people read it.
func (t Trip) String() string {
	whose := fmt.Sprintf("rule %s", t.Rule)
	if t.Total {
		whose = "all rules together"
	}
	return fmt.Sprintf("the breaker is open: %s may make %d quarantines in an hour, there is room again from %s",
		whose, t.Limit, t.Until.UTC().Format("15:04:05 UTC"))
}

// breaker counts quarantines within the last hour. It has no lock and no clock of its own.
type breaker struct {
	limits Limits
	// rules are those that made some within the hour, or were held back; total is all of them together.
	rules map[string]*tally
	total tally
	// seeded is when the objects that were counted by seed were made, by rule and object.
	seeded map[[2]string]time.Time
}

// tally is when quarantines were made, oldest first.
type tally struct {
	made []time.Time
	// tripped is when it was told that there is no room, zero if one was made since.
	tripped time.Time
}

func newBreaker(l Limits) *breaker {
	return &breaker{limits: l, rules: map[string]*tally{}, seeded: map[[2]string]time.Time{}}
}

// take counts n new quarantines of the rule, all or none. If there is no room it says so, and whether that is news.
func (b *breaker) take(ruleName string, n int, now time.Time) (trip *Trip, news bool) {
	b.expire(now)
	own := b.of(ruleName)
	for _, t := range []struct {
		*tally
		limit int
		total bool
	}{{own, b.limits.PerRule, false}, {&b.total, b.limits.Total, true}} {
		if len(t.made)+n > t.limit {
			if news = t.tripped.IsZero(); news {
				t.tripped = now
			}
			return &Trip{Rule: ruleName, Total: t.total, Limit: t.limit, Until: t.room(n, t.limit, now)}, news
		}
	}
	for _, t := range []*tally{own, &b.total} {
		t.tripped = time.Time{}
		for range n {
			t.made = append(t.made, now)
		}
	}
	return nil, false
}

// room is when n fit again.
func (t *tally) room(n, limit int, now time.Time) time.Time {
	i := len(t.made) + n - limit - 1
	if i < 0 || i >= len(t.made) { // n are more than there ever is room for
		return now.Add(window)
	}
	return t.made[i].Add(window)
}

func (b *breaker) of(ruleName string) *tally {
	t := b.rules[ruleName]
	if t == nil {
		t = &tally{}
		b.rules[ruleName] = t
	}
	return t
}

// expire forgets what is older than the hour.
func (b *breaker) expire(now time.Time) {
	b.total.expire(now)
	for name, t := range b.rules {
		if t.expire(now); len(t.made) == 0 && t.tripped.IsZero() {
			delete(b.rules, name)
		}
	}
	maps.DeleteFunc(b.seeded, func(_ [2]string, at time.Time) bool { return now.Sub(at) >= window })
}

func (t *tally) expire(now time.Time) {
	old := func(at time.Time) bool { return now.Sub(at) >= window }
	t.made = slices.DeleteFunc(t.made, old)
	if old(t.tripped) {
		t.tripped = time.Time{}
	}
}

// seed counts a quarantine that was made before. Several detections may have led to it.
func (b *breaker) seed(ruleName, object string, at, now time.Time) {
	key := [2]string{ruleName, object}
	if _, known := b.seeded[key]; known || now.Sub(at) >= window {
		return
	}
	b.seeded[key] = at
	for _, t := range []*tally{b.of(ruleName), &b.total} {
		t.made = append(t.made, at)
		slices.SortFunc(t.made, time.Time.Compare)
	}
}

// open is how many have held quarantines back since they last let one through, within the hour.
func (b *breaker) open(now time.Time) int {
	b.expire(now)
	n := 0
	for _, t := range b.rules {
		if !t.tripped.IsZero() {
			n++
		}
	}
	if !b.total.tripped.IsZero() {
		n++
	}
	return n
}
