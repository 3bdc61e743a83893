package pattern

import (
	"strings"
	"unicode/utf8"
)

// Like matches texts that fit any of some patterns, with fold ignoring case.
func Like(patterns []string, fold bool) Matcher {
	if !fold {
		return like(patterns)
	}
	switch m := like(foldAll(patterns)).(type) {
	case anything:
		return m
	case exact:
		return foldedExact(m)
	case prefix:
		return foldedPrefix(m)
	default:
		return newFolded(m, 0)
	}
}

// like sorts patterns by their shape and finds the fastest matcher for each kind.
func like(patterns []string) Matcher {
	var exacts, parts []string
	var all either
	for _, p := range patterns {
		switch m := shape(p).(type) {
		case anything:
			return m
		case exact:
			exacts = append(exacts, p)
		case contains:
			parts = append(parts, string(m))
		default:
			all = append(all, m)
		}
	}
	switch {
	case len(exacts) == 1:
		all = append(all, exact(exacts[0]))
	case len(exacts) > 1:
		all = append(all, newSet(exacts))
	}
	all = append(all, newParts(parts)...)
	if len(all) == 1 {
		return all[0]
	}
	return all
}

// shape returns the simplest matcher for one pattern.
func shape(p string) Matcher {
	stars := strings.Count(p, "*")
	inner := strings.Trim(p, "*")
	switch {
	case strings.Contains(inner, "?"), strings.Contains(inner, "*"):
		return newGlob(p)
	case stars == 0:
		return exact(p)
	case inner == "":
		return anything{}
	case p[0] != '*':
		return prefix(inner)
	case p[len(p)-1] != '*':
		return suffix(inner)
	default:
		return contains(inner)
	}
}

// either matches what one of several matchers does.
type either []Matcher

func (e either) Match(text string) bool {
	for _, m := range e {
		if m.Match(text) {
			return true
		}
	}
	return false
}

type anything struct{}

func (anything) Match(string) bool { return true }

type prefix string

func (p prefix) Match(text string) bool { return strings.HasPrefix(text, string(p)) }

type foldedPrefix string

func (p foldedPrefix) Match(text string) bool { return foldPrefix(text, string(p)) >= 0 }

type suffix string

func (s suffix) Match(text string) bool { return strings.HasSuffix(text, string(s)) }

type contains string

func (c contains) Match(text string) bool { return strings.Contains(text, string(c)) }

// glob is a pattern of any shape, cut at its stars: the first piece stands at
// the text's beginning, the last at its end, the others follow each other in
// between. Taking each at the first place where it fits is enough, since a star
// takes whatever is left; so matching needs no backtracking.
type glob struct {
	first, last piece
	middle      []piece
	// whole says that there is no star: first must fit the whole text.
	whole bool
}

// piece is the text between two stars. It may have question marks.
type piece struct {
	text string
	// plain says that there is no question mark.
	plain bool
	runes int
}

func newPiece(text string) piece {
	return piece{text: text, plain: !strings.Contains(text, "?"), runes: utf8.RuneCountInString(text)}
}

func newGlob(p string) glob {
	parts := strings.Split(p, "*")
	g := glob{first: newPiece(parts[0]), last: newPiece(parts[len(parts)-1]), whole: len(parts) == 1}
	for i := 1; i < len(parts)-1; i++ {
		if parts[i] != "" {
			g.middle = append(g.middle, newPiece(parts[i]))
		}
	}
	return g
}

func (g glob) Match(text string) bool {
	n := g.first.prefix(text)
	if n < 0 {
		return false
	}
	if g.whole {
		return n == len(text)
	}
	text = text[n:]
	if g.last.plain && !strings.HasSuffix(text, g.last.text) {
		return false // the cheap half first
	}
	for _, p := range g.middle {
		end := p.find(text)
		if end < 0 {
			return false
		}
		text = text[end:]
	}
	if g.last.plain {
		return strings.HasSuffix(text, g.last.text)
	}
	start := backwards(text, g.last.runes)
	return start >= 0 && g.last.prefix(text[start:]) == len(text)-start
}

// prefix returns how many bytes of the text's beginning the piece fits, -1 if it does not.
func (p piece) prefix(text string) int {
	if p.plain {
		if strings.HasPrefix(text, p.text) {
			return len(p.text)
		}
		return -1
	}
	at := 0
	for i := 0; i < len(p.text); i++ {
		switch {
		case at == len(text):
			return -1
		case p.text[i] == '?':
			at += runeLen(text[at:])
		case p.text[i] == text[at]:
			at++
		default:
			return -1
		}
	}
	return at
}

// find returns the end of the first place in the text that the piece fits, or -1.
func (p piece) find(text string) int {
	if p.plain {
		if i := strings.Index(text, p.text); i >= 0 {
			return i + len(p.text)
		}
		return -1
	}
	for i := 0; ; {
		if n := p.prefix(text[i:]); n >= 0 {
			return i + n
		}
		if i == len(text) {
			return -1
		}
		i += runeLen(text[i:])
	}
}
