package program

import (
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/portcullis-dev/portcullis/eql/pattern"
)

// bucket is stages, linked: what they have in common is evaluated once, and what
// cannot match is not looked at.
//
// Each distinct predicate is evaluated at most once per event, however many
// stages have it; all comparisons of one field with constants are answered by one
// look into a table, and where several predicates have patterns for one field,
// all of these by one pass over its text. And a stage is entered by predicates of
// which it needs one (see access), and not looked at if all of them are false.
type bucket struct {
	number int
	// entries are where the code of each stage starts.
	entries []int32
	code    []branch
	tests   []test
	tables  []table
	scans   []scan
	// entering are the slots of the tables that stages are entered by, and then of such scans.
	entering []int
	// asked are predicates that stages are entered by and that have neither table nor scan.
	asked []int32
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
	// rows has the predicates that are true for a text. If they are few, list has them too.
	rows map[string][]int32
	list []textRow
	// ends has a bit for length and ends of each text in rows.
	ends [4]uint64
	// enters says that some stage is entered by a predicate of the table.
	enters bool
}

// textRow is a row of a table.
type textRow struct {
	text       string
	predicates []int32
}

// maxListed is how many texts are sooner compared than a hash of one is made.
const maxListed = 8

// complete ends the building of a table.
func (t *table) complete() {
	if len(t.rows) > maxListed {
		return
	}
	for _, text := range slices.Sorted(maps.Keys(t.rows)) {
		t.list = append(t.list, textRow{text, t.rows[text]})
	}
}

// of returns the predicates that are true for a text. Most texts are in no table,
// and look so by their length and ends: that is cheaper to see than a hash is made.
func (t *table) of(text string) []int32 {
	if i := ends(text); t.ends[i/64]&(1<<(i%64)) == 0 {
		return nil
	}
	if t.list == nil {
		return t.rows[text]
	}
	for i := range t.list {
		if t.list[i].text == text {
			return t.list[i].predicates
		}
	}
	return nil
}

func ends(text string) uint8 {
	if text == "" {
		return 0
	}
	return uint8(len(text)*7) ^ text[0]*3 ^ text[len(text)-1] //nolint:gosec // any bits will do
}

func (t *table) add(text string, predicate int32) {
	i := ends(text)
	t.ends[i/64] |= 1 << (i % 64)
	if !slices.Contains(t.rows[text], predicate) { // a list may repeat itself
		t.rows[text] = append(t.rows[text], predicate)
	}
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

// scanFrom is how many predicates a scan is worth its while for: one is
// evaluated for the events only of which all else fits.
const scanFrom = 2

// linker builds a bucket.
type linker struct {
	*bucket
	costly func(slot int) bool
	byName map[string]int32
	bySlot map[int]int32
	// popular counts the predicates that compare with a value; possible are the
	// stages that are not known to be false.
	popular  map[fieldText]int
	possible int
}

// fieldText is a text in a field.
type fieldText struct {
	slot int
	text string
}

func newBucket(number int, trees []*node, costly func(slot int) bool) *bucket {
	l := &linker{
		bucket: &bucket{number: number}, costly: costly,
		byName: map[string]int32{}, bySlot: map[int]int32{}, popular: map[fieldText]int{},
	}
	for _, tree := range trees {
		l.count(tree)
		if tree.op != opFalse {
			l.possible++
		}
	}
	for _, tree := range trees {
		l.entries = append(l.entries, l.link(tree, isTrue, isFalse))
	}
	l.addScans()
	for i, tree := range trees {
		l.enter(int32(i), tree)
	}
	l.complete()
	return l.bucket
}

// complete makes what is made of all the rest.
func (b *bucket) complete() {
	for i := range b.tables {
		t := &b.tables[i]
		if t.complete(); t.enters {
			b.entering = append(b.entering, t.slot)
		}
	}
	for i := range b.scans {
		if b.scans[i].enters {
			b.entering = append(b.entering, b.scans[i].slot)
		}
	}
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
		l.code = append(l.code, branch{test: l.test(n), yes: yes, no: no})
		return int32(len(l.code) - 1) //nolint:gosec // there are not 2^31 predicates
	}
}

// test returns the number of a predicate, the same for all of the same text.
func (l *linker) test(n *node) int32 {
	if i, ok := l.byName[n.name]; ok {
		return i
	}
	i := int32(len(l.tests)) //nolint:gosec // there are not 2^31 predicates
	t := test{cond: n.test, table: -1, scan: -1}
	for _, v := range n.values() {
		t.table = l.table(v.slot)
		l.tables[t.table].add(v.text, i)
	}
	l.tests = append(l.tests, t)
	l.byName[n.name] = i
	return i
}

func (l *linker) table(slot int) int32 {
	if i, ok := l.bySlot[slot]; ok {
		return i
	}
	i := int32(len(l.tables)) //nolint:gosec // there are not 2^31 fields
	l.tables = append(l.tables, table{slot: slot, rows: map[string][]int32{}})
	l.bySlot[slot] = i
	return i
}

// addScans groups the predicates that have patterns by field.
func (l *linker) addScans() {
	groups := map[int][]int32{}
	var slots []int
	for i := range l.tests {
		if t, ok := l.tests[i].cond.(textTest); ok && t.patterns != nil {
			if groups[t.slot] == nil {
				slots = append(slots, t.slot)
			}
			groups[t.slot] = append(groups[t.slot], int32(i))
		}
	}
	for _, slot := range slots {
		if len(groups[slot]) >= scanFrom {
			l.addScan(slot, groups[slot])
		}
	}
}

func (l *linker) addScan(slot int, tests []int32) {
	lists := make([]pattern.List, 0, len(tests))
	for _, i := range tests {
		t := l.tests[i].cond.(textTest) // addScans has looked
		lists = append(lists, pattern.List{Patterns: t.patterns, Fold: t.fold})
		l.tests[i].scan = int32(len(l.scans)) //nolint:gosec // there are not 2^31 fields
	}
	l.scans = append(l.scans, scan{slot: slot, scanner: pattern.NewScanner(lists), tests: tests})
}

// enter notes by which predicates a stage is entered.
func (l *linker) enter(stage int32, tree *node) {
	if tree.op == opFalse {
		return
	}
	tests, bounded := l.access(tree)
	if !bounded {
		l.always = append(l.always, stage)
		return
	}
	for _, i := range tests {
		t := &l.tests[i]
		if slices.Contains(t.stages, stage) {
			continue
		}
		t.stages = append(t.stages, stage)
		switch {
		case t.table >= 0:
			l.tables[t.table].enters = true
		case t.scan >= 0:
			l.scans[t.scan].enters = true
		case len(t.stages) == 1:
			l.asked = append(l.asked, i)
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
		return []int32{l.test(n)}, l.cheap(n)
	case opAll:
		least := math.Inf(1)
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

// cheap reports whether a predicate costs so little that a stage can be entered
// by it, which is for every event of the bucket.
func (l *linker) cheap(n *node) bool {
	switch t := n.test.(type) {
	case textTest:
		known := l.tests[l.test(n)]
		return (known.table >= 0 || known.scan >= 0) && !l.costly(t.slot)
	case exists:
		return !l.costly(t.slot)
	case boolTest:
		return !l.costly(t.slot)
	default:
		return false
	}
}

// likely estimates what share of the events makes one of some predicates true.
// A value that a large part of the rules names is a common one, such as linux; of
// patterns nothing is known but that they are made for what is rare.
func (l *linker) likely(tests []int32) float64 {
	sum := 0.0
	for _, i := range tests {
		t, ok := l.tests[i].cond.(textTest)
		if !ok {
			sum += likelyOther
			continue
		}
		for _, text := range t.texts {
			share := float64(l.popular[fieldText{t.slot, text}]) / float64(l.possible)
			sum += min(1, math.Pow(share/commonText, 4))
		}
		for _, p := range t.patterns {
			if strings.Trim(p, "*?") == "" {
				return 1 // everything, or nearly so
			}
			sum += likelyPattern
		}
	}
	return sum
}

const (
	// commonText is the share of the rules that name what is in all events. What a
	// few name, such as curl, is far rarer than in proportion.
	commonText = 0.4
	// likelyPattern is the share of texts said to fit one pattern.
	likelyPattern = 0.001
	// likelyOther is that of events for which any other predicate is said to be
	// true: of two answers one is usual, and rules do not ask for the usual one.
	likelyOther = 0.5
)
