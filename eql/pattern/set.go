package pattern

// Matcher decides whether a text is what a rule looks for.
type Matcher interface {
	Match(text string) bool
}

// Exact matches one text, with fold ignoring case.
func Exact(text string, fold bool) Matcher {
	if fold {
		return foldedExact(text)
	}
	return exact(text)
}

type exact string

func (e exact) Match(text string) bool { return text == string(e) }

type foldedExact string

func (e foldedExact) Match(text string) bool { return foldPrefix(text, string(e)) == len(text) }

// Set matches any of some texts, with fold ignoring case.
func Set(texts []string, fold bool) Matcher {
	switch {
	case len(texts) == 1:
		return Exact(texts[0], fold)
	case fold:
		return newFolded(newSet(foldAll(texts)), longest(texts))
	default:
		return newSet(texts)
	}
}

// hashFrom is how many texts a set needs before hashing the candidate is
// cheaper than comparing it, length first, with each.
const hashFrom = 5

func newSet(texts []string) Matcher {
	if len(texts) < hashFrom {
		return few(append([]string(nil), texts...))
	}
	m := make(hashed, len(texts))
	for _, t := range texts {
		m[t] = struct{}{}
	}
	return m
}

type few []string

func (f few) Match(text string) bool {
	for _, t := range f {
		if t == text {
			return true
		}
	}
	return false
}

type hashed map[string]struct{}

func (h hashed) Match(text string) bool {
	_, ok := h[text]
	return ok
}

func longest(texts []string) int {
	n := 0
	for _, t := range texts {
		n = max(n, len(t))
	}
	return n
}
