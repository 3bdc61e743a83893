package pattern

// automatonFrom is from how many parts on one pass over the text with an
// automaton is cheaper than a search for each.
const automatonFrom = 6

// partsTable bounds the automaton of one list, in entries of its table. Lists
// that would need more are searched for part by part.
const partsTable = 1 << 16

// newParts returns matchers for texts that contain any of some parts.
func newParts(list []string) []Matcher {
	if len(list) >= automatonFrom {
		if a := newAutomaton(list, partsTable); a != nil {
			return []Matcher{parts{a}}
		}
	}
	out := make([]Matcher, len(list))
	for i, p := range list {
		out[i] = contains(p)
	}
	return out
}

// parts matches texts that contain any of some parts.
type parts struct{ *automaton }

func (p parts) Match(text string) bool {
	state := uint32(0)
	for i := range len(text) {
		state = p.table[state+uint32(p.class[text[i]])]
		if state >= p.found {
			return true
		}
	}
	return false
}
