package pattern

// automaton is that of Aho and Corasick: a state is the longest beginning of any
// part that the text read so far ends with. It is complete, so that each byte of
// a text costs one look into the table.
type automaton struct {
	// class maps bytes to columns: bytes that no part has share the first.
	class   [256]uint8
	classes int
	// table has the next state for each state and class. States are multiplied
	// by classes already.
	table []uint32
	// found is from which state on the text ends with a part: these come last.
	found uint32
	// ends has, for each state from found on, the numbers of the parts that the
	// text ends with there.
	ends [][]int32
}

// newAutomaton returns the automaton of some parts, none of them empty, or nil
// if its table would have more than limit entries.
func newAutomaton(parts []string, limit int) *automaton {
	a := &automaton{classes: 1}
	for _, p := range parts {
		for i := range len(p) {
			if c := p[i]; a.class[c] == 0 {
				if a.classes > 255 {
					return nil
				}
				a.class[c] = uint8(a.classes) //nolint:gosec // just checked
				a.classes++
			}
		}
	}
	t := &trie{classes: a.classes}
	t.node()
	for i, p := range parts {
		t.add(p, int32(i), &a.class)
		if len(t.next) > limit {
			return nil
		}
	}
	t.complete()
	a.fill(t)
	return a
}

// fill numbers the states, those in which something is found last, and writes
// the table.
func (a *automaton) fill(t *trie) {
	number := make([]uint32, len(t.ends))
	next := uint32(0)
	for _, final := range []bool{false, true} {
		if final {
			a.found = next
		}
		for state, ends := range t.ends {
			if (len(ends) > 0) != final {
				continue
			}
			number[state] = next
			next += uint32(a.classes) //nolint:gosec // at most 256
			if final {
				a.ends = append(a.ends, ends)
			}
		}
	}
	a.table = make([]uint32, len(t.next))
	for state := range t.ends {
		for class := range a.classes {
			a.table[int(number[state])+class] = number[t.next[state*a.classes+class]]
		}
	}
}

// trie is the tree of all beginnings of parts, from which an automaton is made.
type trie struct {
	classes int
	// next has the child of each node for each class, 0 for none.
	next []int
	// ends has the numbers of the parts that end in each node.
	ends [][]int32
}

func (t *trie) node() int {
	t.next = append(t.next, make([]int, t.classes)...)
	t.ends = append(t.ends, nil)
	return len(t.ends) - 1
}

func (t *trie) add(part string, number int32, class *[256]uint8) {
	state := 0
	for i := range len(part) {
		at := state*t.classes + int(class[part[i]])
		if t.next[at] == 0 {
			child := t.node()
			t.next[at] = child
		}
		state = t.next[at]
	}
	t.ends[state] = append(t.ends[state], number)
}

// complete fills in, breadth first, where to go on where there is no child: as
// from the longest proper end of what was read that begins a part, too. What
// ends there ends here as well.
func (t *trie) complete() {
	fallback := make([]int, len(t.ends))
	queue := []int{0}
	for len(queue) > 0 {
		state := queue[0]
		queue = queue[1:]
		if state != 0 {
			t.ends[state] = append(t.ends[state], t.ends[fallback[state]]...)
		}
		for class := range t.classes {
			at := state*t.classes + class
			elsewhere := 0
			if state != 0 {
				elsewhere = t.next[fallback[state]*t.classes+class]
			}
			if child := t.next[at]; child != 0 {
				fallback[child] = elsewhere
				queue = append(queue, child)
			} else {
				t.next[at] = elsewhere
			}
		}
	}
}
