package pattern

import (
	"strings"
)

// Equal reports whether two texts are the same, with fold ignoring case.
func Equal(a, b string, fold bool) bool {
	if !fold {
		return a == b
	}
	return foldPrefix(a, b) == len(a)
}

// HasPrefix reports whether text begins with prefix, with fold ignoring case.
func HasPrefix(text, prefix string, fold bool) bool {
	if !fold {
		return strings.HasPrefix(text, prefix)
	}
	return foldPrefix(text, prefix) >= 0
}

// HasSuffix reports whether text ends with suffix, with fold ignoring case.
func HasSuffix(text, suffix string, fold bool) bool {
	if !fold {
		return strings.HasSuffix(text, suffix)
	}
	return foldSuffix(text, suffix)
}

// Index returns where in text part first stands, as the bytes from start up to
// end, with fold ignoring case. Both are -1 if it does not.
func Index(text, part string, fold bool) (start, end int) {
	if fold {
		return foldIndex(text, part)
	}
	if start = strings.Index(text, part); start < 0 {
		return -1, -1
	}
	return start, start + len(part)
}

// LastIndex returns where in text part last stands, with fold ignoring case, or -1.
func LastIndex(text, part string, fold bool) int {
	if !fold {
		return strings.LastIndex(text, part)
	}
	for i := len(text); i >= 0; i = backwardsFrom(text, i) {
		if foldPrefix(text[i:], part) >= 0 {
			return i
		}
	}
	return -1
}

// backwardsFrom returns where the character before position i begins, -1 if there is none.
func backwardsFrom(text string, i int) int {
	if i == 0 {
		return -1
	}
	return backwards(text[:i], 1)
}
