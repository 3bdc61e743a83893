package witness

import (
	"container/heap"
	"encoding/binary"
	"slices"
	"strings"
	"unicode"
)

const (
	// maxSearch bounds the search for one text, maxWork all searches for a query,
	// in characters that some machine was shown. Rules that people write take less
	// than a tenth of it, and no query much more than a second.
	maxSearch = 1_000_000
	maxWork   = 3_000_000
	// maxLength bounds the text.
	maxLength = 4096
)

// findText returns a short text that every machine of must accepts and none of
// mustNot. It walks all of them side by side, always on from where least is
// missing, so that what it does not find within its bounds is rarely there.
func findText(must, mustNot []machine, work *int) (string, bool) {
	f := &finder{must: must, all: slices.Concat(must, mustNot), seen: map[string]bool{}}
	f.letters = alphabet(f.all)
	states := make([]int32, len(f.all))
	for i, m := range f.all {
		states[i] = m.start()
	}
	f.push(nil, 0, states)
	each := len(f.letters) * (len(f.all) + 1)
	for spent := 0; f.queue.Len() > 0 && spent < maxSearch && *work > 0; spent += each {
		*work -= each
		n := heap.Pop(&f.queue).(*node)
		if f.accepts(n.states) {
			return n.text(), true
		}
		if n.length < maxLength {
			f.expand(n)
		}
	}
	return "", false
}

type finder struct {
	must    []machine
	all     []machine
	letters []rune
	seen    map[string]bool
	queue   nodes
}

// node is a beginning of a text.
type node struct {
	parent *node
	r      rune
	length int
	states []int32
	cost   int
	number int
}

func (n *node) text() string {
	var runes []rune
	for ; n.parent != nil; n = n.parent {
		runes = append(runes, n.r)
	}
	slices.Reverse(runes)
	return string(runes)
}

func (f *finder) accepts(states []int32) bool {
	for i, m := range f.all {
		if m.accepts(states[i]) != (i < len(f.must)) {
			return false
		}
	}
	return true
}

func (f *finder) expand(n *node) {
	for _, r := range f.letters {
		states := make([]int32, len(f.all))
		for i, m := range f.all {
			states[i] = m.step(n.states[i], r)
		}
		f.push(n, r, states)
	}
}

// push takes a beginning in, unless one that came as far is known or it leads nowhere.
func (f *finder) push(parent *node, r rune, states []int32) {
	var key []byte
	missing := 0
	for i, s := range states {
		key = binary.LittleEndian.AppendUint32(key, uint32(s)) //nolint:gosec // a key
		if i < len(f.must) {
			d := f.must[i].distance(s)
			if d >= never {
				return
			}
			missing += d
		}
	}
	if f.seen[string(key)] {
		return
	}
	f.seen[string(key)] = true
	n := &node{parent: parent, r: r, states: states, number: len(f.seen)}
	if parent != nil {
		n.length = parent.length + 1
	}
	n.cost = n.length + 3*missing
	heap.Push(&f.queue, n)
}

// nodes is a heap, least cost first and older first among equals.
type nodes []*node

func (q nodes) Len() int { return len(q) }
func (q nodes) Less(i, j int) bool {
	return q[i].cost < q[j].cost || q[i].cost == q[j].cost && q[i].number < q[j].number
}
func (q nodes) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *nodes) Push(x any)   { *q = append(*q, x.(*node)) }
func (q *nodes) Pop() any {
	old := *q
	n := old[len(old)-1]
	*q = old[:len(old)-1]
	return n
}

// alphabet returns one character of every group that no machine tells apart,
// the most readable of it, and readable groups first.
func alphabet(machines []machine) []rune {
	cuts := []rune{0, unicode.MaxRune + 1, 0xd800, 0xe000}
	for _, m := range machines {
		m.ranges(func(low, high rune) { cuts = append(cuts, low, high+1) })
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	var letters []rune
	for i := 0; i+1 < len(cuts); i++ {
		if low, high := cuts[i], cuts[i+1]-1; low >= 0 && high <= unicode.MaxRune && (high < 0xd800 || low > 0xdfff) {
			letters = append(letters, readable(low, high))
		}
	}
	slices.SortStableFunc(letters, func(a, b rune) int { return rank(a) - rank(b) })
	return letters
}

// preferred are the characters that texts are made of where any would do.
const preferred = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-_./: "

// readable returns the nicest character of a range.
func readable(low, high rune) rune {
	for _, r := range preferred {
		if r >= low && r <= high {
			return r
		}
	}
	if printable := max(low, '!'); printable <= min(high, '~') {
		return printable
	}
	return low
}

func rank(r rune) int {
	switch i := strings.IndexRune(preferred, r); {
	case i >= 0:
		return i
	case r > ' ' && r <= '~':
		return len(preferred)
	default:
		return len(preferred) + 1
	}
}
