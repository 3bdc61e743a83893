package sequencetest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/eql/value"
)

// Engine is what is tested: it finds the matches of one query.
type Engine interface {
	// Event takes an event that arrives and returns what that changes.
	Event(e Event) []Change
	// Watermark says that no more events before a time are to come, and returns
	// what that decides.
	Watermark(t time.Time) []Change
}

// Change is news about a match.
type Change struct {
	// Kind is found, revised, superseded, reinstated or final, as in package sequence.
	Kind string
	// Key and Completed, the time and request (or name) of the last event, are
	// what makes a match that match.
	Key       string
	Completed string
	// Events are the names of the events that it is made of, in their order. Of one
	// that is superseded they are what it was made of.
	Events []string
	// By is the request (or name) that completes the match that superseded it.
	By string
}

// Compile makes an engine for a query, or says what is wrong with it. The span is
// the cap of a sequence without maxspan.
type Compile func(query string, schema value.Schema, maxSpan time.Duration) (Engine, error)

// RunFile reads a script and holds an engine against it. With rewrite it writes
// into the script what the engine does.
func RunFile(t *testing.T, path string, compile Compile, rewrite bool) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read script: %v", err)
	}
	script, err := Parse(string(text))
	if err != nil {
		t.Fatalf("%s:%v", path, err)
	}
	if rewrite {
		changed := script.Rewrite(compile)
		if err = os.WriteFile(path, []byte(changed), 0o644); err != nil { //nolint:gosec // a file of the repository
			t.Fatalf("rewrite: %v", err)
		}
		if script, err = Parse(changed); err != nil {
			t.Fatalf("%s:%v", path, err)
		}
	}
	script.Run(t, path, compile)
}

// Run holds an engine against the script. The name is for messages.
func (s *Script) Run(t *testing.T, name string, compile Compile) {
	t.Helper()
	for i := range s.Tests {
		t.Run(s.Tests[i].Name, func(t *testing.T) {
			for _, f := range s.Failures(&s.Tests[i], compile) {
				t.Errorf("%s:%d: %s", name, f.Line, f.Message)
			}
		})
	}
}

// Failure is something that an engine got wrong.
type Failure struct {
	// Line is where the script says otherwise, from 1.
	Line    int
	Message string
}

// Failures returns what an engine gets wrong in a test.
func (s *Script) Failures(test *Test, compile Compile) []Failure {
	engine, err := compile(test.Query, s.Schema, s.MaxSpan)
	switch {
	case err == nil && test.Error != "":
		return []Failure{{test.expects[0] + 1, fmt.Sprintf("the query compiles, want an error with %q", test.Error)}}
	case err != nil && (test.Error == "" || !strings.Contains(err.Error(), test.Error)):
		return []Failure{{test.line + 1, fmt.Sprintf("the query is an error: %v", err)}}
	case err != nil:
		return nil
	}
	var failures []Failure
	ledger := &ledger{}
	for _, step := range test.Steps {
		got := ledger.take(play(engine, step))
		if !slices.Equal(got, step.Changes) {
			failures = append(failures, Failure{step.line + 1, fmt.Sprintf("changes %s, want %s", orNothing(got), orNothing(step.Changes))})
		}
	}
	ledger.take(engine.Watermark(end()))
	if got := ledger.left(); !slices.Equal(got, test.Matches) {
		failures = append(failures, Failure{test.line + 1, fmt.Sprintf("left in the end is %s, want %s", orNothing(got), orNothing(test.Matches))})
	}
	if f, ok := s.otherOrders(test, compile); ok && len(failures) == 0 {
		failures = append(failures, f)
	}
	return failures
}

func play(engine Engine, step Step) []Change {
	if step.Event != nil {
		return engine.Event(*step.Event)
	}
	return engine.Watermark(step.Watermark)
}

// Events returns the events of a test, each once, in their order of arrival.
func (t *Test) Events() []Event {
	var events []Event
	for _, step := range t.Steps {
		if step.Event != nil && !step.Again {
			events = append(events, *step.Event)
		}
	}
	return events
}

// end is a time at which everything is decided.
func end() time.Time { return epoch().Add(3 * maxTime) }

// orders is how many other orders of arrival are tried, where there are more.
const orders = 200

// otherOrders looks for an order of arrival that ends otherwise.
func (s *Script) otherOrders(test *Test, compile Compile) (Failure, bool) {
	if test.InThisOrder {
		return Failure{}, false
	}
	events := test.Events()
	r := rand.New(rand.NewPCG(uint64(len(events)), 1)) //nolint:gosec // which orders are tried is no secret
	for range orders {
		r.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		engine, err := compile(test.Query, s.Schema, s.MaxSpan)
		if err != nil {
			return Failure{test.line + 1, err.Error()}, true
		}
		if got := Left(engine, events); !slices.Equal(got, test.Matches) {
			names := make([]string, len(events))
			for i, e := range events {
				names[i] = e.Name
			}
			return Failure{test.line + 1, fmt.Sprintf("if %s arrive in that order, left in the end is %s, want %s",
				strings.Join(names, ", "), orNothing(got), orNothing(test.Matches))}, true
		}
	}
	return Failure{}, false
}

// Left returns the matches that an engine has in the end, as a script tells them,
// if some events arrive in that order.
func Left(engine Engine, events []Event) []string {
	ledger := &ledger{}
	for _, e := range events {
		ledger.take(engine.Event(e))
	}
	ledger.take(engine.Watermark(end()))
	return ledger.left()
}

func orNothing(lines []string) string {
	if len(lines) == 0 {
		return "nothing"
	}
	return strings.Join(lines, "; ")
}

// ledger is what is known after following all changes.
type ledger struct{ matches map[string]string }

// take follows changes and returns them as lines.
func (l *ledger) take(changes []Change) []string {
	if l.matches == nil {
		l.matches = map[string]string{}
	}
	var lines []string
	counts := map[string]int{}
	for _, c := range changes {
		id := fmt.Sprintf("%q %q", c.Key, c.Completed)
		events := strings.Join(c.Events, " ")
		if c.Kind == "superseded" {
			delete(l.matches, id)
		} else {
			l.matches[id] = events
		}
		line := c.Kind + " " + events
		if c.By != "" {
			line += " by " + c.By
		}
		if counts[line]++; counts[line] == 1 {
			lines = append(lines, line)
		}
	}
	return counted(lines, counts)
}

// left returns the matches that there are, sorted.
func (l *ledger) left() []string {
	var lines []string
	counts := map[string]int{}
	for _, events := range l.matches {
		if counts[events]++; counts[events] == 1 {
			lines = append(lines, events)
		}
	}
	lines = counted(lines, counts)
	slices.Sort(lines)
	return lines
}

// counted notes behind each line how often it is there, if it is more than once.
func counted(lines []string, counts map[string]int) []string {
	for i, l := range lines {
		if n := counts[l]; n > 1 {
			lines[i] = fmt.Sprintf("%s (%d keys)", l, n)
		}
	}
	return lines
}

// errorLine returns what to expect of an error: what was, if it still holds.
func (t *Test) errorLine(err error) string {
	if t.Error != "" && strings.Contains(err.Error(), t.Error) {
		return t.Error
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return first
}

// Rewrite returns the script with what an engine does instead of what it should do.
func (s *Script) Rewrite(compile Compile) string {
	r := rewriting{drop: map[int]bool{}, behind: map[int][]string{}}
	for i := range s.Tests {
		r.test(s, &s.Tests[i], compile)
	}
	var out []string
	for i, line := range s.lines {
		if !r.drop[i] {
			out = append(out, line)
		}
		out = append(out, r.behind[i]...)
	}
	return strings.Join(out, "\n")
}

// rewriting is which lines of a script go, and what comes behind which line.
type rewriting struct {
	drop   map[int]bool
	behind map[int][]string
}

func (r *rewriting) test(s *Script, test *Test, compile Compile) {
	last := test.until - 1
	for _, n := range test.expects {
		r.drop[n] = true
		last = n
	}
	engine, err := compile(test.Query, s.Schema, s.MaxSpan)
	if err != nil {
		r.behind[last] = append(r.behind[last], "error: "+test.errorLine(err))
		return
	}
	ledger := &ledger{}
	for _, step := range test.Steps {
		for _, n := range step.changes {
			r.drop[n] = true
		}
		for _, line := range ledger.take(play(engine, step)) {
			r.behind[step.line] = append(r.behind[step.line], "    "+line)
		}
	}
	ledger.take(engine.Watermark(end()))
	left := ledger.left()
	if len(left) == 0 {
		left = []string{"nothing"}
	}
	for _, match := range left {
		r.behind[last] = append(r.behind[last], "=> "+match)
	}
}
