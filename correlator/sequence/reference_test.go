package sequence

import (
	"slices"
	"strings"
	"time"
)

// This file is the slow and obvious matcher that the engine is compared with. It is
// written from the definition in the package's documentation: it has all events, looks
// at every one of them for everything, makes every possible chain and takes the
// newest. It shares no code with the engine.

// refMatch is a match by what identifies its hits.
type refMatch struct {
	key  string
	hits []string // "stage@time/request"
}

func (m refMatch) String() string { return m.key + ": " + strings.Join(m.hits, " ") }

type refEvent struct {
	time      time.Time
	request   string
	source    string
	tolerance time.Duration
	stages    map[int]bool
}

// before is the order by the clocks.
func (a *refEvent) before(b *refEvent) bool {
	if !a.time.Equal(b.time) {
		return a.time.Before(b.time)
	}
	return a.request < b.request
}

// doubt is how far their times may be wrong against each other.
func (a *refEvent) doubt(b *refEvent) time.Duration {
	if a.source == b.source {
		return 0
	}
	return a.tolerance + b.tolerance
}

// mayPrecede: a may have happened before b.
func (a *refEvent) mayPrecede(b *refEvent) bool {
	switch {
	case a == b:
		return false
	case a.doubt(b) == 0:
		return a.before(b)
	default:
		return !a.time.After(b.time.Add(a.doubt(b)))
	}
}

// precedes: a happened before b, whatever their clocks.
func (a *refEvent) precedes(b *refEvent) bool { return a != b && !b.mayPrecede(a) }

// refSequence is the events of one key.
type refSequence struct {
	spec     Spec
	positive []int
	events   []*refEvent
	// chains[p][e] are all chains whose last event is e, a hit of the p-th positive stage.
	chains []map[*refEvent][][]*refEvent
}

// reference returns every match of the hits, whatever their order.
func reference(spec Spec, hits []Hit) []refMatch {
	var matches []refMatch
	for key, events := range refEvents(hits) {
		s := &refSequence{spec: spec, events: events}
		for i, stage := range spec.Stages {
			if !stage.Negated {
				s.positive = append(s.positive, i)
			}
		}
		for p := range s.positive {
			s.chains = append(s.chains, map[*refEvent][][]*refEvent{})
			for _, e := range events {
				if chains := s.chainsTo(p, e); len(chains) > 0 {
					s.chains[p][e] = chains
				}
			}
		}
		for _, chains := range s.chains[len(s.positive)-1] {
			if chains = slices.DeleteFunc(s.inSpan(chains), s.forbidden); len(chains) > 0 {
				matches = append(matches, refMatch{key, s.names(slices.MaxFunc(chains, compareChains))})
			}
		}
	}
	return matches
}

// refEvents groups hits by key and merges the hits of one request.
func refEvents(hits []Hit) map[string][]*refEvent {
	grouped := map[string][]*refEvent{}
	for _, h := range hits {
		request := h.Request
		if request == "" {
			request = h.ID
		}
		events := grouped[h.Key]
		i := slices.IndexFunc(events, func(e *refEvent) bool { return e.time.Equal(h.Time) && e.request == request })
		if i < 0 {
			i = len(events)
			events = append(events, &refEvent{h.Time, request, h.Source, h.Tolerance, map[int]bool{}})
		}
		events[i].stages[h.Stage] = true
		grouped[h.Key] = events
	}
	return grouped
}

// chainsTo returns all chains whose last event is e, as a hit of the p-th positive stage.
func (s *refSequence) chainsTo(p int, e *refEvent) [][]*refEvent {
	if !e.stages[s.positive[p]] {
		return nil
	}
	if p == 0 {
		return [][]*refEvent{{e}}
	}
	var all [][]*refEvent
	for last, chains := range s.chains[p-1] {
		if !last.mayPrecede(e) || s.between(p, last, e) {
			continue
		}
		for _, chain := range chains {
			inOrder := !slices.ContainsFunc(chain, func(earlier *refEvent) bool { return !earlier.mayPrecede(e) })
			if inOrder {
				all = append(all, append(slices.Clone(chain), e))
			}
		}
	}
	if len(s.inSpan(all)) == 0 {
		return nil
	}
	return all // One that is too long here may do for a hit of another source.
}

// inSpan returns the chains that may be no longer than MaxSpan.
func (s *refSequence) inSpan(chains [][]*refEvent) (short [][]*refEvent) {
	for _, chain := range chains {
		first, last := chain[0], chain[len(chain)-1]
		if last.time.Sub(first.time)-last.doubt(first) <= s.spec.MaxSpan {
			short = append(short, chain)
		}
	}
	return short
}

// between: there is for sure something between a partial and a hit of the p-th positive
// stage that parts them: a hit of the same stage, a newer partial, or an until.
func (s *refSequence) between(p int, partial, hit *refEvent) bool {
	for _, e := range s.events {
		if !e.precedes(hit) {
			continue
		}
		_, isPartial := s.chains[p-1][e]
		if partial.precedes(e) && (e.stages[s.positive[p]] || isPartial || e.stages[Until]) || e == partial && e.stages[Until] {
			return true
		}
	}
	return false
}

// compareChains orders chains by their events, the last first.
func compareChains(a, b []*refEvent) int {
	for i := len(a) - 1; i >= 0; i-- {
		switch {
		case a[i].before(b[i]):
			return -1
		case b[i].before(a[i]):
			return 1
		}
	}
	return 0
}

// forbidden looks for a hit of any negated stage that lies in that stage's window for sure.
func (s *refSequence) forbidden(chain []*refEvent) bool {
	first, last := chain[0], chain[len(chain)-1]
	for stage, term := range s.spec.Stages {
		if !term.Negated {
			continue
		}
		before := 0 // positive stages
		for _, p := range s.positive {
			if p < stage {
				before++
			}
		}
		for _, e := range s.events {
			if !e.stages[stage] {
				continue
			}
			var inside bool
			switch before {
			case 0:
				inside = e.precedes(first) && last.time.Sub(e.time)+last.doubt(e) <= s.spec.MaxSpan
			case len(chain):
				inside = last.precedes(e) && e.time.Sub(first.time)+first.doubt(e) <= s.spec.MaxSpan
			default:
				inside = chain[before-1].precedes(e) && e.precedes(chain[before])
			}
			if inside {
				return true
			}
		}
	}
	return false
}

func (s *refSequence) names(chain []*refEvent) []string {
	names := make([]string, 0, len(s.positive))
	for i, stage := range s.positive {
		names = append(names, hitName(stage, chain[i].time, chain[i].request))
	}
	return names
}
