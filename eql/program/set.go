package program

import (
	"math"
	"slices"
	"strings"

	"github.com/portcullis-dev/portcullis/eql/pattern"
)

// Set is the stages of many programs, linked so that one event costs little more
// for a thousand rules than for one. All programs must have been compiled with
// the same schema.
//
// Rules repeat each other: most ask for the same host, category and action, and
// the same lists of shells. So each distinct predicate is evaluated at most once
// per event, however many stages have it; all comparisons of one field with
// constants are answered by one look into a table, and where many predicates
// have patterns for one field, all of these by one pass over its text. And most
// stages cannot match most events, since some predicate that they insist on is
// false: a stage is entered by the predicates of which it needs one (see access),
// and not looked at if all of them are false.
//
// A Set is immutable and safe for concurrent use; a Memo is not.
type Set struct {
	stages []*Stage
	// entries are where the code of each stage starts.
	entries []int32
	code    []branch
	tests   []test
	tables  []table
	scans   []scan
	// always are the stages that are entered for every event.
	always []int32
}

// branch evaluates a predicate and goes on at one of two places, which are
// indices of code or isTrue or isFalse.
type branch struct {
	test    int32
	yes, no int32
}

const (
	isTrue  = -1
	isFalse = -2
)

// test is a distinct predicate.
type test struct {
	cond cond
	// table or scan has the answer, if not negative.
	table, scan int32
	// stages are entered if the predicate is true.
	stages []int32
}

// table answers all predicates that compare one field with constant texts.
type table struct {
	slot int
	// rows has the predicates that are true for a text.
	rows map[string][]int32
	// enters says that some stage is entered by a predicate of the table.
	enters bool
}

// scan answers all predicates that have patterns for one field.
type scan struct {
	slot    int
	scanner *pattern.Scanner
	// tests has the predicate of each of the scanner's lists.
	tests []int32
	// enters says that some stage is entered by a predicate of the scan.
	enters bool
}

// scanFrom is how many predicates a scan is worth its while for: only those that
// are asked for would be evaluated without it.
const scanFrom = 8

// NewSet links stages. A stage is known by its index from then on.
func NewSet(stages []*Stage) *Set {
	l := &linker{set: &Set{stages: slices.Clone(stages)}, tests: map[string]int32{}, tables: map[int]int32{}, popular: map[fieldText]int{}}
	trees := make([]*node, len(stages))
	for i, s := range stages {
		trees[i] = s.tree()
		l.count(trees[i])
	}
	for _, tree := range trees {
		l.set.entries = append(l.set.entries, l.link(tree, isTrue, isFalse))
	}
	l.scan()
	for i, tree := range trees {
		l.enter(int32(i), tree)
	}
	return l.set
}

// Len returns how many stages there are.
func (s *Set) Len() int { return len(s.stages) }

// Stage returns the stage of that index.
func (s *Set) Stage(i int) *Stage { return s.stages[i] }

// tree returns the stage's whole condition, its category included.
func (s *Stage) tree() *node {
	if s.any {
		return s.node
	}
	category := &node{op: opPredicate, name: categoryName + s.category, test: equal(s.slot, []string{s.category})}
	return &node{op: opAll, of: []*node{category, s.node}}
}

// categoryName starts the names of predicates that no query can spell.
const categoryName = "category "

// linker builds a Set.
type linker struct {
	set    *Set
	tests  map[string]int32 // by name
	tables map[int]int32    // by slot
	// popular counts the predicates that compare with a value: what many stages
	// ask for is likely to be common in events, too.
	popular map[fieldText]int
}

// fieldText is a text in a field.
type fieldText struct {
	slot int
	text string
}

func (l *linker) count(n *node) {
	for _, v := range n.values() {
		l.popular[v]++
	}
	for _, x := range n.of {
		l.count(x)
	}
}

// values returns what a predicate compares with, nil if it does more than compare.
func (n *node) values() []fieldText {
	t, ok := n.test.(textTest)
	if !ok {
		return nil
	}
	out := make([]fieldText, 0, len(t.texts))
	for _, text := range t.texts {
		out = append(out, fieldText{t.slot, text})
	}
	return out
}

// link writes the code of a node that goes on at yes or at no, and returns where
// it starts. It writes the last step first.
func (l *linker) link(n *node, yes, no int32) int32 {
	switch n.op {
	case opTrue:
		return yes
	case opFalse:
		return no
	case opNot:
		return l.link(n.of[0], no, yes)
	case opAll:
		for _, x := range slices.Backward(n.of) {
			yes = l.link(x, yes, no)
		}
		return yes
	case opEither:
		for _, x := range slices.Backward(n.of) {
			no = l.link(x, yes, no)
		}
		return no
	default:
		l.set.code = append(l.set.code, branch{test: l.test(n), yes: yes, no: no})
		return int32(len(l.set.code) - 1) //nolint:gosec // there are not 2^31 predicates
	}
}

// test returns the number of a predicate, the same for all of the same text.
func (l *linker) test(n *node) int32 {
	if i, ok := l.tests[n.name]; ok {
		return i
	}
	i := int32(len(l.set.tests)) //nolint:gosec // there are not 2^31 predicates
	t := test{cond: n.test, table: -1, scan: -1}
	for _, v := range n.values() {
		t.table = l.table(v.slot)
		rows := l.set.tables[t.table].rows
		if !slices.Contains(rows[v.text], i) { // a list may repeat itself
			rows[v.text] = append(rows[v.text], i)
		}
	}
	l.set.tests = append(l.set.tests, t)
	l.tests[n.name] = i
	return i
}

// scan groups the predicates that have patterns by field and case.
func (l *linker) scan() {
	type group struct {
		slot int
		fold bool
	}
	groups := map[group][]int32{}
	var order []group
	for i := range l.set.tests {
		t, ok := l.set.tests[i].cond.(textTest)
		if !ok || t.patterns == nil {
			continue
		}
		g := group{t.slot, t.fold}
		if groups[g] == nil {
			order = append(order, g)
		}
		groups[g] = append(groups[g], int32(i))
	}
	for _, g := range order {
		if len(groups[g]) >= scanFrom {
			l.addScan(g.slot, g.fold, groups[g])
		}
	}
}

func (l *linker) addScan(slot int, fold bool, tests []int32) {
	lists := make([][]string, 0, len(tests))
	for _, i := range tests {
		lists = append(lists, l.set.tests[i].cond.(textTest).patterns)
	}
	scanner := pattern.NewScanner(lists, fold)
	if scanner == nil {
		return // too large: each is evaluated on its own
	}
	for _, i := range tests {
		l.set.tests[i].scan = int32(len(l.set.scans)) //nolint:gosec // there are not 2^31 fields
	}
	l.set.scans = append(l.set.scans, scan{slot: slot, scanner: scanner, tests: tests})
}

func (l *linker) table(slot int) int32 {
	if i, ok := l.tables[slot]; ok {
		return i
	}
	i := int32(len(l.set.tables)) //nolint:gosec // there are not 2^31 fields
	l.set.tables = append(l.set.tables, table{slot: slot, rows: map[string][]int32{}})
	l.tables[slot] = i
	return i
}

// enter notes by which predicates a stage is entered.
func (l *linker) enter(stage int32, tree *node) {
	tests, bounded := l.access(tree)
	if !bounded {
		l.set.always = append(l.set.always, stage)
		return
	}
	for _, i := range tests {
		t := &l.set.tests[i]
		if slices.Contains(t.stages, stage) {
			continue
		}
		t.stages = append(t.stages, stage)
		if t.table >= 0 {
			l.set.tables[t.table].enters = true
		} else {
			l.set.scans[t.scan].enters = true
		}
	}
}

// access returns predicates of which at least one is true wherever the node is.
// Of several such lists it takes the one that is likely to be so for the fewest
// events. It returns false if there is no such list, and none if the node is
// never true.
func (l *linker) access(n *node) (tests []int32, bounded bool) {
	switch n.op {
	case opFalse:
		return nil, true
	case opPredicate:
		i := l.test(n)
		t := l.set.tests[i]
		return []int32{i}, t.table >= 0 || t.scan >= 0
	case opAll:
		least := math.MaxInt
		for _, x := range n.of {
			if list, ok := l.access(x); ok && l.likely(list) < least {
				tests, bounded, least = list, true, l.likely(list)
			}
		}
		return tests, bounded
	case opEither:
		for _, x := range n.of {
			list, ok := l.access(x)
			if !ok {
				return nil, false
			}
			tests = append(tests, list...)
		}
		return tests, true
	default:
		return nil, false
	}
}

// likely says how likely an event is to make one of some predicates true, in no
// unit. Values that many rules name are common ones, such as linux. Of patterns
// nothing is known but that a pass over a text costs more than a look into a
// table, so that the latter is preferred unless it is for a common value.
func (l *linker) likely(tests []int32) int {
	sum := 0
	for _, i := range tests {
		t := l.set.tests[i].cond.(textTest)
		for _, text := range t.texts {
			sum += l.popular[fieldText{t.slot, text}]
		}
		for _, p := range t.patterns {
			if sum += likelyPattern; strings.Trim(p, "*?") == "" {
				return math.MaxInt // everything, or nearly so
			}
		}
	}
	return sum
}

// likelyPattern is how likely a text is said to fit one pattern.
const likelyPattern = 8
