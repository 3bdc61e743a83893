package pattern

import (
	"strings"
	"sync"
	"unsafe"
)

// Scanner answers for many lists of patterns at once which of them a text fits,
// in one pass over the text. Each pattern has a piece without wildcards that a
// text must contain to fit; the pass finds the pieces that are there, and only
// the patterns of those are tried.
//
// A Scanner is immutable and safe for concurrent use, and does not allocate.
type Scanner struct {
	pieces *automaton
	// tries has, for each piece, what to try where it was found.
	tries [][]try
	// always is what has no piece: * and ?*.
	always []try
	fold   bool
	// passes are *pass.
	passes sync.Pool
}

// try is a pattern of a list. Without a matcher the piece alone decides.
type try struct {
	list    int32
	matcher Matcher
}

// pass is what one pass over a text works with.
type pass struct {
	buf []byte
	// seen has the number of the last pass in which each piece was found: a
	// piece that repeats itself is tried once.
	seen   []uint32
	number uint32
}

const (
	// pieceLength bounds pieces: the shorter, the smaller the table, and the
	// more often patterns are tried in vain.
	pieceLength = 8
	// scannerTable bounds the automaton, in entries of its table.
	scannerTable = 1 << 21
)

// NewScanner returns a scanner of lists of patterns, with fold ignoring case.
// It returns nil if the lists are too large for one.
func NewScanner(lists [][]string, fold bool) *Scanner {
	s := &Scanner{fold: fold}
	numbers := map[string]int{}
	var pieces []string
	for i, list := range lists {
		if fold {
			list = foldAll(list)
		}
		for _, p := range list {
			t := try{list: int32(i), matcher: shape(p)}
			text := needed(p)
			if text == "" {
				s.always = append(s.always, t)
				continue
			}
			if c, ok := t.matcher.(contains); ok && string(c) == text {
				t.matcher = nil
			}
			n, known := numbers[text]
			if !known {
				n = len(pieces)
				numbers[text] = n
				pieces = append(pieces, text)
				s.tries = append(s.tries, nil)
			}
			s.tries[n] = append(s.tries[n], t)
		}
	}
	if s.pieces = newAutomaton(pieces, scannerTable); s.pieces == nil {
		return nil
	}
	s.passes.New = func() any { return &pass{seen: make([]uint32, len(pieces))} }
	return s
}

// needed returns a piece that every text that fits the pattern contains: the
// start of the longest between wildcards.
func needed(p string) string {
	longest := ""
	for _, piece := range strings.FieldsFunc(p, func(r rune) bool { return r == '*' || r == '?' }) {
		if len(piece) > len(longest) {
			longest = piece
		}
	}
	return longest[:min(len(longest), pieceLength)]
}

// Scan appends the numbers of the lists that have a pattern which the text
// fits. A number may be in it several times.
func (s *Scanner) Scan(text string, dst []int32) []int32 {
	p := s.passes.Get().(*pass)
	if p.number++; p.number == 0 { // after 2^32 passes
		clear(p.seen)
		p.number = 1
	}
	if s.fold {
		p.buf = appendFold(p.buf[:0], text)
		// The string is gone before the buffer is used again.
		text = unsafe.String(unsafe.SliceData(p.buf), len(p.buf)) //nolint:gosec // see above
	}
	dst = s.scan(text, p, dst)
	if cap(p.buf) > keepBuffer {
		p.buf = nil
	}
	s.passes.Put(p)
	return dst
}

func (s *Scanner) scan(text string, p *pass, dst []int32) []int32 {
	dst = apply(s.always, text, dst)
	a := s.pieces
	state := uint32(0)
	for i := range len(text) {
		state = a.table[state+uint32(a.class[text[i]])]
		if state < a.found {
			continue
		}
		for _, piece := range a.ends[(state-a.found)/uint32(a.classes)] { //nolint:gosec // at most 256
			if p.seen[piece] != p.number {
				p.seen[piece] = p.number
				dst = apply(s.tries[piece], text, dst)
			}
		}
	}
	return dst
}

func apply(tries []try, text string, dst []int32) []int32 {
	for i := range tries {
		if t := &tries[i]; t.matcher == nil || t.matcher.Match(text) {
			dst = append(dst, t.list)
		}
	}
	return dst
}
