package pattern

import (
	"math"
	"sync"
	"unicode/utf8"
	"unsafe"
)

// folded ignores case by folding the candidate and handing it to a matcher made
// of folded patterns. Folding replaces one character by one, so that wildcards
// mean the same before and after, and it is done once for a whole list.
type folded struct {
	matcher Matcher
	// most is how long a candidate can be and still match.
	most int
	// buffers are *[]byte, to fold into without allocating.
	buffers sync.Pool
}

// keepBuffer is the largest buffer that is kept for the next candidate.
const keepBuffer = 64 << 10

// newFolded returns the matcher of folded candidates. The longest text that m
// matches tells candidates that are too long anyway; 0 means that there is none.
func newFolded(m Matcher, longest int) *folded {
	f := &folded{matcher: m, most: math.MaxInt}
	if longest > 0 {
		f.most = longest * utf8.UTFMax // the same characters in their longest form
	}
	f.buffers.New = func() any { return new([]byte) }
	return f
}

func (f *folded) Match(text string) bool {
	if len(text) > f.most {
		return false
	}
	buf := f.buffers.Get().(*[]byte)
	*buf = appendFold((*buf)[:0], text)
	// The string is gone before the buffer is used again.
	ok := f.matcher.Match(unsafe.String(unsafe.SliceData(*buf), len(*buf))) //nolint:gosec // see above
	if cap(*buf) <= keepBuffer {
		f.buffers.Put(buf)
	}
	return ok
}

func foldAll(texts []string) []string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = string(appendFold(nil, t))
	}
	return out
}
