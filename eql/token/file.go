package token

import (
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"
)

// Pos is a byte offset in a query's text, starting at 0.
type Pos int

// Span is the text from Start up to, not including, End.
type Span struct{ Start, End Pos }

// To returns the span from the start of s to the end of t.
func (s Span) To(t Span) Span { return Span{s.Start, t.End} }

// File is a query's text with its name.
type File struct {
	name  string
	text  string
	lines []Pos // where each line starts
}

// NewFile returns the file of that name and text. The name is used in messages
// only and need not exist anywhere.
func NewFile(name, text string) *File {
	f := &File{name: name, text: text, lines: []Pos{0}}
	for i := range len(text) {
		if text[i] == '\n' {
			f.lines = append(f.lines, Pos(i+1))
		}
	}
	return f
}

// Name returns the name given to NewFile.
func (f *File) Name() string { return f.name }

// Text returns the whole text.
func (f *File) Text() string { return f.text }

// Slice returns the text of a span, clipped to the file.
func (f *File) Slice(s Span) string {
	start, end := f.clip(s.Start), f.clip(s.End)
	if start > end {
		return ""
	}
	return f.text[start:end]
}

// Line returns the text of a line (the first is 1) without its line break.
func (f *File) Line(line int) string {
	if line < 1 || line > len(f.lines) {
		return ""
	}
	end := Pos(len(f.text))
	if line < len(f.lines) {
		end = f.lines[line] - 1
	}
	return strings.TrimSuffix(f.text[f.lines[line-1]:end], "\r")
}

// Position returns where p is, as people count.
func (f *File) Position(p Pos) Position {
	p = f.clip(p)
	line := sort.Search(len(f.lines), func(i int) bool { return f.lines[i] > p })
	column := utf8.RuneCountInString(f.text[f.lines[line-1]:p]) + 1
	return Position{File: f.name, Offset: int(p), Line: line, Column: column}
}

func (f *File) clip(p Pos) Pos { return max(0, min(p, Pos(len(f.text)))) }

// Position is a place in a file as people count: lines and columns start at 1,
// and a column is a character, not a byte.
type Position struct {
	File   string
	Offset int
	Line   int
	Column int
}

// String returns file:line:column, or line:column where the file has no name.
func (p Position) String() string {
	if p.File == "" {
		return fmt.Sprintf("%d:%d", p.Line, p.Column)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}
