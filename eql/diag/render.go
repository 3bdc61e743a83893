package diag

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// excerptWidth is how much of a source line is shown around the mark. Rules
// hold patterns of a thousand characters in one line; all of it helps nobody.
const excerptWidth = 120

// Render returns the findings for people: each with its line of source and a
// mark under the words it is about. It ends with a line break unless the list
// is empty.
func (l List) Render() string {
	var b strings.Builder
	for _, d := range l {
		d.render(&b)
	}
	return b.String()
}

func (d Diagnostic) render(b *strings.Builder) {
	fmt.Fprintf(b, "%s: %s: %s\n", Escape(d.Position().String()), d.Severity, sentence(d.Message))
	if d.File != nil {
		d.renderSource(b)
	}
	if d.Hint != "" {
		fmt.Fprintf(b, "  hint: %s\n", sentence(d.Hint))
	}
}

// sentenceLength is how many characters of a message are shown: it may name a
// field whose name fills the whole query.
const sentenceLength = 300

// sentence returns a message or hint as it is shown.
func sentence(text string) string {
	n := 0
	for i := range text {
		if n++; n > sentenceLength {
			return Escape(text[:i]) + "…"
		}
	}
	return Escape(text)
}

func (d Diagnostic) renderSource(b *strings.Builder) {
	start := d.File.Position(d.Span.Start)
	line := []rune(d.File.Line(start.Line))
	from := start.Column - 1
	to := len(line)
	if end := d.File.Position(d.Span.End); end.Line == start.Line {
		to = end.Column - 1
	}
	to = max(from+1, to)
	first, last := window(len(line), from, to)

	var text, mark strings.Builder
	if first > 0 {
		text.WriteString("…")
		mark.WriteString(" ")
	}
	for i := first; i < last; i++ {
		shown := escapeRune(line[i])
		text.WriteString(shown)
		sign := " "
		if i >= from && i < to {
			sign = "^"
		}
		mark.WriteString(strings.Repeat(sign, utf8.RuneCountInString(shown)))
	}
	if last < len(line) {
		text.WriteString("…")
	}
	if from >= len(line) { // the end of the query: mark the place after it
		mark.WriteString("^")
	}
	number := strconv.Itoa(start.Line)
	margin := strings.Repeat(" ", len(number))
	fmt.Fprintf(b, "  %s | %s\n", number, text.String())
	fmt.Fprintf(b, "  %s | %s\n", margin, strings.TrimRight(mark.String(), " "))
}

// window returns which part of a line of n characters to show, so that the mark
// from..to, or at least its start, is in it.
func window(n, from, to int) (first, last int) {
	if n <= excerptWidth {
		return 0, n
	}
	first = max(0, min(from-excerptWidth/4, to-excerptWidth/2))
	if from-first > excerptWidth/2 {
		first = from - excerptWidth/4
	}
	first = min(first, n-excerptWidth)
	return first, first + excerptWidth
}

// Escape returns text with every character that could steer a terminal or
// change the reading direction written as \u{…}.
func Escape(text string) string {
	var b strings.Builder
	for _, r := range text {
		b.WriteString(escapeRune(r))
	}
	return b.String()
}

func escapeRune(r rune) string {
	switch {
	case r == '\t':
		return " "
	case r == utf8.RuneError || unicode.IsGraphic(r):
		return string(r)
	default:
		return fmt.Sprintf(`\u{%x}`, r)
	}
}
