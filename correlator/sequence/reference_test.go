package sequence

import (
	"slices"
	"strings"
	"time"
)

// This file is the slow and obvious matcher that the engine is compared with.
// It is written from the language's definition, on sorted events with lists of
// partial sequences, and shares no code with the engine.

// refMatch is a match by what identifies its hits.
type refMatch struct {
	key  string
	hits []string // "stage@time/request"
}

type refEvent struct {
	time    time.Time
	request string
	stages  map[int]bool
}

func (a refEvent) before(b refEvent) bool {
	if !a.time.Equal(b.time) {
		return a.time.Before(b.time)
	}
	return a.request < b.request
}

type refPartial []refEvent

func (p refPartial) last() refEvent { return p[len(p)-1] }

// reference returns every match of the hits, whatever their order.
func reference(spec Spec, hits []Hit) []refMatch {
	var matches []refMatch
	for key, events := range refEvents(hits) {
		for _, chain := range refChains(spec, events) {
			if !refForbidden(spec, chain, events) {
				matches = append(matches, refMatch{key, refNames(spec, chain)})
			}
		}
	}
	return matches
}

// refEvents groups hits by key, merges the hits of one request, and sorts.
func refEvents(hits []Hit) map[string][]refEvent {
	grouped := map[string][]refEvent{}
	for _, h := range hits {
		request := h.Request
		if request == "" {
			request = h.ID
		}
		events := grouped[h.Key]
		i := slices.IndexFunc(events, func(e refEvent) bool { return e.time.Equal(h.Time) && e.request == request })
		if i < 0 {
			i = len(events)
			events = append(events, refEvent{h.Time, request, map[int]bool{}})
		}
		events[i].stages[h.Stage] = true
		grouped[h.Key] = events
	}
	for _, events := range grouped {
		slices.SortFunc(events, func(a, b refEvent) int {
			if a.before(b) {
				return -1
			}
			return 1
		})
	}
	return grouped
}

// refChains plays the sorted events of one key through the positive stages.
func refChains(spec Spec, events []refEvent) []refPartial {
	var positive []int
	for i, s := range spec.Stages {
		if !s.Negated {
			positive = append(positive, i)
		}
	}
	waiting := make([][]refPartial, len(positive)) // complete up to and with that stage
	for _, e := range events {
		var grown = make([]refPartial, len(positive))
		for p, stage := range positive {
			if !e.stages[stage] {
				continue
			}
			if p == 0 {
				grown[p] = refPartial{e}
				continue
			}
			newest := -1
			for i, partial := range waiting[p-1] {
				if partial.last().before(e) && (newest < 0 || waiting[p-1][newest].last().before(partial.last())) {
					newest = i
				}
			}
			if newest < 0 {
				continue
			}
			taken := waiting[p-1][newest]
			waiting[p-1] = slices.DeleteFunc(waiting[p-1], func(other refPartial) bool {
				return !taken.last().before(other.last())
			})
			if e.time.Sub(taken[0].time) > spec.MaxSpan || refEnded(spec, taken, e, events) {
				continue
			}
			grown[p] = append(slices.Clone(taken), e)
		}
		for p, partial := range grown {
			if partial != nil {
				waiting[p] = append(waiting[p], partial)
			}
		}
	}
	return waiting[len(waiting)-1]
}

// refEnded looks for the latest Until before the hit and asks whether it is at
// or after the partial's last event.
func refEnded(spec Spec, partial refPartial, hit refEvent, events []refEvent) bool {
	if !spec.Until {
		return false
	}
	ended := false
	for _, e := range events {
		if e.stages[Until] && e.before(hit) {
			ended = !e.before(partial.last())
		}
	}
	return ended
}

// refForbidden looks for a hit of any negated stage in that stage's window.
func refForbidden(spec Spec, chain refPartial, events []refEvent) bool {
	for stage, s := range spec.Stages {
		if !s.Negated {
			continue
		}
		before, after := 0, 0 // positive stages on either side
		for i, other := range spec.Stages {
			if !other.Negated && i < stage {
				before++
			}
			if !other.Negated && i > stage {
				after++
			}
		}
		for _, e := range events {
			if !e.stages[stage] {
				continue
			}
			var inside bool
			switch {
			case before == 0:
				inside = e.before(chain[0]) && !e.time.Before(chain.last().time.Add(-spec.MaxSpan))
			case after == 0:
				inside = chain.last().before(e) && !e.time.After(chain[0].time.Add(spec.MaxSpan))
			default:
				inside = chain[before-1].before(e) && e.before(chain[before])
			}
			if inside {
				return true
			}
		}
	}
	return false
}

func refNames(spec Spec, chain refPartial) []string {
	var names []string
	i := 0
	for stage, s := range spec.Stages {
		if !s.Negated {
			names = append(names, hitName(stage, chain[i].time, chain[i].request))
			i++
		}
	}
	return names
}

func (m refMatch) String() string { return m.key + ": " + strings.Join(m.hits, " ") }
