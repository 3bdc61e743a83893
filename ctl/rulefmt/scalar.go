package rulefmt

import (
	"encoding/json"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/portcullis-dev/portcullis/eql/token"
)

// written is how a text is written in a file.
type written struct {
	// text is what is written, with the line breaks of the file.
	text string
	// span is what is replaced by another text.
	span token.Span
	// place returns where an offset of the text is in the file, if there is such a place.
	place func(token.Pos) (token.Pos, bool)
	// replace returns what to replace to have another text, false if it cannot
	// be written there.
	replace func(formatted string, e embedded) (edit, bool)
}

// source is a file by its lines.
type source struct {
	*token.File
	starts []int // of each line, from 0
}

func newSource(file *token.File) source {
	s := source{File: file, starts: []int{0}}
	for i := range len(file.Text()) {
		if file.Text()[i] == '\n' {
			s.starts = append(s.starts, i+1)
		}
	}
	return s
}

// offset returns the byte of a line and a column as YAML counts them: from 1, in
// characters.
func (s source) offset(line, column int) int {
	if line < 1 || line > len(s.starts) {
		return len(s.Text())
	}
	at := s.starts[line-1]
	for i := range s.Text()[at:] {
		if column--; column <= 0 {
			return at + i
		}
	}
	return len(s.Text())
}

// lineEnd returns the end of the line that a byte is in, without the line break.
func (s source) lineEnd(at int) int {
	end := strings.IndexByte(s.Text()[at:], '\n')
	if end < 0 {
		return len(s.Text())
	}
	return len(strings.TrimSuffix(s.Text()[:at+end], "\r"))
}

// newline returns what ends the lines of the file.
func (s source) newline() string {
	if strings.Contains(s.Text(), "\r\n") {
		return "\r\n"
	}
	return "\n"
}

// locate finds how a text is written, nil if that cannot be told.
func locate(file *token.File, e embedded) *written {
	s := newSource(file)
	at := s.offset(e.value.Line, e.value.Column)
	if at >= len(file.Text()) {
		return nil
	}
	switch c := file.Text()[at]; {
	case e.value.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		if c != '|' && c != '>' {
			return nil
		}
		return s.block(e, at)
	case e.value.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		if c != '\'' && c != '"' {
			return nil
		}
		return s.quoted(e, at)
	default:
		return s.plain(e, at)
	}
}

// indented writes lines with an indentation, empty ones without.
func indented(text string, indent int, newline string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if l != "" {
			lines[i] = strings.Repeat(" ", indent) + l
		}
	}
	return strings.Join(lines, newline)
}

// reads returns what YAML makes of a text as a value, false if it is no value or
// not the whole of it.
func reads(before, text, behind string) (string, bool) {
	var v map[string]string
	if err := yaml.Unmarshal([]byte(before+text+behind), &v); err != nil || len(v) != 1 {
		return "", false
	}
	value, ok := v["x"]
	return value, ok
}

// plain finds a text without quotes. Over several lines, its line breaks are
// spaces to YAML, but its author's.
func (s source) plain(e embedded, at int) *written {
	end := at
	for i, word := range strings.Fields(e.value.Value) {
		if i > 0 {
			end += len(s.Text()[end:]) - len(strings.TrimLeft(s.Text()[end:], " \t\r\n"))
		}
		if !strings.HasPrefix(s.Text()[end:], word) {
			return nil
		}
		end += len(word)
	}
	return s.inLine(e, at, end, 0)
}

// quoted finds a text in quotes.
func (s source) quoted(e embedded, at int) *written {
	quote := s.Text()[at]
	for end := at + 1; end < len(s.Text()); end++ {
		switch c := s.Text()[end]; {
		case c == '\\' && quote == '"':
			end++
		case c == quote && quote == '\'' && strings.HasPrefix(s.Text()[end+1:], "'"):
			end++
		case c == quote:
			return s.inLine(e, at, end+1, 1)
		}
	}
	return nil
}

// inLine is a text that stands between two bytes, less its quotes.
func (s source) inLine(e embedded, start, end, quotes int) *written {
	inner := s.Text()[start+quotes : end-quotes]
	verbatim := inner == e.value.Value
	w := &written{text: e.value.Value, span: token.Span{Start: token.Pos(start), End: token.Pos(end)}}
	if !verbatim && quotes == 0 {
		lines := strings.Split(inner, "\n")
		for i, l := range lines {
			lines[i] = strings.TrimSpace(l)
		}
		if text := strings.Join(lines, "\n"); e.same(text, e.value.Value) {
			w.text = text
		}
	}
	w.place = func(p token.Pos) (token.Pos, bool) { return token.Pos(start+quotes) + p, verbatim }
	w.replace = func(formatted string, e embedded) (edit, bool) {
		if formatted == w.text {
			return edit{w.span, s.Slice(w.span)}, true
		}
		if text, ok := inStyle(formatted, e); ok {
			return edit{w.span, text}, true
		}
		return s.asBlock(formatted, w.span, e)
	}
	return w
}

// inStyle writes a text that has one line in the style of what it replaces. It
// returns false if that cannot hold it.
func inStyle(formatted string, e embedded) (string, bool) {
	if strings.Contains(formatted, "\n") {
		return "", false
	}
	text := formatted
	switch {
	case e.value.Style&yaml.SingleQuotedStyle != 0:
		text = "'" + strings.ReplaceAll(formatted, "'", "''") + "'"
	case e.value.Style&yaml.DoubleQuotedStyle != 0:
		var quoted strings.Builder
		encoder := json.NewEncoder(&quoted) // a JSON string is a YAML string
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(formatted); err != nil {
			return "", false
		}
		text = strings.TrimSuffix(quoted.String(), "\n")
	}
	before, behind := "x: ", " # comment\n"
	if e.flow {
		before, behind = "{x: ", "}\n"
	}
	value, ok := reads(before, text, behind)
	return text, ok && value == formatted
}

// asBlock writes a text as a block, whose lines follow the line of what it
// replaces.
func (s source) asBlock(formatted string, span token.Span, e embedded) (edit, bool) {
	end := s.lineEnd(int(span.End))
	rest := strings.TrimSpace(s.Text()[span.End:end])
	if e.flow || rest != "" && rest[0] != '#' {
		return edit{}, false
	}
	lines := indented(formatted, e.key.Column-1+2, s.newline())
	whole := token.Span{Start: span.Start, End: token.Pos(end)}
	return edit{whole, "|-" + s.Text()[span.End:end] + s.newline() + lines}, true
}

// block finds a text that is a block: the lines behind | or >.
func (s source) block(e embedded, at int) *written {
	header := s.Text()[at:s.lineEnd(at)]
	indicators, _, _ := strings.Cut(header, " ")
	if strings.ContainsAny(indicators, "123456789") {
		return nil // only a text that begins with spaces needs to say how deep it is
	}
	first, last, indent := s.blockLines(e.value.Line + 1)
	if first == 0 {
		return nil
	}
	lines := make([]string, 0, last-first+1)
	for i := first; i <= last; i++ {
		l := s.Line(i)
		lines = append(lines, l[min(indent, len(l)-len(strings.TrimLeft(l, " "))):])
	}
	w := &written{text: strings.Join(lines, "\n"), span: token.Span{Start: token.Pos(s.starts[first-1]), End: token.Pos(s.lineEnd(s.starts[last-1]))}}
	if e.value.Style&yaml.FoldedStyle != 0 && !e.same(w.text, e.value.Value) && (e.parses(w.text) || e.parses(e.value.Value)) {
		w.text = e.value.Value // a comment goes on into what was the next line
	}
	written := token.NewFile("", w.text)
	w.place = func(p token.Pos) (token.Pos, bool) {
		at := written.Position(p)
		line := first + at.Line - 1
		if line > last || len(lines) <= at.Line-1 || lines[at.Line-1] != written.Line(at.Line) {
			return 0, false
		}
		return token.Pos(s.offset(line, indent+at.Column)), true
	}
	w.replace = func(formatted string, e embedded) (edit, bool) {
		change := edit{w.span, indented(formatted, indent, s.newline())}
		if e.value.Style&yaml.FoldedStyle != 0 && !folds(formatted, e) {
			change.span.Start = token.Pos(at)
			change.text = "|" + header[1:] + s.newline() + change.text
		}
		return change, true
	}
	return w
}

// blockLines returns the first and last line of a block's text, from 1 as lines
// are counted, and its indentation. The first is 0 if there is none.
func (s source) blockLines(from int) (first, last, indent int) {
	for i := from; i <= len(s.starts); i++ {
		l := s.Line(i)
		depth := len(l) - len(strings.TrimLeft(l, " "))
		switch {
		case depth == len(l): // an empty line
		case first == 0:
			first, last, indent = i, i, depth
		case depth < indent:
			return first, last, indent
		default:
			last = i
		}
	}
	return first, last, indent
}

// folds reports whether a text is still the same when YAML makes its line breaks
// spaces.
func folds(formatted string, e embedded) bool {
	value, ok := reads("x: >-\n", indented(formatted, 2, "\n"), "\n")
	return ok && e.same(value, formatted)
}
