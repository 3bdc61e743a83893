package witness

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/eqltest"
	"github.com/portcullis-dev/portcullis/eql/program"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// observed is an event of a sequence as the reference sees it.
type observed struct {
	record value.Record
	at     time.Time
}

// fires is the obvious way to run a sequence: every choice of events is tried.
func fires(t testing.TB, schema eqltest.Schema, query string, documents []Document) bool {
	t.Helper()
	p, found := eql.Compile("", query, schema, eql.Options{UnknownFields: diag.Warning})
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	events := make([]observed, 0, len(documents))
	for _, d := range documents {
		at, err := time.Parse(time.RFC3339Nano, d["@timestamp"].(string))
		if err != nil {
			t.Fatal(err)
		}
		r, err := worldRecord(schema)(without(d, "@timestamp"))
		if err != nil {
			t.Fatal(err)
		}
		if len(events) > 0 && !at.After(events[len(events)-1].at) {
			t.Fatalf("events are not in order: %v", documents)
		}
		events = append(events, observed{r, at})
	}
	for _, key := range keysOf(p, events) {
		if extends(p, key, events, 0, -1, nil) {
			return true
		}
	}
	return false
}

func keysOf(p *program.Program, events []observed) []string {
	var keys []string
	for _, s := range p.Stages() {
		for _, e := range events {
			keys, _ = s.Keys(e.record, keys)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func hits(s *program.Stage, key string, e observed) bool {
	keys, _ := s.Keys(e.record, nil)
	return s.Match(e.record) && slices.Contains(keys, key)
}

// extends reports whether the stages from one on can be found behind the last
// event. A missing stage must not happen between its neighbours.
func extends(p *program.Program, key string, events []observed, stage, last int, chosen []int) bool {
	for stage < len(p.Stages()) && p.Stages()[stage].Negated() {
		stage++
	}
	if stage == len(p.Stages()) {
		return valid(p, key, events, chosen)
	}
	for i := last + 1; i < len(events); i++ {
		if hits(p.Stages()[stage], key, events[i]) && extends(p, key, events, stage+1, i, append(slices.Clone(chosen), i)) {
			return true
		}
	}
	return false
}

// valid checks a complete choice: the span, until, and what must be missing.
func valid(p *program.Program, key string, events []observed, chosen []int) bool {
	first, last := events[chosen[0]].at, events[chosen[len(chosen)-1]].at
	span, bounded := p.MaxSpan()
	if bounded && last.Sub(first) > span {
		return false
	}
	if u := p.Until(); u != nil && slices.ContainsFunc(events, func(e observed) bool {
		return e.at.After(first) && e.at.Before(last) && hits(u, key, e)
	}) {
		return false
	}
	at := 0
	for _, s := range p.Stages() {
		if !s.Negated() {
			at++
			continue
		}
		from, to := last.Add(-span), first.Add(span)
		if at > 0 {
			from = events[chosen[at-1]].at
		}
		if at < len(chosen) {
			to = events[chosen[at]].at
		}
		if slices.ContainsFunc(events, func(e observed) bool { return e.at.After(from) && e.at.Before(to) && hits(s, key, e) }) {
			return false
		}
	}
	return true
}

func TestSequences(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]struct {
		events int
		buts   []string
	}{
		`sequence with maxspan=1s [process where process.name == "curl"] by pod [any where verb == "get" and uri like "/a*"] by caller`: {2, []string{
			`without step 1: event.category == "process"`, `without step 1: process.name == "curl"`, "without step 1", "with another key in step 1",
			`without step 2: verb == "get"`, `without step 2: uri like "/a*"`, "without step 2", "with another key in step 2", "with the last event after maxspan",
		}},
		`sequence by pod, process.pid with maxspan=10ms [any where process.name == "a"] with runs=3 [any where process.name == "b"]`: {4, []string{
			`without step 1: process.name == "a"`, "without step 1", "with another key in step 1",
			`without step 2: process.name == "b"`, "without step 2", "with another key in step 2", "with the last event after maxspan",
		}},
		`sequence by user.groups with maxspan=5m [any where verb == "get"] ![any where verb == "list"] [any where verb == "create"]`: {2, []string{
			`without step 1: verb == "get"`, "without step 1", "with another key in step 1", "although step 2 must not happen",
			`without step 3: verb == "create"`, "without step 3", "with another key in step 3",
		}},
		`sequence by pod with maxspan=5m [any where process.pid == 1] [any where process.pid == 2] until [any where process.pid == 3]`: {2, []string{
			"without step 1: process.pid == 1", "without step 1", "with another key in step 1",
			"without step 2: process.pid == 2", "without step 2", "with another key in step 2", "although until ends it", "with the last event after maxspan",
		}},
		`sequence by ?nothing, process.interactive with maxspan=1m [any where process.pid == 1] [any where process.pid == 2 and process.interactive == true]`: {2, []string{
			"without step 1: process.pid == 1", "without step 1",
			"without step 2: process.pid == 2", "without step 2", "with the last event after maxspan",
		}},
		`sequence with maxspan=1ms [any where true] [any where true]`: {2, []string{"without step 1", "without step 2", "with the last event after maxspan"}},
	} {
		t.Run(query[:min(60, len(query))], func(t *testing.T) {
			t.Parallel()
			g, schema := generator(t)
			got, err := g.Query("", query)
			if err != nil {
				t.Fatalf("%s: %v", query, err)
			}
			if len(got.Hit) != want.events || !fires(t, schema, query, got.Hit) {
				t.Errorf("%s: is not for %v", query, got.Hit)
			}
			buts := make([]string, 0, len(got.Misses))
			for _, m := range got.Misses {
				buts = append(buts, m.But)
				if fires(t, schema, query, m.Events) {
					t.Errorf("%s: %s: is for %v", query, m.But, m.Events)
				}
			}
			for _, b := range want.buts {
				if !slices.Contains(buts, b) {
					t.Errorf("%s: no miss %q in %q", query, b, buts)
				}
			}
			if len(got.Open) > 0 {
				t.Errorf("%s: open: %v", query, got.Open)
			}
		})
	}
}

// What cannot be made is refused with the condition that stands in the way.
func TestImpossible(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		`any where no.such.field == "x"`:                                `no.such.field == "x": there is no field no.such.field`,
		`any where process.name == "a" and process.name == "b"`:         `process.name == "b": no value of process.name was found that does all that is asked of it`,
		`any where process.name == "a" and verb == "get"`:               `verb == "get": a process event does not have the field verb`,
		`any where process.name == ""`:                                  `process.name == "": no value of process.name`,
		`any where host.os.type == "windows"`:                           `host.os.type == "windows": no value of host.os.type`,
		`any where process.name == "a" and process.interactive == null`: `process.interactive == null: no value of process.interactive`,
		`any where process.args == "x" and not process.args like "*"`:   `not (process.args like "*"): no value of process.args`,
		`any where false`: "false: never changes",
		`any where process.pid > 5 and process.pid < 5`:                                                  "process.pid < 5: no value of process.pid",
		`any where length(process.name) > 3 and length(process.name) < 3`:                                "length(process.name) < 3: no value of process.name",
		`any where process.pid % 2 == 3`:                                                                 "process.pid % 2 == 3: no values were found for it",
		`any where process.command_line == "a b" and process.args == "c"`:                                `process.args == "c": no values of process.args`,
		`any where process.command_line == null and process.args == "c"`:                                 `process.args == "c": no values of process.args`,
		`any where file.path == "/etc/passwd" and file.name == "shadow"`:                                 `file.name == "shadow": no value of file.path`,
		`sequence by pod [any where process.pid == 1] [any where verb == "get"]`:                         `step 2: pod: it cannot be joined by: a request does not have the field pod`,
		`sequence by process.name [any where process.name == "a"] [any where process.name == "b"]`:       `process.name == "b": no value of process.name`,
		`sequence [any where process.pid == 1] by no.such [any where process.pid == 1] by no.such`:       `step 1: no.such: it cannot be joined by: there is no field no.such`,
		`sequence by pod [any where process.pid == 1] with runs=64 [any where process.pid == 2]`:         `it takes 65 events, at most 64 are made`,
		`sequence with maxspan=1s [any where process.pid == 1] [any where verb == "get" and pod == "x"]`: `step 2: verb == "get": a process event does not have the field verb`,
	} {
		t.Run(query[:min(60, len(query))], func(t *testing.T) {
			t.Parallel()
			g, _ := generator(t)
			got, err := g.Query("", query)
			if err == nil {
				t.Fatalf("%s: %v", query, got.Hit)
			}
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s\nerror %v\nwant  %s", query, err, want)
			}
		})
	}
}

// Queries that are made to cost much end soon, in one way or the other.
func TestHostileQueriesCostLittle(t *testing.T) {
	t.Parallel()
	var either, patterns, stars []string //nolint:prealloc // a test
	for i := range 60 {
		either = append(either, fmt.Sprintf(`(process.name like "*%d*" or process.name like "*%d*" or process.executable like "*%d*")`, i, i*7+1, i*13))
		patterns = append(patterns, fmt.Sprintf(`process.name like "*a%db*"`, i))
		stars = append(stars, fmt.Sprintf(`not process.name regex "(.*a){%d}b?.*"`, i+1))
	}
	for name, query := range map[string]string{
		"many alternatives":     "any where " + strings.Join(either, " and "),
		"many in one text":      "any where " + strings.Join(patterns, " and "),
		"many excluded":         "any where process.name like \"*a*\" and " + strings.Join(stars, " and "),
		"large repetition":      `any where process.name regex "((a|b){1,30}c){1,30}" and process.name regex "((b|a){1,30}c){30}" and not process.name regex "(.*c){29}"`,
		"contradiction at last": "any where " + strings.Join(either[:20], " and ") + ` and process.name == "x" and process.executable == "y"`,
		"calculation":           `any where process.pid * process.args_count * load == 1234567 and process.pid % 1000 == 999`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, _ := generator(t)
			got, err := g.Query("", query)
			if (got == nil) == (err == nil) {
				t.Errorf("result %v, error %v", got, err)
			}
			if err != nil && len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}
