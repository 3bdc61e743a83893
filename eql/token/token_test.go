package token_test

import (
	"testing"

	"github.com/portcullis-dev/portcullis/eql/token"
)

func TestPosition(t *testing.T) {
	f := token.NewFile("rule.eql", "ab\nçd\r\n\n語x")
	for offset, want := range map[token.Pos]string{
		-5: "rule.eql:1:1", 0: "rule.eql:1:1", 1: "rule.eql:1:2", 2: "rule.eql:1:3", 3: "rule.eql:2:1",
		5: "rule.eql:2:2", 8: "rule.eql:3:1", 9: "rule.eql:4:1", 12: "rule.eql:4:2", 99: "rule.eql:4:3",
	} {
		if got := f.Position(offset).String(); got != want {
			t.Errorf("offset %d is at %s, want %s", offset, got, want)
		}
	}
	if got := token.NewFile("", "x").Position(0).String(); got != "1:1" {
		t.Errorf("without a name: %s", got)
	}
}

func TestLine(t *testing.T) {
	f := token.NewFile("", "ab\nçd\r\n\n語x")
	for line, want := range map[int]string{0: "", 1: "ab", 2: "çd", 3: "", 4: "語x", 5: ""} {
		if got := f.Line(line); got != want {
			t.Errorf("line %d is %q, want %q", line, got, want)
		}
	}
}

func TestSlice(t *testing.T) {
	f := token.NewFile("", "abc")
	for span, want := range map[token.Span]string{
		{Start: 0, End: 3}: "abc", {Start: 1, End: 2}: "b", {Start: -1, End: 1}: "a", {Start: 2, End: 9}: "c", {Start: 2, End: 1}: "",
	} {
		if got := f.Slice(span); got != want {
			t.Errorf("%v is %q, want %q", span, got, want)
		}
	}
}

func TestKeywords(t *testing.T) {
	for _, word := range []string{"and", "where", "maxspan", "in~", "regex~", "with"} {
		kind, ok := token.Keyword(word)
		if !ok || kind.String() != word || !kind.IsKeyword() {
			t.Errorf("%s: %v, %v", word, kind, ok)
		}
	}
	for _, word := range []string{"AND", "process", "", "runs", "name", "=="} {
		if kind, ok := token.Keyword(word); ok {
			t.Errorf("%q is the keyword %v", word, kind)
		}
	}
	for kind := token.EOF; kind <= token.With; kind++ {
		if kind.String() == "" {
			t.Errorf("kind %d has no name", kind)
		}
	}
}
