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

// matcher is the stateless half: the terms of all rules, linked so that an event
// is held against them together.
type matcher struct {
	metrics *metrics
	guard   *guard
	// terms are those of all rules, rule by rule; set has their stages by the same indices.
	terms []*term
	set   *program.Set
	// scratch are *scratch, so that matching allocates for candidates only.
	scratch sync.Pool
}

// term is one distinct stage of a rule.
type term struct {
	rule    *rule.Rule
	version uint64
	stage   *program.Stage
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
	memo   *program.Memo
	// in question are the indices of the terms that an event may match, matched
	// of those that it does.
	question, matched []int32
	// alone: terms are evaluated one by one, without what they share.
	alone bool
	// timed: besides, each is timed.
	timed bool
	keys  []string
}

func newMatcher(o Options, g *guard, m *metrics) *matcher {
	x := &matcher{metrics: m, guard: g, terms: make([]*term, 0, 2*o.Rules.Len())}
	for _, r := range o.Rules.All() {
		x.terms = append(x.terms, termsOf(r, versionOf(r, o.MaxSpan))...)
	}
	stages := make([]*program.Stage, len(x.terms))
	for i, t := range x.terms {
		stages[i] = t.stage
	}
	x.set = program.NewSet(stages, linking(o.Schema))
	x.scratch.New = func() any { return &scratch{record: o.Schema.NewRecord(), memo: x.set.NewMemo()} }
	return x
}

// linking sorts events by the fields that nearly every rule asks for. Fields
// that are made on demand cost a search at best, and the parsing of a request's
// object at worst: they are read last.
func linking(schema *field.Schema) program.SetOptions {
	fixed := len(schema.Fields())
	o := program.SetOptions{Costly: func(slot int) bool { return slot >= fixed }}
	for _, name := range []string{"event.category", "event.type", "event.action", "event.dataset", "data_stream.dataset", "host.os.type"} {
		if f, ok := schema.Lookup(name); ok {
			o.Buckets = append(o.Buckets, f.Slot)
		}
	}
	return o
}

// termsOf returns the distinct stages of a rule, last first, until at the end.
func termsOf(r *rule.Rule, version uint64) []*term {
	var terms []*term
	stages := r.Program.Stages()
	for i := len(stages) - 1; i >= 0; i-- {
		same := slices.IndexFunc(terms, func(t *term) bool { return t.stage == stages[i] })
		if same < 0 {
			same = len(terms)
			terms = append(terms, &term{rule: r, version: version, stage: stages[i], single: !r.Program.IsSequence(), positive: !stages[i].Negated()})
		}
		terms[same].indices = append(terms[same].indices, i)
	}
	if until := r.Program.Until(); until != nil {
		terms = append(terms, &term{rule: r, version: version, stage: until, indices: []int{sequence.Until}})
	}
	return terms
}

// match returns the candidates of a delivery of events.
func (x *matcher) match(events []*event.Event) []bus.Candidate {
	start := time.Now()
	var candidates []bus.Candidate
	var count [kinds]int
	for _, e := range events {
		count[kindIndex(e.Kind)]++
		candidates = x.matchOne(e, candidates)
	}
	spent := time.Since(start)
	x.metrics.matched(count, spent)
	x.guard.delivery(len(events), spent)
	return candidates
}

// own makes the events of candidates, of which those of one stand together, ones
// that may be kept.
func own(candidates []bus.Candidate) {
	var last, kept *event.Event
	for i := range candidates {
		if e := candidates[i].Event; e != last {
			last, kept = e, e.Own()
		}
		candidates[i].Event = kept
	}
}

// matchOne appends the candidates of one event, in the order of the terms.
func (x *matcher) matchOne(e *event.Event, candidates []bus.Candidate) []bus.Candidate {
	s := x.scratch.Get().(*scratch) // the pool makes nothing else
	defer x.scratch.Put(s)
	s.record.Reset(e)
	s.timed = x.guard.timing()
	s.matched = s.matched[:0]
	x.gather(s)
	for next := 0; next < len(s.question); {
		next = x.evaluate(s, next)
	}
	if len(s.matched) > 0 {
		slices.Sort(s.matched)
		for next := 0; next < len(s.matched); {
			next, candidates = x.hits(s, next, candidates)
		}
	}
	x.metrics.drop(dropUnread, s.record.Unread())
	return candidates
}

// gather finds the terms that come into question. If a rule makes that panic, or
// rules are to be timed, all do, and each is evaluated alone: that tells which
// rule it was, and leaves the others in force.
func (x *matcher) gather(s *scratch) {
	s.alone = s.timed
	defer func() {
		if problem := recover(); problem != nil {
			x.guard.panickedTogether(problem)
			s.alone = true
		}
		if s.alone {
			s.question = s.question[:0]
			for i := range x.terms {
				s.question = append(s.question, int32(i))
			}
		}
	}()
	s.question = s.question[:0]
	if !s.alone {
		s.memo.Reset(s.record)
		s.question = append(s.question, s.memo.Candidates()...)
	}
}

// evaluate evaluates the terms in question from next on. After a panic it returns
// the place to go on at; one deferred call per event is cheaper than one per term.
func (x *matcher) evaluate(s *scratch, next int) (after int) {
	after = next
	defer func() {
		if problem := recover(); problem != nil {
			x.guard.panicked(x.terms[s.question[after]].rule.Name, problem)
			after++
		}
	}()
	for ; after < len(s.question); after++ {
		i := s.question[after]
		if t := x.terms[i]; !x.guard.isSuspended(t.rule.Name) && x.matches(s, i, t) {
			s.matched = append(s.matched, i)
		}
	}
	return after
}

func (x *matcher) matches(s *scratch, i int32, t *term) bool {
	if !s.alone {
		return s.memo.Match(int(i))
	}
	if s.timed {
		defer x.time(t.rule, time.Now())
	}
	return t.stage.Match(s.record)
}

func (x *matcher) time(r *rule.Rule, start time.Time) { x.guard.spent(r.Name, time.Since(start)) }

// hits appends a candidate for each place and key of the terms that match, from
// next on, as evaluate does.
func (x *matcher) hits(s *scratch, next int, candidates []bus.Candidate) (after int, out []bus.Candidate) {
	after, out = next, candidates
	defer func() {
		if problem := recover(); problem != nil {
			x.guard.panicked(x.terms[s.matched[after]].rule.Name, problem)
			after++
		}
	}()
	for ; after < len(s.matched); after++ {
		out = x.hit(s, x.terms[s.matched[after]], out)
	}
	return after, out
}

func (x *matcher) hit(s *scratch, t *term, candidates []bus.Candidate) []bus.Candidate {
	if s.timed {
		defer x.time(t.rule, time.Now())
	}
	e := s.record.Event()
	if t.positive && t.rule.Excepts(s.record, e.Time) {
		return candidates
	}
	c := bus.Candidate{Rule: t.rule.Name, Version: t.version, Event: e}
	if t.single {
		e.Identify()
		c.Key = requestOf(e)
		return append(candidates, c)
	}
	x.keys(s, t)
	for _, c.Stage = range t.indices {
		for _, c.Key = range s.keys {
			candidates = append(candidates, c)
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
