package sequencetest_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portcullis-dev/portcullis/correlator/sequencetest"
	"github.com/portcullis-dev/portcullis/eql/value"
)

var rewrite = flag.Bool("rewrite", false, "rewrite what the scripts expect; commit the diff only if you understand it")

// TestScripts holds the engine against the scripts of testdata.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.script")
	if err != nil || len(files) == 0 {
		t.Fatalf("find scripts: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			sequencetest.RunFile(t, file, sequencetest.Portcullis, *rewrite)
		})
	}
}

// TestScriptsAgreeWithTheReference: what the scripts say is left in the end is what
// a second implementation finds, too.
func TestScriptsAgreeWithTheReference(t *testing.T) {
	compared := 0
	for file, script := range scripts(t) {
		for _, test := range script.Tests {
			if test.InThisOrder || test.Error != "" || !strings.HasPrefix(strings.TrimSpace(test.Query), "sequence") {
				continue
			}
			r := newReference(t, test.Query, script.Schema, script.MaxSpan)
			if diff := gocmp.Diff(test.Matches, r.matches(test.Events()), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s: %s: script (-) and reference (+) differ:\n%s", file, test.Name, diff)
			}
			compared++
		}
	}
	if compared < 60 {
		t.Errorf("only %d tests", compared)
	}
}

func scripts(t testing.TB) map[string]*sequencetest.Script {
	t.Helper()
	files, err := filepath.Glob("testdata/*.script")
	if err != nil || len(files) == 0 {
		t.Fatalf("find scripts: %v, %v", files, err)
	}
	all := map[string]*sequencetest.Script{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatalf("read script: %v", err)
		}
		script, err := sequencetest.Parse(string(text))
		if err != nil {
			t.Fatalf("%s:%v", file, err)
		}
		all[file] = script
	}
	return all
}

const small = `# A comment.
field name text
field args text many
cap 30s
given args "x, y" "z"

test the name of it
  sequence
    [any where name == "a"] // about a
    [any where name == "b" and args == "x, y"]
given name "a"
1s       a1
1500ms   r/one  name "b"
    found nonsense
again    a1
# in between

watermark 1h
in this order
=> nothing

test that is an error
  any where
error: expected a field
`

func TestParse(t *testing.T) {
	s, err := sequencetest.Parse(small)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Schema) != 2 || s.MaxSpan != 30*time.Second || len(s.Tests) != 2 {
		t.Fatalf("%d fields, cap %v, %d tests", len(s.Schema), s.MaxSpan, len(s.Tests))
	}
	test := s.Tests[0]
	if test.Name != "the name of it" || !strings.Contains(test.Query, "// about a\n") || !test.InThisOrder || len(test.Matches) != 0 || len(test.Steps) != 4 {
		t.Fatalf("first test is %+v", test)
	}
	a, b := test.Steps[0].Event, test.Steps[1].Event
	if a.Name != "a1" || a.Request != "" || b.Name != "r/one" || b.Request != "r" || b.Time.Sub(a.Time) != 500*time.Millisecond {
		t.Errorf("events are %+v and %+v", a, b)
	}
	if !a.Record.Field(0).Equal(value.String("a")) || !b.Record.Field(0).Equal(value.String("b")) || !b.Record.Field(1).Equal(value.Strings([]string{"x, y", "z"})) {
		t.Errorf("events have %v and %v", a.Record, b.Record)
	}
	if again := test.Steps[2]; again.Event != a || !again.Again || test.Steps[3].Event != nil {
		t.Errorf("then %+v and %+v", again, test.Steps[3])
	}
	if s.Tests[1].Error != "expected a field" {
		t.Errorf("second test is %+v", s.Tests[1])
	}
}

func TestMistakesInScripts(t *testing.T) {
	const head = "field name text\ntest x\n  any where true\n"
	for text, line := range map[string]string{
		"field x":                              "1:",
		"field x colour":                       "1:",
		"field x text many more":               "1:",
		"cap soon":                             "1:",
		"given x 1":                            "1:",
		"1s a1":                                "1:",
		"  indented":                           "1:",
		"test x\n1s a1":                        "1:",
		head + "soon a1":                       "4:",
		head + "1s":                            "4:",
		head + "1s a1 nobody 1":                "4:",
		head + "1s a1 name x":                  "4:",
		head + "1s a1 name \"x":                "4:",
		head + "1s a1\n2s a1":                  "5:",
		head + "again a1":                      "4:",
		head + "watermark then":                "4:",
		head + "given name":                    "4:",
		head + "1s a1\n100000000h a2":          "5:",
		head + "1s a1 name \"a\" name \"b\" c": "4:",
	} {
		if _, err := sequencetest.Parse(text); err == nil || !strings.HasPrefix(err.Error(), line) {
			t.Errorf("%q: error is %v, want one of line %s", text, err, line)
		}
	}
}

// TestRewrite: what a script says is replaced by what is, and nothing else is.
func TestRewrite(t *testing.T) {
	s, err := sequencetest.Parse(small)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer("found nonsense", "found a1 r", "watermark 1h", "watermark 1h\n    final a1 r", "=> nothing", "=> a1 r").Replace(small)
	if diff := gocmp.Diff(want, s.Rewrite(sequencetest.Portcullis)); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	for file, script := range scripts(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(string(text), script.Rewrite(sequencetest.Portcullis)); diff != "" {
			t.Errorf("%s is rewritten though it is right:\n%s", file, diff)
		}
	}
}

// TestFailuresAreNoticed: an engine that is wrong fails.
func TestFailuresAreNoticed(t *testing.T) {
	s, err := sequencetest.Parse(`
field name text
test x
  sequence with maxspan=1m
    [any where name == "a"]
    [any where name == "b"]
1s  a1  name "a"
2s  a2  name "a"
3s  b1  name "b"
    found a2 b1
=> a2 b1
test y
  any where
error: expected a field
`)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		wrong func(sequencetest.Engine) sequencetest.Engine
		want  string
	}{
		"right":                {func(e sequencetest.Engine) sequencetest.Engine { return e }, ""},
		"finds nothing":        {func(sequencetest.Engine) sequencetest.Engine { return &fake{} }, "9: changes nothing, want found a2 b1"},
		"finds it late":        {func(e sequencetest.Engine) sequencetest.Engine { return &late{Engine: e} }, "9: changes nothing, want found a2 b1"},
		"in sorted order only": {func(e sequencetest.Engine) sequencetest.Engine { return &sorted{Engine: e} }, "3: if "},
	} {
		compile := func(query string, schema value.Schema, maxSpan time.Duration) (sequencetest.Engine, error) {
			e, err := sequencetest.Portcullis(query, schema, maxSpan)
			if err != nil {
				return nil, err
			}
			return tc.wrong(e), nil
		}
		var got []string
		for i := range s.Tests {
			for _, f := range s.Failures(&s.Tests[i], compile) {
				got = append(got, fmt.Sprintf("%d: %s", f.Line, f.Message))
			}
		}
		if (len(got) > 0) != (tc.want != "") || len(got) > 0 && !strings.HasPrefix(got[0], tc.want) {
			t.Errorf("%s: fails with %q, want %q", name, got, tc.want)
		}
	}
	all := func(string, value.Schema, time.Duration) (sequencetest.Engine, error) { return &fake{}, nil }
	if f := s.Failures(&s.Tests[1], all); len(f) != 1 || f[0].Line != 14 {
		t.Errorf("an engine that compiles everything: %v", f)
	}
	none := func(string, value.Schema, time.Duration) (sequencetest.Engine, error) { return nil, errors.New("bad") }
	if f := s.Failures(&s.Tests[0], none); len(f) != 1 || f[0].Line != 3 {
		t.Errorf("an engine that compiles nothing: %v", f)
	}
}

// fake finds nothing.
type fake struct{}

func (*fake) Event(sequencetest.Event) []sequencetest.Change { return nil }
func (*fake) Watermark(time.Time) []sequencetest.Change      { return nil }

// late tells everything at the watermark.
type late struct {
	sequencetest.Engine
	kept []sequencetest.Change
}

func (l *late) Event(e sequencetest.Event) []sequencetest.Change {
	l.kept = append(l.kept, l.Engine.Event(e)...)
	return nil
}

func (l *late) Watermark(t time.Time) []sequencetest.Change {
	return append(l.kept, l.Engine.Watermark(t)...)
}

// sorted loses events that arrive late.
type sorted struct {
	sequencetest.Engine
	last time.Time
}

func (s *sorted) Event(e sequencetest.Event) []sequencetest.Change {
	if e.Time.Before(s.last) {
		return nil
	}
	s.last = e.Time
	return s.Engine.Event(e)
}
