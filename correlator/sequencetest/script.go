package sequencetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/portcullis-dev/portcullis/eql/eqltest"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// Script is a parsed script.
type Script struct {
	Schema eqltest.Schema
	// MaxSpan is the cap of sequences without maxspan.
	MaxSpan time.Duration
	Tests   []Test

	lines []string
	given eqltest.Event
}

// Test is one query and what happens.
type Test struct {
	Name  string
	Query string
	Steps []Step
	// Matches are those in the end, sorted.
	Matches []string
	// Error is a part of the message of the error that the query is, else empty.
	Error string
	// InThisOrder says that the end depends on the order of arrival.
	InThisOrder bool

	// line is where the test begins, until the line behind it, from 0.
	line, until int
	given       eqltest.Event
	// expects are the lines that say what there is in the end.
	expects []int
}

// Step is one thing that happens: an event arrives or the watermark moves.
type Step struct {
	// Event arrives, nil where the watermark moves.
	Event *Event
	// Again says that it has arrived before.
	Again bool
	// Watermark is where it moves to.
	Watermark time.Time
	// Changes are what changes, as lines.
	Changes []string

	line    int
	changes []int // their lines
}

// Event is an event of a test.
type Event struct {
	Name    string
	Request string
	Time    time.Time
	Record  eqltest.Event
}

// epoch is the moment that all times count from.
func epoch() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

const (
	// defaultCap is the span of sequences without maxspan, where the script has no cap.
	defaultCap = time.Hour
	// maxTime bounds the times of a script.
	maxTime = 10 * 365 * 24 * time.Hour
)

// Parse reads a script. The error starts with the number of the line.
func Parse(text string) (*Script, error) {
	s := &Script{MaxSpan: defaultCap, lines: strings.Split(text, "\n")}
	for i, line := range s.lines {
		if err := s.line(i, line); err != nil {
			return nil, fmt.Errorf("%d: %w", i+1, err)
		}
	}
	for i, t := range s.Tests {
		if strings.TrimSpace(t.Query) == "" {
			return nil, fmt.Errorf("%d: the test has no query", t.line+1)
		}
		slices.Sort(s.Tests[i].Matches)
	}
	return s, nil
}

func (s *Script) line(number int, line string) error {
	trimmed := strings.TrimSpace(line)
	if trimmed == "" || trimmed[0] == '#' {
		return nil
	}
	t := s.last()
	word, rest := cut(trimmed)
	indented := line[0] == ' ' || line[0] == '\t'
	if t != nil && (indented || word != "test") {
		t.until = number + 1
	}
	switch {
	case indented:
		return s.indented(t, number, line)
	case word == "test":
		s.Tests = append(s.Tests, Test{Name: strings.TrimSpace(rest), line: number, until: number + 1, given: s.given})
		return nil
	case t == nil:
		return s.preamble(word, rest)
	default:
		return s.inTest(t, number, trimmed)
	}
}

func (s *Script) last() *Test {
	if len(s.Tests) == 0 {
		return nil
	}
	return &s.Tests[len(s.Tests)-1]
}

// preamble reads a line before the first test.
func (s *Script) preamble(word, rest string) (err error) {
	switch word {
	case "field":
		var f value.Field
		f, err = eqltest.ParseField(strings.Fields(rest))
		f.Slot = len(s.Schema)
		s.Schema = append(s.Schema, f)
	case "cap":
		s.MaxSpan, err = parseTime(rest)
	case "given":
		s.given, err = s.fields(s.given, rest)
	default:
		err = fmt.Errorf("%s before the first test; want field, given, cap or test", word)
	}
	return err
}

// indented reads a line of a query, or a change.
func (s *Script) indented(t *Test, number int, line string) error {
	switch {
	case t == nil:
		return errors.New("an indented line before the first test")
	case len(t.Steps) == 0:
		t.Query += line + "\n"
	default:
		step := &t.Steps[len(t.Steps)-1]
		step.Changes = append(step.Changes, strings.TrimSpace(line))
		step.changes = append(step.changes, number)
	}
	return nil
}

// inTest reads something that happens, or what is left in the end.
func (s *Script) inTest(t *Test, number int, line string) (err error) {
	word, rest := cut(line)
	switch {
	case line == "in this order":
		t.InThisOrder = true
	case word == "=>":
		t.expects = append(t.expects, number)
		if rest != "nothing" {
			t.Matches = append(t.Matches, rest)
		}
	case word == "error:":
		t.expects = append(t.expects, number)
		t.Error = rest
	case word == "given":
		t.given, err = s.fields(t.given, rest)
	case word == "watermark":
		var at time.Duration
		at, err = parseTime(rest)
		t.Steps = append(t.Steps, Step{Watermark: epoch().Add(at), line: number})
	case word == "again":
		i := slices.IndexFunc(t.Steps, func(s Step) bool { return s.Event != nil && s.Event.Name == rest })
		if i < 0 {
			return fmt.Errorf("no event is named %s", rest)
		}
		t.Steps = append(t.Steps, Step{Event: t.Steps[i].Event, Again: true, line: number})
	default:
		err = s.arrival(t, number, line)
	}
	return err
}

func (s *Script) arrival(t *Test, number int, line string) error {
	when, rest := cut(line)
	at, err := parseTime(when)
	if err != nil {
		return fmt.Errorf("want TIME EVENT, watermark, again, given or =>: %w", err)
	}
	name, fields := cut(rest)
	if name == "" {
		return errors.New("the event has no name")
	}
	if slices.ContainsFunc(t.Steps, func(s Step) bool { return s.Event != nil && s.Event.Name == name }) {
		return fmt.Errorf("another event is named %s", name)
	}
	e := &Event{Name: name, Time: epoch().Add(at)}
	if request, _, ok := strings.Cut(name, "/"); ok {
		e.Request = request
	}
	if e.Record, err = s.fields(t.given, fields); err != nil {
		return err
	}
	t.Steps = append(t.Steps, Step{Event: e, line: number})
	return nil
}

// fields reads FIELD VALUE, … and adds it to what is given.
func (s *Script) fields(given eqltest.Event, text string) (eqltest.Event, error) {
	event := make(eqltest.Event, len(s.Schema))
	copy(event, given)
	for _, part := range splitFields(text) {
		name, rest := cut(part)
		f, ok := s.Schema.Lookup(name)
		if !ok {
			return nil, fmt.Errorf("unknown field %s", name)
		}
		v, err := eqltest.ParseValue(strings.TrimSpace(rest))
		if err != nil {
			return nil, err
		}
		event = event.With(f.Slot, v)
	}
	return event, nil
}

// cut returns the first word of a text, and what is behind it.
func cut(text string) (word, rest string) {
	text = strings.TrimSpace(text)
	end := strings.IndexFunc(text, unicode.IsSpace)
	if end < 0 {
		return text, ""
	}
	return text[:end], strings.TrimSpace(text[end:])
}

// splitFields splits at the commas that are in no string.
func splitFields(text string) []string {
	var parts []string
	start, quoted := 0, false
	add := func(end int) {
		if part := strings.TrimSpace(text[start:end]); part != "" {
			parts = append(parts, part)
		}
	}
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && quoted:
			i++
		case text[i] == '"':
			quoted = !quoted
		case text[i] == ',' && !quoted:
			add(i)
			start = i + 1
		}
	}
	add(len(text))
	return parts
}

func parseTime(text string) (time.Duration, error) {
	d, err := time.ParseDuration(strings.TrimSpace(text))
	if err != nil || d < -maxTime || d > maxTime {
		return 0, fmt.Errorf("%q is no time such as 1.5s", text)
	}
	return d, nil
}
