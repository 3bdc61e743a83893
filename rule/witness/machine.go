package witness

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
	"unicode"
)

// machine reads a text character by character and says in the end whether it
// fits. Its states are numbers that it hands out as it meets them.
type machine interface {
	start() int32
	step(state int32, r rune) int32
	accepts(state int32) bool
	// distance is about how many characters are missing until a text fits,
	// never where none can.
	distance(state int32) int
	// ranges calls add with every range of characters that it tells from others.
	ranges(add func(low, high rune))
}

const (
	// never is the distance of a state from which no text fits.
	never = 1 << 20
	// maxThreads bounds what one automaton keeps, in places of its expression.
	maxThreads = 1 << 21
)

// automaton is a regular expression as a machine: the set of places in the
// expression where a match can stand, worked out for each set when it is first met.
type automaton struct {
	prog *syntax.Prog
	// missing is how many characters are missing from each place.
	missing []int

	sets    [][]uint32
	known   map[string]int32
	next    map[step]int32
	accept  []bool
	away    []int
	threads int
}

type step struct {
	state int32
	r     rune
}

// newAutomaton takes an expression in Go's syntax of the form \A…\z.
func newAutomaton(expr string) (*automaton, error) {
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, err
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	a := &automaton{prog: prog, known: map[string]int32{}, next: map[step]int32{}, missing: distances(prog)}
	a.state(nil) // State 0 is the end of all hope.
	return a, nil
}

// distances returns, for every instruction, how many characters lie between it
// and the end of a match at least.
func distances(prog *syntax.Prog) []int {
	dist := make([]int, len(prog.Inst))
	from := make([][]uint32, len(prog.Inst))
	var near []uint32
	for pc := range prog.Inst {
		i := &prog.Inst[pc]
		dist[pc] = never
		switch i.Op {
		case syntax.InstMatch:
			dist[pc] = 0
			near = append(near, uint32(pc))
			continue
		case syntax.InstFail:
			continue
		case syntax.InstAlt, syntax.InstAltMatch:
			from[i.Arg] = append(from[i.Arg], uint32(pc))
		default:
		}
		from[i.Out] = append(from[i.Out], uint32(pc))
	}
	// Nearest first: what lies one character away waits until all that lies nearer is done.
	for d := 0; len(near) > 0; d++ {
		var far []uint32
		for n := 0; n < len(near); n++ {
			for _, pc := range from[near[n]] {
				switch reads := isRune(prog.Inst[pc].Op); {
				case reads && dist[pc] > d+1:
					dist[pc] = d + 1
					far = append(far, pc)
				case !reads && dist[pc] > d:
					dist[pc] = d
					near = append(near, pc)
				}
			}
		}
		near = far
	}
	return dist
}

func isRune(op syntax.InstOp) bool {
	switch op {
	case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
		return true
	default:
		return false
	}
}

func (a *automaton) start() int32 {
	return a.state(a.follow(nil, uint32(a.prog.Start), true, map[uint32]bool{})) //nolint:gosec // an index
}

// follow adds what can be reached without reading a character.
func (a *automaton) follow(set []uint32, pc uint32, begin bool, seen map[uint32]bool) []uint32 {
	stack := []uint32{pc}
	for len(stack) > 0 {
		pc, stack = stack[len(stack)-1], stack[:len(stack)-1]
		if seen[pc] {
			continue
		}
		seen[pc] = true
		switch i := &a.prog.Inst[pc]; i.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			stack = append(stack, i.Arg, i.Out)
		case syntax.InstCapture, syntax.InstNop:
			stack = append(stack, i.Out)
		case syntax.InstEmptyWidth:
			switch op := syntax.EmptyOp(i.Arg); { //nolint:gosec // syntax put it there
			case op == syntax.EmptyBeginText && begin:
				stack = append(stack, i.Out)
			case op == syntax.EmptyEndText:
				set = append(set, pc)
			}
		case syntax.InstFail, syntax.InstMatch:
		default:
			set = append(set, pc)
		}
	}
	return set
}

// state returns the number of a set of places.
func (a *automaton) state(set []uint32) int32 {
	slices.Sort(set)
	var key []byte
	for _, pc := range set {
		key = binary.LittleEndian.AppendUint32(key, pc)
	}
	if s, ok := a.known[string(key)]; ok {
		return s
	}
	if a.threads += len(set) + 1; a.threads > maxThreads {
		return 0
	}
	s := int32(len(a.sets)) //nolint:gosec // fewer than maxThreads
	a.known[string(key)] = s
	a.sets = append(a.sets, set)
	accept, away := false, never
	for _, pc := range set {
		accept = accept || a.prog.Inst[pc].Op == syntax.InstEmptyWidth
		away = min(away, a.missing[pc])
	}
	a.accept, a.away = append(a.accept, accept), append(a.away, away)
	return s
}

func (a *automaton) step(state int32, r rune) int32 {
	at := step{state, r}
	if s, ok := a.next[at]; ok {
		return s
	}
	var set []uint32
	seen := map[uint32]bool{}
	for _, pc := range a.sets[state] {
		if i := &a.prog.Inst[pc]; i.Op != syntax.InstEmptyWidth && i.MatchRune(r) {
			set = a.follow(set, i.Out, false, seen)
		}
	}
	s := a.state(set)
	if len(a.next) < maxThreads {
		a.next[at] = s
	}
	return s
}

func (a *automaton) accepts(state int32) bool { return a.accept[state] }
func (a *automaton) distance(state int32) int { return a.away[state] }

func (a *automaton) ranges(add func(low, high rune)) {
	for pc := range a.prog.Inst {
		i := &a.prog.Inst[pc]
		switch {
		case !isRune(i.Op):
		case i.Op == syntax.InstRuneAnyNotNL:
			add('\n', '\n')
		case len(i.Rune) == 1:
			add(i.Rune[0], i.Rune[0])
			if syntax.Flags(i.Arg)&syntax.FoldCase != 0 { //nolint:gosec // syntax put it there
				for r := unicode.SimpleFold(i.Rune[0]); r != i.Rune[0]; r = unicode.SimpleFold(r) {
					add(r, r)
				}
			}
		default:
			for n := 0; n+1 < len(i.Rune); n += 2 {
				add(i.Rune[n], i.Rune[n+1])
			}
		}
	}
}
