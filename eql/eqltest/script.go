package eqltest

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/eql/value"
)

// Script is a parsed script.
type Script struct {
	Schema Schema
	Events []NamedEvent
	Cases  []Case
}

// NamedEvent is an event of a script.
type NamedEvent struct {
	Name  string
	Event Event
}

// Case is one line that says what a query matches.
type Case struct {
	// Line is where it stands, from 1.
	Line int
	// Query is a whole query.
	Query string
	// Condition is the condition alone, if the line is no whole query.
	Condition string
	// Matches are the names of the events it matches, sorted.
	Matches []string
	// Error is a part of the message of the error that it is, else empty.
	Error string
}

// Compile is an implementation of the language: it returns what decides whether
// an event matches, or an error.
type Compile func(query string, schema value.Schema) (match func(value.Record) bool, err error)

// RunFile reads a script and holds an implementation against it.
func RunFile(t *testing.T, path string, compile Compile) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read script: %v", err)
	}
	script, err := Parse(string(text))
	if err != nil {
		t.Fatalf("%s:%v", path, err)
	}
	script.Run(t, path, compile)
}

// Run holds an implementation against the script. The name is for messages.
func (s *Script) Run(t *testing.T, name string, compile Compile) {
	t.Helper()
	for _, f := range s.Failures(compile) {
		t.Errorf("%s:%d: %s\n\t%v", name, f.Case.Line, f.Case.Query, f.Err)
	}
}

// Failure is a case that an implementation got wrong.
type Failure struct {
	Case Case
	Err  error
}

// Failures returns what an implementation gets wrong.
func (s *Script) Failures(compile Compile) []Failure {
	var out []Failure
	for _, c := range s.Cases {
		if err := s.check(c, compile); err != nil {
			out = append(out, Failure{c, err})
		}
	}
	return out
}

func (s *Script) check(c Case, compile Compile) error {
	match, err := compile(c.Query, s.Schema)
	switch {
	case c.Error != "" && err == nil:
		return fmt.Errorf("compiles, want an error with %q", c.Error)
	case c.Error != "" && !strings.Contains(err.Error(), c.Error):
		return fmt.Errorf("want an error with %q, got: %w", c.Error, err)
	case c.Error != "":
		return nil
	case err != nil:
		return err
	}
	if err := s.matches(match, c.Matches); err != nil || c.Condition == "" {
		return err
	}
	return s.checkNot(c, compile)
}

// checkNot holds a condition's not against all events that it does not match.
func (s *Script) checkNot(c Case, compile Compile) error {
	match, err := compile("any where not ("+c.Condition+")", s.Schema)
	if err != nil {
		return fmt.Errorf("its not: %w", err)
	}
	var others []string
	for _, e := range s.Events {
		if !slices.Contains(c.Matches, e.Name) {
			others = append(others, e.Name)
		}
	}
	slices.Sort(others)
	if err := s.matches(match, others); err != nil {
		return fmt.Errorf("its not: %w", err)
	}
	return nil
}

// matches compares what matches with the names of what should, sorted.
func (s *Script) matches(match func(value.Record) bool, want []string) error {
	var got []string
	for _, e := range s.Events {
		if match(e.Event) {
			got = append(got, e.Name)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		return fmt.Errorf("matches %s, want %s", orNothing(got), orNothing(want))
	}
	return nil
}

func orNothing(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, " ")
}

// Parse reads a script. The error starts with the number of the line.
func Parse(text string) (*Script, error) {
	s := &Script{}
	for i, line := range strings.Split(text, "\n") {
		if err := s.line(i+1, line); err != nil {
			return nil, fmt.Errorf("%d: %w", i+1, err)
		}
	}
	return s, nil
}

func (s *Script) line(number int, line string) error {
	trimmed := strings.TrimSpace(line)
	indented := line != strings.TrimLeft(line, " \t")
	words := strings.Fields(trimmed)
	switch {
	case trimmed == "" || trimmed[0] == '#':
		return nil
	case words[0] == "field" && !indented:
		return s.field(words[1:])
	case words[0] == "event" && !indented && len(words) == 2:
		s.Events = append(s.Events, NamedEvent{Name: words[1], Event: make(Event, len(s.Schema))})
		return nil
	case indented:
		return s.value(trimmed)
	default:
		return s.expectation(number, trimmed)
	}
}

func (s *Script) field(words []string) error {
	f, err := ParseField(words)
	if err != nil {
		return err
	}
	f.Slot = len(s.Schema)
	s.Schema = append(s.Schema, f)
	return nil
}

// ParseField reads what stands behind the word field: NAME TYPE, and many where
// the field can have several values.
func ParseField(words []string) (value.Field, error) {
	types := map[string]value.Type{
		"text": value.Keyword, "number": value.Number, "boolean": value.Boolean,
		"address": value.IP, "reference": value.Reference,
	}
	if len(words) < 2 || len(words) > 3 || len(words) == 3 && words[2] != "many" {
		return value.Field{}, fmt.Errorf("want field NAME TYPE, or field NAME TYPE many")
	}
	t, ok := types[words[1]]
	if !ok {
		return value.Field{}, fmt.Errorf("unknown type %s", words[1])
	}
	return value.Field{Name: words[0], Type: t, Many: len(words) == 3}, nil
}

// value reads a line of an event: a field and its values.
func (s *Script) value(line string) error {
	name, rest, _ := strings.Cut(line, " ")
	f, ok := s.Schema.Lookup(name)
	if !ok {
		return fmt.Errorf("unknown field %s", name)
	}
	if len(s.Events) == 0 {
		return fmt.Errorf("values before the first event")
	}
	v, err := ParseValue(strings.TrimSpace(rest))
	if err != nil {
		return err
	}
	last := &s.Events[len(s.Events)-1]
	last.Event = last.Event.With(f.Slot, v)
	return nil
}

// ParseValue reads what stands behind a field's name: a number, true or false,
// one or several strings, or ref "text" "key".
func ParseValue(text string) (value.Value, error) {
	reference := strings.HasPrefix(text, "ref ")
	rest := strings.TrimSpace(strings.TrimPrefix(text, "ref "))
	if !strings.HasPrefix(rest, `"`) {
		return parseScalar(rest)
	}
	var texts []string
	for rest != "" {
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return value.Missing(), fmt.Errorf("not a string: %s", rest)
		}
		unquoted, err := strconv.Unquote(quoted)
		if err != nil {
			return value.Missing(), fmt.Errorf("not a string: %s", quoted)
		}
		texts = append(texts, unquoted)
		rest = strings.TrimSpace(rest[len(quoted):])
	}
	switch {
	case reference && len(texts) == 2:
		return value.Ref(texts[0], texts[1]), nil
	case len(texts) == 1:
		return value.String(texts[0]), nil
	default:
		return value.Strings(texts), nil
	}
}

func parseScalar(text string) (value.Value, error) {
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return value.Int(i), nil
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		return value.Float(f), nil
	}
	if text == "true" || text == "false" {
		return value.Bool(text == "true"), nil
	}
	return value.Missing(), fmt.Errorf("not a value: %s", text)
}

func (s *Script) expectation(number int, line string) error {
	i := strings.LastIndex(line, "=>")
	if i < 0 {
		return fmt.Errorf("want CONDITION => EVENTS")
	}
	c := Case{Line: number, Query: strings.TrimSpace(line[:i])}
	if !slices.Contains(strings.Fields(c.Query), "where") {
		c.Condition = c.Query
		c.Query = "any where " + c.Condition
	}
	result := strings.TrimSpace(line[i+len("=>"):])
	switch {
	case strings.HasPrefix(result, "error:"):
		c.Error = strings.TrimSpace(strings.TrimPrefix(result, "error:"))
	case result == "nothing":
	default:
		c.Matches = strings.Fields(result)
		slices.Sort(c.Matches)
		for _, name := range c.Matches {
			if !slices.ContainsFunc(s.Events, func(e NamedEvent) bool { return e.Name == name }) {
				return fmt.Errorf("no event is named %s", name)
			}
		}
	}
	s.Cases = append(s.Cases, c)
	return nil
}
