package diag_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/token"
)

func at(f *token.File, start, end int) diag.Diagnostic {
	return diag.Diagnostic{File: f, Span: token.Span{Start: token.Pos(start), End: token.Pos(end)}, Message: "message"}
}

func TestRender(t *testing.T) {
	f := token.NewFile("r.eql", "any where a\n  and b\tc")
	warning := at(f, 18, 19)
	warning.Severity, warning.Hint = diag.Warning, "hint"
	for name, tc := range map[string]struct {
		d    diag.Diagnostic
		want string
	}{
		"word":         {at(f, 4, 9), "r.eql:1:5: error: message\n  1 | any where a\n    |     ^^^^^\n"},
		"no width":     {at(f, 4, 4), "r.eql:1:5: error: message\n  1 | any where a\n    |     ^\n"},
		"line's end":   {at(f, 11, 11), "r.eql:1:12: error: message\n  1 | any where a\n    |            ^\n"},
		"over lines":   {at(f, 10, 17), "r.eql:1:11: error: message\n  1 | any where a\n    |           ^\n"},
		"warning, tab": {warning, "r.eql:2:7: warning: message\n  2 |   and b c\n    |       ^\n  hint: hint\n"},
		"beyond":       {at(f, 99, 100), "r.eql:2:10: error: message\n  2 |   and b c\n    |          ^\n"},
		"no file":      {diag.Diagnostic{Message: "message"}, "1:1: error: message\n"},
	} {
		if diff := cmp.Diff(tc.want, diag.List{tc.d}.Render()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestRenderLongLines: wherever the mark is, it is shown, under the right
// words, and with little around it.
func TestRenderLongLines(t *testing.T) {
	var line strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&line, "w%04d ", i)
	}
	f := token.NewFile("", line.String())
	for i := 0; i < 2000; i += 7 {
		out := strings.Split(diag.List{at(f, i*6, i*6+5)}.Render(), "\n")
		if len([]rune(out[1])) > 140 {
			t.Fatalf("word %d: %d characters are shown", i, len([]rune(out[1])))
		}
		text, mark := []rune(out[1]), out[2]
		from, to := strings.Index(mark, "^"), strings.LastIndex(mark, "^")+1
		if got, want := string(text[from:to]), fmt.Sprintf("w%04d", i); got != want {
			t.Fatalf("the mark is under %q, want %q:\n%s\n%s", got, want, out[1], mark)
		}
	}
	whole := diag.List{at(f, 3000, 12000)}.Render()
	if len(whole) > 600 || !strings.Contains(whole, "^^^") {
		t.Errorf("a long mark is shown as\n%s", whole)
	}
}

// TestEscape: nothing that steers a terminal gets through, wherever it stands.
func TestEscape(t *testing.T) {
	hostile := "\x1b[2J\u202e\u200f\x00\x07\x9b\u2066\r"
	f := token.NewFile("na\x1bme", "any where a == "+hostile)
	d := at(f, 15, 20)
	d.Message, d.Hint = "message "+hostile, "hint "+hostile
	for name, out := range map[string]string{
		"render": diag.List{d}.Render(), "string": d.String(), "error": diag.List{d}.Err().Error(),
	} {
		for _, r := range out {
			if r != '\n' && !unicode.IsGraphic(r) {
				t.Errorf("%s lets %U through", name, r)
			}
		}
	}
	if got := diag.Escape("a\tb\x1bç"); got != `a b\u{1b}ç` {
		t.Errorf("escaped to %s", got)
	}
}

// TestLongMessages: a name as long as the query does not fill the screen.
func TestLongMessages(t *testing.T) {
	d := diag.Diagnostic{Message: "unknown field " + strings.Repeat("ä", 100_000), Hint: strings.Repeat("x", 300)}
	if out := (diag.List{d}).Render(); len(out) > 1500 || !strings.Contains(out, "ä…\n") || !strings.Contains(out, "x\n") {
		t.Errorf("shown as\n%.2000s", out)
	}
	if len(d.String()) > 1500 {
		t.Errorf("%d bytes in one line", len(d.String()))
	}
}

// TestNearestWord: a keyword is suggested for what nearly is one, and for nothing else.
func TestNearestWord(t *testing.T) {
	words := []string{"and", "or", "in", "like", "where", "maxspan"}
	for word, want := range map[string]string{
		"nad": "and", "AND": "and", "ro": "or", "lik": "like", "wehre": "where", "maxpsan": "maxspan", "maxspann": "maxspan", "macspam": "maxspan",
		"a": "", "file": "", "process": "", "live.in": "", "wires": "", "": "", strings.Repeat("and", 1000): "",
	} {
		if got := diag.NearestWord(word, words); got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}

func TestList(t *testing.T) {
	f := token.NewFile("r.eql", "any where a")
	e, w := at(f, 4, 9), at(f, 0, 3)
	w.Severity = diag.Warning
	l := diag.List{e, w}
	l.Sort()
	if l[0].Severity != diag.Warning || len(l.Errors()) != 1 || len(l.Warnings()) != 1 || !l.HasErrors() {
		t.Errorf("sorted to %v", l)
	}
	var err *diag.QueryError
	if !errors.As(fmt.Errorf("load: %w", l.Err()), &err) || len(err.Diagnostics) != 2 {
		t.Error("the error does not lead back to the list")
	}
	if got, want := err.Error(), "r.eql:1:5: error: message"; got != want {
		t.Errorf("error is %q, want %q", got, want)
	}
	if (diag.List{w}).Err() != nil || (diag.List)(nil).Err() != nil {
		t.Error("warnings alone are an error")
	}
}

// FuzzRender: whatever is found wherever in whatever text, showing it is harmless
// and short, and the mark stands under the text that is shown.
func FuzzRender(f *testing.F) {
	f.Add("any where a\n  and b\tc", "message", 4, 9)
	f.Add(strings.Repeat("ä\x1b\u202e", 100), "\x00", 50, 60)
	f.Add("", "", -1, 5)
	f.Add("\r\n\xff\n", "x", 1, 3)
	f.Fuzz(func(t *testing.T, text, message string, start, end int) {
		d := at(token.NewFile("f", text), start, end)
		d.Message = message
		out := diag.List{d}.Render()
		if len(out) > 16<<10 {
			t.Fatalf("%d bytes", len(out))
		}
		for _, r := range out + d.String() {
			if r != '\n' && r != unicode.ReplacementChar && !unicode.IsGraphic(r) {
				t.Fatalf("%U gets through", r)
			}
		}
		lines := strings.Split(out, "\n")
		if len(lines) != 4 || !strings.Contains(lines[2], "^") || len([]rune(lines[2])) > len([]rune(lines[1]))+1 {
			t.Fatalf("shown as\n%s", out)
		}
	})
}
