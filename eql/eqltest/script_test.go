package eqltest_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/eql/eqltest"
	"github.com/portcullis-dev/portcullis/eql/value"
)

const script = `
# fields first
field name text
field args text many
field pid number
field pod reference

event one
  name "a b"
  args "x" "y"
  pid  5
  pod  ref "web" "uid:1"
event two

name == "x => y" => one   two
process where true => nothing
name = 1 => error: not so
`

func TestParse(t *testing.T) {
	s, err := eqltest.Parse(script)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Schema) != 4 || len(s.Events) != 2 || len(s.Cases) != 3 {
		t.Fatalf("%d fields, %d events, %d cases", len(s.Schema), len(s.Events), len(s.Cases))
	}
	if f := s.Schema[1]; f.Name != "args" || !f.Many || f.Slot != 1 {
		t.Errorf("second field is %+v", f)
	}
	for slot, want := range []value.Value{
		value.String("a b"), value.Strings([]string{"x", "y"}), value.Int(5), value.Ref("web", "uid:1"), value.Missing(),
	} {
		if got := s.Events[0].Event.Field(slot); !got.Equal(want) {
			t.Errorf("slot %d is %s, want %s", slot, got, want)
		}
	}
	if !s.Events[1].Event.Field(0).IsMissing() {
		t.Error("an event has the values of another")
	}
	c := s.Cases[0]
	if c.Query != `any where name == "x => y"` || strings.Join(c.Matches, " ") != "one two" || c.Line != 15 {
		t.Errorf("first case is %+v", c)
	}
	if c := s.Cases[1]; c.Query != "process where true" || c.Matches != nil {
		t.Errorf("second case is %+v", c)
	}
	if c := s.Cases[2]; c.Error != "not so" {
		t.Errorf("third case is %+v", c)
	}
}

func TestMistakesInScripts(t *testing.T) {
	for text, line := range map[string]string{
		"field x":                          "1:",
		"field x colour":                   "1:",
		"field x text\n\n  x \"a\"":        "3:",
		"field x text\nevent e\n  y \"a\"": "3:",
		"field x text\nevent e\n  x a":     "3:",
		"field x text\nevent e\n  x \"a":   "3:",
		"x == 5":                           "1:",
		"x == 5 => nobody":                 "1:",
	} {
		if _, err := eqltest.Parse(text); err == nil || !strings.HasPrefix(err.Error(), line) {
			t.Errorf("%q: error is %v, want one of line %s", text, err, line)
		}
	}
}

// TestRunNotices: an implementation that is wrong fails.
func TestRunNotices(t *testing.T) {
	s, err := eqltest.Parse("field x text\nevent a\nevent b\n  x \"v\"\nx == \"v\" => b\nx = \"v\" => error: bad\n")
	if err != nil {
		t.Fatal(err)
	}
	right := func(query string, _ value.Schema) (func(value.Record) bool, error) {
		if strings.Contains(query, " = ") {
			return nil, errors.New("bad operator")
		}
		not := strings.HasPrefix(query, "any where not (")
		return func(r value.Record) bool { return (r.Field(0).Text() == "v") != not }, nil
	}
	wrong := map[string]eqltest.Compile{
		"matches too much": func(q string, s value.Schema) (func(value.Record) bool, error) {
			if _, err := right(q, s); err != nil {
				return nil, err
			}
			return func(value.Record) bool { return true }, nil
		},
		"accepts everything": func(q string, s value.Schema) (func(value.Record) bool, error) {
			match, _ := right(`x == "v"`, s)
			return match, nil
		},
		"refuses everything": func(string, value.Schema) (func(value.Record) bool, error) {
			return nil, errors.New("bad")
		},
		"has its own not": func(q string, s value.Schema) (func(value.Record) bool, error) {
			if strings.HasPrefix(q, "any where not (") {
				return func(value.Record) bool { return false }, nil
			}
			return right(q, s)
		},
		"another message": func(q string, s value.Schema) (func(value.Record) bool, error) {
			match, err := right(q, s)
			if err != nil {
				err = errors.New("something else")
			}
			return match, err
		},
	}
	if failures := s.Failures(right); len(failures) != 0 {
		t.Errorf("the right implementation fails: %v", failures)
	}
	for name, compile := range wrong {
		if len(s.Failures(compile)) == 0 {
			t.Errorf("an implementation that %s passes", name)
		}
	}
}

func TestEventPanicsForUnknownNames(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a misspelt field is accepted")
		}
	}()
	eqltest.NewSchema(value.Field{Name: "a"}).Event(map[string]value.Value{"b": value.Int(1)})
}
