package program_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/eqltest"
	"github.com/portcullis-dev/portcullis/eql/program"
	"github.com/portcullis-dev/portcullis/eql/value"
)

func schema() eqltest.Schema {
	return eqltest.NewSchema(
		value.Field{Name: "event.category", Many: true},
		value.Field{Name: "name"},
		value.Field{Name: "args", Many: true},
		value.Field{Name: "pid", Type: value.Number},
		value.Field{Name: "tty", Type: value.Boolean},
		value.Field{Name: "pod", Type: value.Reference},
		value.Field{Name: "groups", Many: true},
	)
}

func mustCompile(t testing.TB, query string) *program.Program {
	t.Helper()
	p, diags := eql.Compile("", query, schema(), eql.Options{UnknownFields: diag.Warning})
	if p == nil {
		t.Fatalf("compile %s:\n%s", query, diags.Render())
	}
	return p
}

func TestEventQuery(t *testing.T) {
	p := mustCompile(t, `process where name == "sh"`)
	if p.IsSequence() || len(p.Stages()) != 1 || p.Until() != nil {
		t.Errorf("sequence %v, %d stages, until %v; want a single stage", p.IsSequence(), len(p.Stages()), p.Until())
	}
	if _, bounded := p.MaxSpan(); bounded {
		t.Error("has a maxspan")
	}
	s := p.Stages()[0]
	if s.Category() != "process" || s.Any() || s.Negated() || s.Joined() != 0 {
		t.Errorf("category %s, any %v, negated %v, joins by %d", s.Category(), s.Any(), s.Negated(), s.Joined())
	}
	if got, want := s.String(), `process where name == "sh"`; got != want {
		t.Errorf("prints as %s, want %s", got, want)
	}
}

func TestSequence(t *testing.T) {
	p := mustCompile(t, `sequence by name with maxspan=90s
		[process where pid == 1] by pod with runs=3
		![file where tty == true] by groups
		[any where args == "x"] by pod
		until [process where pid == 2] by pod`)
	if span, bounded := p.MaxSpan(); !bounded || span != 90*time.Second {
		t.Errorf("maxspan is %v, %v", span, bounded)
	}
	var got []string
	for _, s := range p.Stages() {
		got = append(got, s.String())
	}
	want := []string{
		"process where pid == 1", "process where pid == 1", "process where pid == 1",
		"file where tty == true", `any where args == "x"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
	stages := p.Stages()
	if stages[0] != stages[1] || stages[1] != stages[2] {
		t.Error("the runs of a stage are not the same stage")
	}
	if !stages[3].Negated() || stages[4].Negated() {
		t.Error("the wrong stage is negated")
	}
	if p.Until() == nil || p.Until().String() != "process where pid == 2" {
		t.Errorf("until is %v", p.Until())
	}
	if got := stages[0].Joined(); got != 2 {
		t.Errorf("joins by %d fields, want 2", got)
	}
}

func TestFields(t *testing.T) {
	p := mustCompile(t, `sequence with maxspan=1s
		[process where name == "a" and name != "b" and ?nobody == "x"] by pod
		[any where length(args) + pid > 5] by groups`)
	slots := func(names ...string) []int {
		out := make([]int, 0, len(names))
		for _, n := range names {
			f, ok := schema().Lookup(n)
			if !ok {
				t.Fatalf("no field %s", n)
			}
			out = append(out, f.Slot)
		}
		slices.Sort(out)
		return out
	}
	for i, want := range [][]int{slots("event.category", "name", "pod"), slots("args", "pid", "groups")} {
		if diff := cmp.Diff(want, p.Stages()[i].Fields()); diff != "" {
			t.Errorf("stage %d reads (-want +got):\n%s", i, diff)
		}
	}
	if diff := cmp.Diff(slots("event.category", "name", "pod", "args", "pid", "groups"), p.Fields()); diff != "" {
		t.Errorf("program reads (-want +got):\n%s", diff)
	}
}

func TestCategory(t *testing.T) {
	for query, want := range map[string]string{
		"process where true": "process", `"my-cat" where true`: "my-cat", "any where true": "any", `"any" where true`: "any",
	} {
		s := mustCompile(t, query).Stages()[0]
		if s.Category() != want {
			t.Errorf("%s: category %s, want %s", query, s.Category(), want)
		}
	}
	uncategorised := schema().Event(nil)
	if !mustCompile(t, "any where true").Stages()[0].Match(uncategorised) {
		t.Error("any does not match an event without category")
	}
	if mustCompile(t, `"any" where true`).Stages()[0].Match(uncategorised) {
		t.Error(`the category "any" matches an event without category`)
	}
}

func TestCondition(t *testing.T) {
	c, diags := eql.CompileCondition("", `name like "web-*" and pid > 5`, schema(), eql.Options{})
	if c == nil {
		t.Fatal(diags.Render())
	}
	if !c.Match(schema().Event(map[string]value.Value{"name": value.String("web-0"), "pid": value.Int(6)})) {
		t.Error("does not match what it should")
	}
	if c.Match(schema().Event(map[string]value.Value{"name": value.String("web-0"), "pid": value.Int(5)})) {
		t.Error("matches what it should not")
	}
	if len(c.Fields()) != 2 {
		t.Errorf("reads %v, want two slots", c.Fields())
	}
}

// TestChoicesAreBounded: what an attacker writes into two lists is compared in
// all combinations, but not without end.
func TestChoicesAreBounded(t *testing.T) {
	s := mustCompile(t, `any where concat(args, groups) == "no such text"`).Stages()[0]
	list := make([]string, 5000)
	for i := range list {
		list[i] = "x"
	}
	event := schema().Event(map[string]value.Value{"args": value.Strings(list), "groups": value.Strings(list)})
	if s.Match(event) { // 25 million combinations; the test would not end in time
		t.Error("matches")
	}
}

// TestLongTexts: a text put together is bounded.
func TestLongTexts(t *testing.T) {
	s := mustCompile(t, `any where length(concat(name, name)) > 0`).Stages()[0]
	for size, want := range map[int]bool{1000: true, 400_000: true, 600_000: false, 2_000_000: false} {
		event := schema().Event(map[string]value.Value{"name": value.String(string(make([]byte, size)))})
		if got := s.Match(event); got != want {
			t.Errorf("two texts of %d bytes put together: %v, want %v", size, got, want)
		}
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector sync.Pool forgets at random")
	}
	var event value.Record = schema().Event(map[string]value.Value{
		"event.category": value.Strings([]string{"process", "file"}),
		"name":           value.String("regsvr32.exe"),
		"args":           value.Strings([]string{"curl", "-k", "https://10.0.0.1/api"}),
		"pid":            value.Int(77),
		"tty":            value.Bool(true),
		"pod":            value.Ref("web-0", "uid:1"),
	})
	for _, query := range []string{
		`process where name == "x"`,
		`process where not args in ("a", "b", "c", "d", "e", "f") and pid > 5`,
		`any where args like~ ("*WGET*", "x", "*NC -e*") or args : "-Z"`,
		`any where args regex~ ("[0-9]+", "wget.*")`,
		`any where length(args) == 999 or substring(name, 2, 4) == "zz"`,
		`any where indexOf~(args, "KUBE", 1) > 100`,
		`any where between~(args, "HTTPS://", "/") == "x"`,
		`any where concat(name, " ", pid, ":", tty, "/", pod) == "x"`,
		`any where string(pid + 0.5) == "x" or string(pid * 1000000000.0) == "x"`,
		`any where number(args) == 5 or number(args, 16) == 5 or number(args) > 1e9`,
		`any where cidrMatch(args, "10.0.0.0/8")`,
		`any where pid % 2 == 0 and -pid / 3 + 1.5 * 2 > 7`,
		`any where endsWith~(args, concat("X", name))`,
		`any where (name == "x") == (1 == 2) and tty`,
	} {
		s := mustCompile(t, query).Stages()[0]
		if n := testing.AllocsPerRun(200, func() { s.Match(event) }); n != 0 {
			t.Errorf("%s: %v allocations", query, n)
		}
	}
}
