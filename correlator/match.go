package correlator

import (
	"slices"
	"sync"
	"time"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/correlator/sequence"
	"github.com/portcullis-dev/portcullis/eql/program"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
)

// maxIdentities bounds as how many pods an ambiguous pod joins.
const maxIdentities = 16

// matcher is the stateless half: rules as flat lists of terms to evaluate.
type matcher struct {
	metrics *metrics
	guard   *guard
	// byCategory has the terms for events of a category, those that take any
	// event included; uncategorised has the latter alone.
	byCategory    map[string][]*term
	uncategorised []*term
	// scratch are *scratch, so that matching allocates for candidates only.
	scratch sync.Pool
}

// term is one distinct stage of a rule.
type term struct {
	rule  *rule.Rule
	stage *program.Stage
	// indices are the places of the stage in the sequence, last first: that is
	// the order in which the engine takes the hits of one event cheaply.
	indices []int
	// single: the rule is no sequence.
	single bool
	// positive terms are subject to the rule's exceptions.
	positive bool
}

type scratch struct {
	record *field.Record
	keys   []string
}

func newMatcher(o Options, m *metrics) *matcher {
	x := &matcher{metrics: m, guard: newGuard(o, m), byCategory: map[string][]*term{}}
	x.scratch.New = func() any { return &scratch{record: o.Schema.NewRecord()} }
	all := make([]*term, 0, o.Rules.Len()*2)
	for _, r := range o.Rules.All() {
		all = append(all, termsOf(r)...)
	}
	for _, t := range all {
		if t.stage.Any() {
			x.uncategorised = append(x.uncategorised, t)
		} else {
			x.byCategory[t.stage.Category()] = nil
		}
	}
	for category := range x.byCategory {
		for _, t := range all {
			if t.stage.Any() || t.stage.Category() == category {
				x.byCategory[category] = append(x.byCategory[category], t)
			}
		}
	}
	return x
}

// termsOf returns the distinct stages of a rule, last first, until at the end.
func termsOf(r *rule.Rule) []*term {
	var terms []*term
	stages := r.Program.Stages()
	for i := len(stages) - 1; i >= 0; i-- {
		same := slices.IndexFunc(terms, func(t *term) bool { return t.stage == stages[i] })
		if same < 0 {
			same = len(terms)
			terms = append(terms, &term{rule: r, stage: stages[i], single: !r.Program.IsSequence(), positive: !stages[i].Negated()})
		}
		terms[same].indices = append(terms[same].indices, i)
	}
	if until := r.Program.Until(); until != nil {
		terms = append(terms, &term{rule: r, stage: until, indices: []int{sequence.Until}})
	}
	return terms
}

// match returns the candidates of a delivery of events.
func (x *matcher) match(events []*event.Event) []bus.Candidate {
	start := time.Now()
	var candidates []bus.Candidate
	for _, e := range events {
		x.metrics.events.WithLabelValues(e.Kind.String()).Inc()
		candidates = x.matchOne(e, candidates)
	}
	spent := time.Since(start)
	x.metrics.matching.Observe(spent.Seconds())
	x.guard.delivery(len(events), spent)
	return candidates
}

// matchOne appends the candidates of one event.
func (x *matcher) matchOne(e *event.Event, candidates []bus.Candidate) []bus.Candidate {
	s := x.scratch.Get().(*scratch) // the pool makes nothing else
	defer x.scratch.Put(s)
	s.record.Reset(e)
	terms := x.termsFor(e.Category)
	timed := x.guard.timing()
	for next := 0; next < len(terms); {
		next, candidates = x.evaluate(s, terms, next, timed, candidates)
	}
	x.metrics.drop(dropUnread, s.record.Unread())
	return candidates
}

// termsFor returns the terms that can match an event of these categories. The
// usual event has one category, or none.
func (x *matcher) termsFor(categories []string) []*term {
	var terms []*term
	for _, c := range categories {
		more := x.byCategory[c]
		switch {
		case terms == nil:
			terms = more
		case more != nil:
			terms = union(terms, more)
		}
	}
	if terms == nil {
		return x.uncategorised
	}
	return terms
}

// union merges two lists of terms without repeating any.
func union(a, b []*term) []*term {
	merged := slices.Clone(a)
	for _, t := range b {
		if !slices.Contains(a, t) {
			merged = append(merged, t)
		}
	}
	return merged
}

// evaluate evaluates terms from next on. After a panic it returns the term to
// go on with; one deferred call per event is cheaper than one per term.
func (x *matcher) evaluate(s *scratch, terms []*term, next int, timed bool, in []bus.Candidate) (after int, out []bus.Candidate) {
	after, out = next, in
	defer func() {
		if problem := recover(); problem != nil {
			x.guard.panicked(terms[after].rule.Name, problem)
			after++
		}
	}()
	for ; after < len(terms); after++ {
		t := terms[after]
		if x.guard.isSuspended(t.rule.Name) {
			continue
		}
		if !timed {
			out = x.hits(s, t, out)
			continue
		}
		start := time.Now()
		out = x.hits(s, t, out)
		x.guard.spent(t.rule.Name, time.Since(start))
	}
	return after, out
}

// hits appends a candidate for each place and key of a term that matches.
func (x *matcher) hits(s *scratch, t *term, candidates []bus.Candidate) []bus.Candidate {
	if !t.stage.Match(s.record) || (t.positive && t.rule.Excepts(s.record, s.record.Event().Time)) {
		return candidates
	}
	e := s.record.Event()
	if t.single {
		return append(candidates, bus.Candidate{Rule: t.rule.Name, Key: requestOf(e), Event: e})
	}
	x.keys(s, t)
	for _, index := range t.indices {
		for _, key := range s.keys {
			candidates = append(candidates, bus.Candidate{Rule: t.rule.Name, Stage: index, Key: key, Event: e})
		}
	}
	return candidates
}

// keys sets the scratch's keys to those of the event, without repetition. An
// ambiguous pod joins as each of its candidates, too.
func (x *matcher) keys(s *scratch, t *term) {
	var dropped int
	s.keys, dropped = t.stage.Keys(s.record, s.keys[:0])
	x.metrics.drop(dropKeys, dropped)
	candidates := ambiguous(s.record.Event())
	if len(candidates) == 0 {
		return
	}
	if beyond := len(candidates) - maxIdentities; beyond > 0 {
		x.metrics.drop(dropKeys, beyond)
		candidates = candidates[:maxIdentities]
	}
	for _, uid := range candidates {
		s.record.WithPodUID(uid)
		s.keys, dropped = t.stage.Keys(s.record, s.keys)
		x.metrics.drop(dropKeys, dropped)
	}
	s.record.WithPodUID("")
	slices.Sort(s.keys)
	s.keys = slices.Compact(s.keys)
}

// ambiguous returns the UIDs that the event's pod or caller may have.
func ambiguous(e *event.Event) []string {
	switch {
	case e.Pod.Confidence == event.Ambiguous:
		return e.Pod.Candidates
	case e.Audit != nil && e.Audit.Caller.Confidence == event.Ambiguous:
		return e.Audit.Caller.Candidates
	default:
		return nil
	}
}
