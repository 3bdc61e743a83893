package main

import (
	"sync"
	"time"
)

// arrival is an act as it reached the server, with what a join by name would know of it.
type arrival struct {
	kind    kind
	name    string
	at      time.Time
	refused bool
	mark    string
}

// byName joins as is usual elsewhere: by the pod's name, in the order of arrival, within the span. It has
// the advantage of true times: no clock of its input is wrong.
type byName struct {
	chains []chain

	mu   sync.Mutex
	open map[string]map[string]arrival // by rule and name
	// made are the pairs of marks that it joined, by rule, with how often.
	made map[pair]int
}

type pair struct{ rule, first, done string }

func newByName(chains []chain) *byName {
	return &byName{chains: chains, open: map[string]map[string]arrival{}, made: map[pair]int{}}
}

// take takes what has arrived.
func (b *byName) take(a arrival) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.chains {
		open := b.open[c.rule]
		if open == nil {
			open = map[string]arrival{}
			b.open[c.rule] = open
		}
		if a.kind == c.first {
			open[a.name] = a
			continue
		}
		begun, ok := open[a.name]
		if !ok || a.kind != request || c.refused && !a.refused {
			continue
		}
		if d := a.at.Sub(begun.at); d >= 0 && d <= c.within {
			b.made[pair{c.rule, begun.mark, a.mark}]++
			delete(open, a.name)
		}
	}
	if a.kind == exec {
		b.made[pair{execRule, "", a.mark}]++
	}
}

// score holds what was joined against the truth. There is nothing to join in an exec: those count as right.
func (b *byName) score(want map[expected]bool, acts byMark) score {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := score{expected: len(want)}
	found := map[expected]bool{}
	for p, n := range b.made {
		s.made += n
		done := acts[p.done]
		e := expected{p.rule, done.pod.uid, p.done}
		if p.first != "" && acts[p.first].pod != done.pod || !want[e] {
			s.wrong += n
			continue
		}
		if found[e] {
			s.doubled++
		}
		s.doubled += n - 1
		found[e] = true
	}
	s.missed = len(want) - len(found)
	return s
}
