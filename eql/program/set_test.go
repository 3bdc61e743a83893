package program_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/eql/eqltest"
	"github.com/portcullis-dev/portcullis/eql/program"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// TestSetMatchesAsStagesDo compares linked stages with the same stages alone,
// for random rules and random events.
func TestSetMatchesAsStagesDo(t *testing.T) {
	matched, scans, buckets := 0, 0, 0
	for seed := range uint64(100) {
		r := rules{rand.New(rand.NewPCG(seed, 1)), seed%2 == 0}
		stages := make([]*program.Stage, 0, 40)
		for range 1 + r.IntN(20) {
			stages = append(stages, mustCompile(t, r.query()).Stages()...)
		}
		set := program.NewSet(stages, r.options())
		memo := set.NewMemo()
		for range 150 {
			event := r.record()
			memo.Reset(event)
			matched += compareSet(t, set, memo, event, r.IntN(2) == 0)
		}
		scans += set.Scans()
		buckets = max(buckets, set.Buckets())
	}
	if matched < 5_000 || scans < 50 || buckets < 65 {
		t.Errorf("only %d matches, %d scans and %d buckets: the test tests little", matched, scans, buckets)
	}
}

func compareSet(t *testing.T, set *program.Set, memo *program.Memo, event value.Record, matchFirst bool) (matched int) {
	t.Helper()
	if matchFirst { // the order of asking must not matter
		memo.Match(set.Len() - 1)
	}
	candidates := slices.Clone(memo.Candidates())
	slices.Sort(candidates)
	if n := len(slices.Compact(slices.Clone(candidates))); n != len(candidates) {
		t.Fatalf("candidates repeat themselves: %v", candidates)
	}
	for i := range set.Len() {
		keys, _ := set.Stage(i).Keys(event, nil)
		want := set.Stage(i).Match(event) && len(keys) > 0
		if got := memo.Match(i); got != want {
			t.Fatalf("stage %s\nof %v: %v in the set, %v alone", set.Stage(i), event, got, want)
		}
		if want && !slices.Contains(candidates, int32(i)) {
			t.Fatalf("stage %s\nmatches %v but is no candidate", set.Stage(i), event)
		}
		if want {
			matched++
		}
	}
	return matched
}

// rules makes random rules and events; with patterns, most predicates have some.
type rules struct {
	*rand.Rand
	patterns bool
}

// options sort events by no, some, or most fields.
func (r rules) options() program.SetOptions {
	var o program.SetOptions
	for _, name := range []string{"event.category", "name", "args", "groups"} {
		if f, _ := schema().Lookup(name); r.IntN(2) == 0 {
			o.Buckets = append(o.Buckets, f.Slot)
		}
	}
	costly := r.IntN(8)
	o.Costly = func(slot int) bool { return slot == costly }
	return o
}

func (r rules) query() string {
	if r.IntN(4) == 0 {
		by := []string{"name", "args", "?groups", "pod", "pid", "?nobody"}
		return fmt.Sprintf("sequence by %s, %s with maxspan=1m [%s] ![%s]", by[r.IntN(6)], by[r.IntN(6)], r.filter(), r.filter())
	}
	return r.filter()
}

func (r rules) filter() string {
	return []string{"any", "process", "file"}[r.IntN(3)] + " where " + r.condition(3)
}

func (r rules) condition(depth int) string {
	if depth == 0 || r.IntN(4) == 0 {
		return r.predicate()
	}
	switch r.IntN(5) {
	case 0:
		return "not (" + r.condition(depth-1) + ")"
	case 1, 2:
		return "(" + r.condition(depth-1) + " or " + r.condition(depth-1) + ")"
	default:
		return "(" + r.condition(depth-1) + " and " + r.condition(depth-1) + ")"
	}
}

func (r rules) predicate() string {
	texts := func(n int) string {
		list := make([]string, 1+r.IntN(n))
		for i := range list {
			list[i] = fmt.Sprintf("%q", r.text())
		}
		return strings.Join(list, ", ")
	}
	field := []string{"name", "args", "groups", "pod", "event.category"}[r.IntN(5)]
	if r.patterns && r.IntN(3) > 0 {
		return fmt.Sprintf("%s %s (%q, %q)", field, []string{"like", ":"}[r.IntN(2)], r.pattern(), r.pattern())
	}
	switch r.IntN(12) {
	case 0:
		return fmt.Sprintf("%s == %q", field, r.text())
	case 1:
		return fmt.Sprintf("%s != %q", field, r.text())
	case 2, 3:
		return fmt.Sprintf("%s in (%s)", field, texts(7))
	case 4:
		return fmt.Sprintf("%s not in (%s)", field, texts(3))
	case 5:
		return fmt.Sprintf("%s like (%s, \"*%s\")", field, texts(3), r.text())
	case 6:
		return fmt.Sprintf("%s %s (%q, %q)", field, []string{":", "in~"}[r.IntN(2)], strings.ToUpper(r.text()), r.text())
	case 7:
		return field + []string{" == null", " != null"}[r.IntN(2)]
	case 8:
		return fmt.Sprintf("pid %s %d", []string{"==", "!=", "<", ">="}[r.IntN(4)], r.IntN(3))
	case 9:
		return []string{"tty", "tty == false", "true", "false", "?nobody == 5", "?nobody != 5"}[r.IntN(6)]
	case 10:
		return fmt.Sprintf("length(%s) > %d", field, r.IntN(3))
	default:
		return fmt.Sprintf("(%s in (%s)) == %v", field, texts(3), r.IntN(2) == 0)
	}
}

func (r rules) pattern() string {
	star := func() string { return []string{"*", "", "?"}[r.IntN(3)] }
	return star() + r.text() + star() + r.text() + star()
}

func (r rules) text() string {
	return []string{"", "a", "b", "ab", "A", "process", "file"}[r.IntN(7)]
}

// reader reads several fields at once.
type reader struct{ value.Record }

// Fields implements value.Reader.
func (r reader) Fields(slots []int, into []value.Value) {
	for i, slot := range slots {
		into[i] = r.Field(slot)
	}
}

// record is an event that may be read at once, or may not.
func (r rules) record() value.Record {
	if r.IntN(2) == 0 {
		return r.event()
	}
	return reader{r.event()}
}

func (r rules) event() eqltest.Event {
	values := map[string]value.Value{}
	for _, f := range []string{"name", "args", "groups", "pod", "event.category"} {
		switch r.IntN(5) {
		case 0:
		case 1, 2:
			values[f] = value.String(r.text())
		case 3:
			values[f] = value.Strings([]string{r.text(), r.text(), r.text()})
		case 4:
			values[f] = value.Int(5) // of another type than the schema says
		}
	}
	if r.IntN(3) > 0 {
		values["pid"] = value.Int(int64(r.IntN(3)))
	}
	if r.IntN(3) > 0 {
		values["tty"] = value.Bool(r.IntN(2) == 0)
	}
	return schema().Event(values)
}

// TestEnteringSelectively: a stage is entered by the rarest of what it insists
// on, so that few events have candidates.
func TestEnteringSelectively(t *testing.T) {
	stages := load(t, 1000)
	memo := program.NewSet(stages, byAction()).NewMemo()
	for i, event := range loadEvents() {
		memo.Reset(event)
		if n := len(memo.Candidates()); n > 40 {
			t.Errorf("event %d has %d candidates of %d stages", i, n, len(stages))
		}
	}
}

// byAction sorts loadEvents.
func byAction() program.SetOptions {
	var o program.SetOptions
	for _, name := range []string{"event.category", "event.dataset", "event.action"} {
		f, _ := loadSchema().Lookup(name)
		o.Buckets = append(o.Buckets, f.Slot)
	}
	return o
}

func TestSetAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector sync.Pool forgets at random")
	}
	memo := program.NewSet(load(t, 200), byAction()).NewMemo()
	events := loadEvents()
	i := 0
	run := func() {
		memo.Reset(events[i%len(events)])
		i++
		for _, c := range memo.Candidates() {
			memo.Match(int(c))
		}
	}
	for range events {
		run() // the list of candidates grows to its size
	}
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations per event", n)
	}
}
