package program

import (
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/portcullis-dev/portcullis/eql/value"
)

// Set is the stages of many programs, linked so that one event costs little more
// for a thousand rules than for one. All programs must have been compiled with
// the same schema.
//
// Rules repeat each other: most ask for the same category, dataset and action.
// What an event has in these few fields puts it into a bucket, and each bucket
// has stages of its own: those that can still match, with what is decided
// already left out. Buckets are linked when the first event falls into them; see
// bucket for how an event is then held against what is left.
//
// A Set is safe for concurrent use; a Memo is not.
type Set struct {
	stages []*Stage
	trees  []*node
	costly func(slot int) bool

	// sorted are the tables of the fields that sort events into buckets, slots these fields.
	sorted []table
	slots  []int
	// facts numbers the predicates of these fields, by name.
	facts map[string]int
	// linked are the buckets so far; linking adds to a copy.
	linked  atomic.Pointer[buckets]
	linking sync.Mutex
}

// buckets are found by which facts hold for an event.
type buckets struct {
	bySignature map[signature]*bucket
	// rest is for events that would be sorted into more buckets than there may
	// be: nothing is decided in it. It is nil until there are so many.
	rest *bucket
}

// SetOptions configure a Set. The zero SetOptions make a right one, of a single bucket.
type SetOptions struct {
	// Buckets are the slots of the fields by which events are sorted. They should
	// be those that nearly all rules compare with few values.
	Buckets []int
	// Costly reports of a slot whether reading it costs far more than comparing a
	// text. Such fields are read for events only of which all else fits.
	Costly func(slot int) bool
}

// signature says which facts hold for an event: one bit for each.
type signature [4]uint64

const (
	maxFacts = len(signature{}) * 64
	// maxBuckets bounds the memory. A cluster has about twenty.
	maxBuckets = 64
)

// NewSet links stages. A stage is known by its index from then on.
func NewSet(stages []*Stage, o SetOptions) *Set {
	s := &Set{stages: slices.Clone(stages), facts: map[string]int{}, costly: o.Costly}
	if s.costly == nil {
		s.costly = func(int) bool { return false }
	}
	for _, slot := range o.Buckets {
		s.sorted = append(s.sorted, table{slot: slot, rows: map[string][]int32{}})
	}
	for _, stage := range stages {
		tree := stage.tree()
		s.trees = append(s.trees, tree)
		s.learn(tree)
	}
	s.sorted = slices.DeleteFunc(s.sorted, func(t table) bool { return len(t.rows) == 0 })
	for i := range s.sorted {
		s.sorted[i].complete()
		s.slots = append(s.slots, s.sorted[i].slot)
	}
	s.linked.Store(&buckets{})
	return s
}

// Len returns how many stages there are.
func (s *Set) Len() int { return len(s.stages) }

// Stage returns the stage of that index.
func (s *Set) Stage(i int) *Stage { return s.stages[i] }

// tree returns all that makes an event a hit of the stage: category, condition,
// and fields to join by, since no event joins by a field that it does not have.
func (s *Stage) tree() *node {
	n := &node{op: opAll}
	if !s.any {
		n.of = append(n.of, &node{op: opPredicate, name: "category " + s.category, test: equal(s.slot, []string{s.category})})
	}
	for _, k := range s.keys {
		switch {
		case k.optional:
		case !k.known:
			return truth(false)
		default:
			n.of = append(n.of, &node{op: opPredicate, name: "joined by " + strconv.Itoa(k.slot), test: exists{k.slot}})
		}
	}
	n.of = append(n.of, s.node)
	return n
}

// learn makes facts of a tree's predicates that compare a sorting field.
func (s *Set) learn(n *node) {
	for _, x := range n.of {
		s.learn(x)
	}
	values := n.values()
	if len(values) == 0 || len(s.facts) == maxFacts {
		return
	}
	t := slices.IndexFunc(s.sorted, func(t table) bool { return t.slot == values[0].slot })
	if _, known := s.facts[n.name]; known || t < 0 {
		return
	}
	number := len(s.facts)
	s.facts[n.name] = number
	for _, v := range values {
		s.sorted[t].add(v.text, int32(number)) //nolint:gosec // below maxFacts
	}
}

// sort returns which facts hold for an event that has these values in the set's slots.
func (s *Set) sort(values []value.Value) (sig signature) {
	for i := range values {
		t, v := &s.sorted[i], &values[i]
		switch v.Kind() {
		case value.KindString:
			sig.set(t.of(v.Text()))
		case value.KindStrings:
			for _, text := range v.Texts() {
				sig.set(t.of(text))
			}
		default:
		}
	}
	return sig
}

func (sig *signature) set(facts []int32) {
	for _, f := range facts {
		sig[f/64] |= 1 << (f % 64)
	}
}

// has reports whether a fact holds.
func (sig *signature) has(fact int) bool { return sig[fact/64]&(1<<(fact%64)) != 0 }

// bucket returns the bucket of events of which these facts hold.
func (s *Set) bucket(sig signature) *bucket {
	if b := s.linked.Load().find(sig); b != nil {
		return b
	}
	s.linking.Lock()
	defer s.linking.Unlock()
	known := s.linked.Load()
	if b := known.find(sig); b != nil { // linked in the meantime
		return b
	}
	more := *known
	if len(known.bySignature) == maxBuckets {
		more.rest = s.link(maxBuckets, func(string) (truth, ok bool) { return false, false })
	} else {
		more.bySignature = maps.Clone(known.bySignature)
		if more.bySignature == nil {
			more.bySignature = map[signature]*bucket{}
		}
		more.bySignature[sig] = s.link(len(known.bySignature), func(name string) (truth, ok bool) {
			fact, ok := s.facts[name]
			return ok && sig.has(fact), ok
		})
	}
	s.linked.Store(&more)
	return more.find(sig)
}

func (b *buckets) find(sig signature) *bucket {
	if found := b.bySignature[sig]; found != nil {
		return found
	}
	return b.rest
}

// link links what is left of the stages.
func (s *Set) link(number int, decided func(name string) (truth, ok bool)) *bucket {
	trees := make([]*node, len(s.trees))
	for i, tree := range s.trees {
		trees[i] = tree.given(decided)
	}
	return newBucket(number, trees, s.costly)
}
