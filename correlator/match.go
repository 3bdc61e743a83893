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

// keepCandidates bounds the room for candidates that is kept from one delivery to the next.
const keepCandidates = 4096

// matcher is the stateless half: the terms of all rules, linked so that an event
// is held against them together.
type matcher struct {
	metrics *metrics
	guard   *guard
	enforce Enforce
	// terms are those of all rules, rule by rule; set has their stages by the same indices.
	terms []*term
	set   *program.Set
	// denying are the terms of rules that deny requests at admission.
	denying []*term
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
	// join is the same number for terms that join by the same fields.
	join int
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
	// joins are the keys of the event, by the terms' join.
	joins []keys
	// candidates are those of a delivery so far.
	candidates []bus.Candidate
}

// keys are an event's for terms that join by the same fields, once they are known.
type keys struct {
	keys    []string
	dropped int
	known   bool
}

func newMatcher(o Options, g *guard, m *metrics) *matcher {
	x := &matcher{metrics: m, guard: g, enforce: o.enforce(), terms: make([]*term, 0, 2*o.Rules.Len())}
	for _, r := range o.Rules.All() {
		x.terms = append(x.terms, termsOf(r, versionOf(r, o.MaxSpan))...)
	}
	for _, t := range x.terms {
		if t.denies() {
			x.denying = append(x.denying, t)
		}
	}
	stages := make([]*program.Stage, len(x.terms))
	var joins []*program.Stage
	for i, t := range x.terms {
		stages[i] = t.stage
		if t.join = slices.IndexFunc(joins, t.stage.JoinsLike); t.join < 0 {
			t.join = len(joins)
			joins = append(joins, t.stage)
		}
	}
	x.set = program.NewSet(stages, linking(o.Schema))
	x.scratch.New = func() any {
		return &scratch{record: o.Schema.NewRecord(), memo: x.set.NewMemo(), joins: make([]keys, len(joins))}
	}
	return x
}

// linking sorts events by the fields that nearly every rule asks for. Fields
// that are made on demand cost a search at best, and the parsing of a request's
// object at worst: they are read last.
func linking(schema *field.Schema) program.SetOptions {
	fixed := len(schema.Fields())
	o := program.SetOptions{Costly: func(slot int) bool { return slot >= fixed }}
	for _, name := range []string{"event.category", "event.type", "event.action", "event.dataset", "data_stream.dataset", "host.os.type",
		"kubernetes.audit.verb", "kubernetes.audit.stage"} {
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

// deliver returns the candidates of a delivery of events, and notes what it took.
func (x *matcher) deliver(events []*event.Event) []bus.Candidate {
	start := time.Now()
	var count [kinds]int
	for _, e := range events {
		count[kindIndex(e.Kind)]++
	}
	candidates := x.match(events)
	spent := time.Since(start)
	x.metrics.matched(count, spent)
	x.guard.delivery(len(events), spent)
	return candidates
}

// match returns the candidates of events, those of one event together.
func (x *matcher) match(events []*event.Event) []bus.Candidate {
	s := x.scratch.Get().(*scratch) // the pool makes nothing else
	for _, e := range events {
		x.matchOne(s, e)
	}
	// A copy: the scratch's own list has grown to its size long ago.
	candidates := slices.Clone(s.candidates)
	s.forget()
	x.scratch.Put(s)
	return candidates
}

// forget makes room for the next delivery's candidates.
func (s *scratch) forget() {
	clear(s.candidates)
	s.candidates = s.candidates[:0]
	if cap(s.candidates) > keepCandidates {
		s.candidates = nil
	}
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

// matchOne appends the candidates of one event to the scratch's, in the order of the terms.
func (x *matcher) matchOne(s *scratch, e *event.Event) {
	s.record.Reset(e)
	s.timed = x.guard.timing()
	s.matched = s.matched[:0]
	x.gather(s)
	for next := 0; next < len(s.question); {
		next = x.evaluate(s, next)
	}
	if len(s.matched) > 0 {
		slices.Sort(s.matched)
		for i := range s.joins {
			s.joins[i].known = false
		}
		for next := 0; next < len(s.matched); {
			next = x.hits(s, next)
		}
	}
	x.metrics.drop(dropUnread, s.record.Unread())
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
func (x *matcher) hits(s *scratch, next int) (after int) {
	after = next
	defer func() {
		if problem := recover(); problem != nil {
			x.guard.panicked(x.terms[s.matched[after]].rule.Name, problem)
			after++
		}
	}()
	for ; after < len(s.matched); after++ {
		x.hit(s, x.terms[s.matched[after]])
	}
	return after
}

func (x *matcher) hit(s *scratch, t *term) {
	if s.timed {
		defer x.time(t.rule, time.Now())
	}
	e := s.record.Event()
	if t.positive && t.rule.Excepts(s.record, e.Time) {
		return
	}
	c := bus.Candidate{Rule: t.rule.Name, Version: t.version, Event: e}
	if t.single {
		e.Identify()
		c.Key = requestOf(e)
		s.candidates = append(s.candidates, c)
		return
	}
	keys := x.keys(s, t)
	for _, c.Stage = range t.indices {
		for _, c.Key = range keys {
			s.candidates = append(s.candidates, c)
		}
	}
}

// keys returns the keys by which the event joins in a term. Those of terms that
// join by the same fields are made once.
func (x *matcher) keys(s *scratch, t *term) []string {
	made := &s.joins[t.join]
	if !made.known {
		x.makeKeys(s, t, made)
	}
	x.metrics.drop(dropKeys, made.dropped)
	return made.keys
}

// makeKeys makes the keys of the event, without repetition. An ambiguous pod
// joins as each of its candidates, too.
func (x *matcher) makeKeys(s *scratch, t *term, made *keys) {
	made.keys, made.dropped = t.stage.Keys(s.record, made.keys[:0])
	if candidates := ambiguous(s.record.Event()); len(candidates) > 0 {
		if beyond := len(candidates) - maxIdentities; beyond > 0 {
			made.dropped += beyond
			candidates = candidates[:maxIdentities]
		}
		for _, uid := range candidates {
			var dropped int
			s.record.WithPodUID(uid)
			made.keys, dropped = t.stage.Keys(s.record, made.keys)
			made.dropped += dropped
		}
		s.record.WithPodUID("")
		slices.Sort(made.keys)
		made.keys = slices.Compact(made.keys)
	}
	made.known = true
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
