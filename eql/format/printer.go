package format

import (
	"strings"
	"unicode/utf8"

	"github.com/portcullis-dev/portcullis/eql/token"
)

const (
	// width is how many characters a line has at most, where it can be broken.
	width = 120
	// indentation is how much deeper a part is than what it is part of.
	indentation = 2
)

// printer writes words, and knows where on the line it is.
type printer struct {
	strings.Builder
	// column is how many characters the line has, indent how many spaces it
	// begins with. fresh says that it has nothing else yet.
	column, indent int
	fresh          bool
}

func (p *printer) text(s string) {
	p.WriteString(s)
	if at := strings.LastIndexByte(s, '\n'); at >= 0 {
		p.column, s = 0, s[at+1:]
	}
	p.column += utf8.RuneCountInString(s)
	p.fresh = false
}

// newline begins a line, unless nothing was written yet.
func (p *printer) newline(indent int, g gap) {
	if p.Len() > 0 {
		p.WriteString("\n")
		if g == empty {
			p.WriteString("\n")
		}
	}
	p.WriteString(strings.Repeat(" ", indent))
	p.column, p.indent, p.fresh = indent, indent, true
}

// space separates from what stands on the line already.
func (p *printer) space() {
	if !p.fresh && p.Len() > 0 {
		p.text(" ")
	}
}

// comment writes a comment where the printer is. Its further lines move as its
// first does.
func (p *printer) comment(c comment) {
	p.space()
	moved := 0
	if c.indent >= 0 {
		moved = p.column - c.indent
	}
	lines := strings.Split(c.text, "\n")
	for i, l := range lines[1:] {
		lines[i+1] = shifted(l, moved)
	}
	p.text(strings.Join(lines, "\n"))
}

// shifted moves a line to the right, or to the left as far as it has spaces.
func shifted(l string, by int) string {
	rest := strings.TrimLeft(l, " ")
	if rest == "" || rest[0] == '\t' {
		return l
	}
	return strings.Repeat(" ", max(0, len(l)-len(rest)+by)) + rest
}

// word writes a word, and the comments in front of it, on the same line. Where a
// comment ends the line, it goes on deeper.
func (p *printer) word(w *word) {
	hang := p.indent + indentation
	separate := !w.tight
	for i, c := range w.comments {
		if c.gap != none && !p.fresh {
			p.newline(hang, none)
		}
		p.comment(c)
		separate = true
		if w.gapBehind(i) != none {
			p.newline(hang, none)
		}
	}
	if separate {
		p.space()
	}
	p.text(w.text)
}

// breakBefore begins a line for a word, but does not write it. Comments that
// follow what stands in front go to its line, those on lines of their own keep
// such lines, and those that the author wrote right in front of the word stay
// there. Empty lines are kept if there may be any.
func (p *printer) breakBefore(w *word, indent int, keepEmpty bool) {
	above := w.above()
	start := func(g gap) {
		if !keepEmpty {
			g = min(g, line)
		}
		p.newline(indent, g)
		keepEmpty = true
	}
	for _, c := range w.comments[:above] {
		if c.gap != none {
			start(c.gap)
		}
		p.comment(c)
	}
	g := w.gap
	if above < len(w.comments) {
		g = w.comments[above].gap
	}
	start(g)
	for _, c := range w.comments[above:] {
		p.comment(c)
	}
	w.comments, w.tight = nil, false
}

// closing begins a line for a closing parenthesis or bracket and writes it. The
// comments in front of it belong to what it closes.
func (p *printer) closing(w *word, inner, indent int) {
	for _, c := range w.comments {
		if c.gap != none {
			p.newline(inner, c.gap)
		}
		p.comment(c)
	}
	p.newline(indent, none)
	p.text(w.text)
}

// ending writes the comments behind the last word.
func (p *printer) ending(w *word, indent int) {
	for _, c := range w.comments {
		if c.gap != none {
			p.newline(indent, c.gap)
		}
		p.comment(c)
	}
}

// line writes something on one line.
func (p *printer) line(n node) {
	switch n := n.(type) {
	case *word:
		p.word(n)
	case *run:
		for _, part := range n.parts {
			p.line(part)
		}
	case *chain:
		for i, x := range n.operands {
			if i > 0 {
				p.word(n.operators[i-1])
			}
			p.line(x)
		}
	case *group:
		p.word(n.open)
		if n.filter != nil {
			p.words(n.filter.head...)
			p.line(n.filter.condition)
		}
		for i, x := range n.items {
			if i > 0 {
				p.word(n.commas[i-1])
			}
			p.line(x)
		}
		p.word(n.close)
	}
}

func (p *printer) words(list ...*word) {
	for _, w := range list {
		p.word(w)
	}
}

// fits reports whether n characters, and as many as must follow them, have room
// on the line.
func (p *printer) fits(n, after int) bool { return p.column+1+n+after <= width }

// isList reports whether the parentheses hold a list: of values, patterns or
// arguments, and not a condition.
func isList(before *word) bool {
	switch before.kind {
	case token.In, token.InFold, token.Like, token.LikeFold, token.Regex, token.RegexFold, token.Colon, token.Ident, token.Tilde:
		return true
	default:
		return false
	}
}
