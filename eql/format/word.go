package format

import (
	"strings"
	"unicode/utf8"

	"github.com/portcullis-dev/portcullis/eql/parse"
	"github.com/portcullis-dev/portcullis/eql/token"
)

// gap is the white space in front of a word or comment.
type gap uint8

const (
	none  gap = iota
	line      // the word begins a line
	empty     // there is an empty line before it
)

// word is a token as it is written, with the comments in front of it.
type word struct {
	kind     token.Kind
	text     string
	comments []comment
	// gap is in front of the word, behind its comments.
	gap gap
	// tight says that no space may stand in front of it.
	tight bool
	// sign says that it is the sign of what follows.
	sign bool
}

// comment is a comment as it is written.
type comment struct {
	text string
	// indent is how many spaces are in front of it, -1 if there is more.
	indent int
	// gap is in front of it.
	gap gap
}

// breaks reports whether the author began a line anywhere between the word
// before and this one.
func (w *word) breaks() bool { return w.gap != none || w.commented() }

// commented reports whether the word cannot stand on one line with the word
// before, for a comment between them.
func (w *word) commented() bool {
	for i, c := range w.comments {
		if c.gap != none || w.gapBehind(i) != none || c.lines() {
			return true
		}
	}
	return false
}

// gapBehind returns the white space behind a comment.
func (w *word) gapBehind(comment int) gap {
	if comment+1 < len(w.comments) {
		return w.comments[comment+1].gap
	}
	return w.gap
}

// lines reports whether the comment goes over several lines.
func (c comment) lines() bool { return strings.Contains(c.text, "\n") }

// above returns how many of the comments are not on the word's own line.
func (w *word) above() int {
	n := 0
	for i := range w.comments {
		if w.gapBehind(i) != none {
			n = i + 1
		}
	}
	return n
}

// width is how many characters the word has, with the comments on its line.
func (w *word) width() int {
	n := utf8.RuneCountInString(w.text)
	for _, c := range w.comments[w.above():] {
		begin, _, _ := strings.Cut(c.text, "\n")
		n += utf8.RuneCountInString(begin) + 1
	}
	return n
}

// scan returns the words of a text, the end of the text as the last.
func scan(file *token.File) []*word {
	var words []*word
	var comments []comment
	end := token.Pos(0)     // of the token before
	begin := token.Pos(0)   // of the line
	scanned := token.Pos(0) // up to where lines were looked for
	for _, t := range parse.Tokens(file) {
		g := gapOf(file.Text()[end:t.Span.Start])
		if i := strings.LastIndexByte(file.Text()[scanned:t.Span.Start], '\n'); i >= 0 {
			begin = scanned + token.Pos(i) + 1
		}
		scanned = t.Span.Start
		if t.Kind == token.Comment {
			comments = append(comments, comment{
				text: trimLines(t.Text), indent: indentOf(file.Text()[begin:t.Span.Start]), gap: g,
			})
		} else {
			words = append(words, &word{kind: t.Kind, text: file.Slice(t.Span), comments: comments, gap: g})
			comments = nil
		}
		end = t.Span.End
	}
	name(words)
	space(words)
	endLines(words)
	return words
}

// trimLines removes white space from the ends of lines.
func trimLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " \t\r")
	}
	return strings.Join(lines, "\n")
}

// indentOf returns how many spaces what stands in front of a comment in its line
// is, -1 if it is more than that.
func indentOf(before string) int {
	for i := range len(before) {
		if before[i] != ' ' && before[i] != '\t' {
			return -1
		}
	}
	return len(before)
}

func gapOf(space string) gap {
	return gap(min(strings.Count(space, "\n"), int(empty))) //nolint:gosec // at most 2
}

// name makes keywords behind a dot the names that they are there.
func name(words []*word) {
	for i, w := range words[1:] {
		if words[i].kind == token.Dot && w.kind.IsKeyword() {
			w.kind = token.Ident
		}
	}
}

// space notes where no space may be, and which signs belong to what follows.
func space(words []*word) {
	before := &word{kind: token.EOF}
	for i, w := range words {
		switch w.kind {
		case token.RightParen, token.RightSquare, token.Comma, token.Dot, token.Assign:
			w.tight = true
		case token.LeftParen:
			w.tight = isCall(words[:i])
		case token.Ident: // the unit of a length of time
			w.tight = before.kind == token.Integer
		case token.Plus, token.Minus:
			w.sign = !endsOperand(before.kind)
		default:
		}
		switch before.kind {
		case token.LeftParen, token.LeftSquare, token.Missing, token.Dot, token.Question, token.Assign:
			w.tight = true
		default:
			w.tight = w.tight || before.sign
		}
		before = w
	}
}

// isCall reports whether words end with the name of a function, if a
// parenthesis follows.
func isCall(words []*word) bool {
	n := len(words)
	if n == 0 || n > 1 && words[n-2].kind == token.Pipe {
		return false
	}
	return words[n-1].kind == token.Ident || words[n-1].kind == token.Tilde
}

// endsOperand reports whether an operand can end with such a word: a sign behind
// it is an operator.
func endsOperand(k token.Kind) bool {
	switch k {
	case token.Ident, token.Quoted, token.String, token.Integer, token.Decimal, token.True, token.False, token.Null,
		token.RightParen, token.RightSquare:
		return true
	default:
		return false
	}
}

// endLines puts operators and commas that begin a line at the end of the line
// before: the comments between go behind them, to the word that follows.
func endLines(words []*word) {
	for i, w := range words[:len(words)-1] {
		switch w.kind {
		case token.And, token.Or, token.Comma:
			if !w.breaks() {
				continue
			}
			next := words[i+1]
			if len(next.comments) > 0 {
				next.comments[0].gap = max(next.comments[0].gap, w.gap)
			} else {
				next.gap = max(next.gap, w.gap)
			}
			next.comments = append(w.comments, next.comments...)
			w.comments, w.gap = nil, none
		default:
		}
	}
}
