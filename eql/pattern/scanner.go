package pattern

import (
	"encoding/binary"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// Scanner answers for many lists of patterns at once which of them a text fits.
// Most patterns can be ruled out by a look at a few of their bytes: one that
// starts with a text by a hash of the candidate's beginning, one that contains a
// text by four bytes of it, for which all places of the candidate are tried in
// one pass. Only patterns that are not ruled out are matched.
//
// Bytes are compared without the bit that is the case of ASCII letters, so that
// lists that ignore case share the pass with those that do not.
//
// A Scanner is immutable and safe for concurrent use; a Pass is not.
type Scanner struct {
	// groups are the patterns that the same bytes bring into question.
	groups [][]try
	starts starts
	grams  sieve
	// rest are patterns to be tried for every text: those with hardly any text.
	rest []try
	// folds says that some list ignores case.
	folds bool
}

// List is patterns of which a text is to fit one.
type List struct {
	Patterns []string
	// Fold ignores case.
	Fold bool
}

// try is a pattern of a list.
type try struct {
	list    int32
	matcher Matcher
}

// gramLength is how many bytes of a text are looked at in each place.
const gramLength = 4

// lower is the bit that tells a from A, four times.
const lower = 0x20202020

// NewScanner returns a scanner of the lists. Their numbers are their indices.
func NewScanner(lists []List) *Scanner {
	s := &Scanner{}
	b := scannerBuilder{Scanner: s, lengths: map[int]bool{}, starts: map[uint64]int32{}, grams: map[uint64]int32{}, common: map[uint64]int{}}
	for _, list := range lists {
		for _, p := range list.texts() {
			for _, g := range gramsOf(longestPiece(p)) {
				b.common[g]++
			}
		}
	}
	for i, list := range lists {
		s.folds = s.folds || list.Fold
		for j, text := range list.texts() {
			b.add(text, try{list: int32(i), matcher: Like(list.Patterns[j:j+1], list.Fold)})
		}
	}
	s.starts = starts{lengths: slices.Sorted(maps.Keys(b.lengths)), sieve: newSieve(b.starts)}
	s.grams = newSieve(b.grams)
	return s
}

// texts are the patterns, folded if case is ignored.
func (l List) texts() []string {
	if l.Fold {
		return foldAll(l.Patterns)
	}
	return l.Patterns
}

// scannerBuilder sorts patterns by what brings them into question.
type scannerBuilder struct {
	*Scanner
	// lengths are those of starts.
	lengths map[int]bool
	// starts and grams have the groups' numbers by key.
	starts, grams map[uint64]int32
	// common counts how often four bytes occur in all patterns.
	common map[uint64]int
}

func (b *scannerBuilder) add(p string, t try) {
	first, longest := p, longestPiece(p)
	if i := strings.IndexAny(p, "*?"); i >= 0 {
		first = p[:i]
	}
	switch {
	case len(first) >= gramLength, len(first) > 0 && len(first) >= len(longest):
		b.lengths[startLength(first)] = true
		key := startOf(first)
		b.starts[key] = b.group(b.starts[key], t)
	case len(longest) >= gramLength:
		gram := b.rarest(longest)
		b.grams[gram] = b.group(b.grams[gram], t)
	default:
		b.rest = append(b.rest, t)
	}
}

// group adds to the group of that number, or makes one if it is 0, and returns
// its number. Numbers start at 1.
func (b *scannerBuilder) group(number int32, t try) int32 {
	if number == 0 {
		b.groups = append(b.groups, nil)
		number = int32(len(b.groups)) //nolint:gosec // there are not 2^31 patterns
	}
	b.groups[number-1] = append(b.groups[number-1], t)
	return number
}

// rarest returns the four bytes of a piece that the fewest patterns have.
func (b *scannerBuilder) rarest(piece string) uint64 {
	all := gramsOf(piece)
	best := all[0]
	for _, g := range all[1:] {
		if b.common[g] < b.common[best] {
			best = g
		}
	}
	return best
}

// longestPiece returns the longest text between wildcards.
func longestPiece(p string) string {
	longest := ""
	for _, piece := range strings.FieldsFunc(p, func(r rune) bool { return r == '*' || r == '?' }) {
		if len(piece) > len(longest) {
			longest = piece
		}
	}
	return longest
}

// gramsOf returns the four bytes at each place of a piece.
func gramsOf(piece string) []uint64 {
	var all []uint64
	for i := 0; i+gramLength <= len(piece); i++ {
		all = append(all, uint64(binary.LittleEndian.Uint32([]byte(piece[i:]))|lower))
	}
	return all
}

// Pass is what looking through one text after the other works with. It is for
// one goroutine.
type Pass struct {
	scanner *Scanner
	// seen has the number of the last text in which each group was in question:
	// what repeats itself is tried once.
	seen   []uint32
	number uint32
	folded []byte
}

// NewPass returns a Pass of the scanner.
func (s *Scanner) NewPass() *Pass { return &Pass{scanner: s, seen: make([]uint32, len(s.groups)+1)} }

// Scan appends the numbers of the lists that have a pattern which the text
// fits. A number may be in it several times. It does not allocate, but for dst
// and for texts longer than any before.
func (p *Pass) Scan(text string, dst []int32) []int32 {
	if p.number++; p.number == 0 { // after 2^32 texts
		clear(p.seen)
		p.number = 1
	}
	s := p.scanner
	dst = apply(s.rest, text, dst)
	dst = p.look(text, text, dst)
	if !s.folds || isASCII(text) {
		return dst
	}
	// Other characters than ASCII's may fold to an ASCII letter, and be longer.
	p.folded = appendFold(p.folded[:0], text)
	dst = p.look(unsafe.String(unsafe.SliceData(p.folded), len(p.folded)), text, dst) //nolint:gosec // gone before the buffer is used again
	if cap(p.folded) > keepBuffer {
		p.folded = nil
	}
	return dst
}

// look tries on the text all patterns that the bytes of like, which is the text
// or its folded form, bring into question.
func (p *Pass) look(like, text string, dst []int32) []int32 {
	s := p.scanner
	dst = p.lookAtStart(like, text, dst)
	if len(like) < gramLength || s.grams.empty() {
		return dst
	}
	in := unsafe.Slice(unsafe.StringData(like), len(like))  //nolint:gosec // read only
	filter, shift := s.grams.filter, s.grams.filterShift&63 // as in passes, but in registers
	for ; len(in) >= gramLength; in = in[1:] {
		gram := uint64(binary.LittleEndian.Uint32(in) | lower)
		h := gram * spread >> shift
		if filter[h/64]&(1<<(h%64)) != 0 {
			dst = p.question(s.grams.group(gram), text, dst)
		}
	}
	return dst
}

// question tries a group, if it is one and was not tried yet.
func (p *Pass) question(group int32, text string, dst []int32) []int32 {
	if group == 0 || p.seen[group] == p.number {
		return dst
	}
	p.seen[group] = p.number
	return apply(p.scanner.groups[group-1], text, dst)
}

func (p *Pass) lookAtStart(like, text string, dst []int32) []int32 {
	s := &p.scanner.starts
	h := uint64(hashOffset)
	at := 0
	for _, n := range s.lengths {
		if n > len(like) {
			break
		}
		for ; at < n; at++ {
			h = hashByte(h, like[at])
		}
		if s.sieve.passes(h) {
			dst = p.question(s.sieve.group(h), text, dst)
		}
	}
	return dst
}

func apply(tries []try, text string, dst []int32) []int32 {
	for i := range tries {
		if t := &tries[i]; t.matcher.Match(text) {
			dst = append(dst, t.list)
		}
	}
	return dst
}

// starts finds groups by the candidate's beginning.
type starts struct {
	// lengths are of how many bytes, in ascending order.
	lengths []int
	sieve   sieve
}

// startLength is of how many bytes a text's beginning is looked at. It is rounded
// down, so that there are few lengths.
func startLength(text string) int {
	switch n := len(text); {
	case n >= 32:
		return 32
	case n > 4:
		return n &^ 3
	default:
		return n
	}
}

// startOf returns the key of a text's beginning.
func startOf(text string) uint64 {
	h := uint64(hashOffset)
	for i := range startLength(text) {
		h = hashByte(h, text[i])
	}
	return h
}

// The hash is FNV's. What hashes alike, whatever its length, is only tried in vain.
const hashOffset = 14695981039346656037

func hashByte(h uint64, c byte) uint64 { return (h ^ uint64(c|lower&0xff)) * 1099511628211 }

// sieve finds groups by a key. Nearly all keys that are looked for are not in
// it, and of these nearly all fail at the first look.
type sieve struct {
	// filter has a bit for each hash of a key, at places that fill it thinly.
	filter      []uint64
	filterShift uint
	// keys and groups are a hash table with free places, in which 0 is no group.
	keys       []uint64
	groups     []int32
	tableShift uint
}

const (
	// filterBits is how many bits of the filter there are for each key.
	filterBits = 32
	// maxFilter bounds the filter, as the logarithm of its bits.
	maxFilter = 26
	// spread multiplies keys so that what differs in any bit differs in the upper ones.
	spread = 0x9e3779b97f4a7c15
)

func newSieve(known map[uint64]int32) sieve {
	if len(known) == 0 {
		return sieve{}
	}
	filter := min(maxFilter, max(6, bits.Len(uint(len(known)*filterBits-1))))
	table := bits.Len(uint(2*len(known) - 1))
	s := sieve{
		filter: make([]uint64, 1<<filter/64), filterShift: uint(64 - filter),
		keys: make([]uint64, 1<<table), groups: make([]int32, 1<<table), tableShift: uint(64 - table),
	}
	for key, group := range known {
		h := key * spread >> s.filterShift
		s.filter[h/64] |= 1 << (h % 64)
		i := s.slot(key)
		s.keys[i], s.groups[i] = key, group
	}
	return s
}

func (s *sieve) empty() bool { return len(s.filter) == 0 }

// passes reports whether the key may be known.
func (s *sieve) passes(key uint64) bool {
	h := key * spread >> s.filterShift
	return s.filter[h/64]&(1<<(h%64)) != 0
}

// group returns the group of a key, 0 if there is none.
func (s *sieve) group(key uint64) int32 { return s.groups[s.slot(key)] }

// slot returns where a key is in the table, or would be.
func (s *sieve) slot(key uint64) int {
	i := int(key * spread >> s.tableShift) //nolint:gosec // as many bits as the table has places
	for s.groups[i] != 0 && s.keys[i] != key {
		i = (i + 1) & (len(s.keys) - 1)
	}
	return i
}

func isASCII(text string) bool {
	for len(text) >= 8 {
		first8 := uint64(text[0]) | uint64(text[1])<<8 | uint64(text[2])<<16 | uint64(text[3])<<24 |
			uint64(text[4])<<32 | uint64(text[5])<<40 | uint64(text[6])<<48 | uint64(text[7])<<56
		if first8&0x8080808080808080 != 0 {
			return false
		}
		text = text[8:]
	}
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
