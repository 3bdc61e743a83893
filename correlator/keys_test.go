package correlator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
)

// keyed is a sequence by some fields, and the values of those in an event, where
// nil is none.
type keyed struct {
	by     string
	values []func(*event.Event) []string
}

// orNull makes a field's absence a value like any other.
func orNull(values func(*event.Event) []string) func(*event.Event) []string {
	return func(e *event.Event) []string {
		if all := values(e); len(all) > 0 {
			return all
		}
		return []string{"null"}
	}
}

func podOfEvent(e *event.Event) []string {
	if e.Pod.IsZero() {
		return nil
	}
	return []string{e.Pod.Key()}
}

func argsOf(e *event.Event) []string { return e.Process.Args }

func parentOf(e *event.Event) []string {
	if e.Process.Parent == nil {
		return nil
	}
	return []string{e.Process.Parent.Name}
}

// tuples are the keys of an event: every combination of the values of the fields.
func (k keyed) tuples(e *event.Event) []string {
	tuples := []string{""}
	for _, values := range k.values {
		var more []string
		for _, tuple := range tuples {
			for _, v := range values(e) {
				more = append(more, tuple+"/"+v)
			}
		}
		tuples = more
	}
	slices.Sort(tuples)
	return slices.Compact(tuples)
}

// programs are events of a few programs, some of which lack a pod or a parent, or
// have several arguments, the same ones twice among them.
func programs(r *rand.Rand) []*event.Event {
	events := make([]*event.Event, 4+r.IntN(14))
	for i := range events {
		e := execIn([]event.Pod{cart(), elsewhere(), {}}[r.IntN(3)], time.Duration(r.IntN(20))*time.Second, string(rune('a'+r.IntN(4))))
		for range r.IntN(3) {
			e.Process.Args = append(e.Process.Args, []string{"x", "y"}[r.IntN(2)])
		}
		if e.Process.Args[0] = "x"; r.IntN(4) == 0 {
			e.Process.Args = nil
		}
		if r.IntN(3) > 0 {
			e.Process.Parent = &event.ProcessRef{Name: []string{"sh", "init"}[r.IntN(2)]}
		}
		events[i] = identify(e, "program", i, r.Uint64())
	}
	return events
}

// What a sequence by some fields finds is what the same sequence without them
// finds among the events of each key by themselves.
func TestKeysOnlyTakeEventsApart(t *testing.T) {
	t.Parallel()
	const shapes = `
[process where process.name == "a"] [process where process.name == "b"]
[process where process.name == "a"] [process where process.name == "a"] [process where process.name == "b"]
[process where process.name == "a"] with runs=3 [process where process.name == "b"]
[process where process.name == "a"] ![process where process.name == "c"] [process where process.name == "b"]
![process where process.name == "c"] [process where process.name == "a"] [process where process.name == "b"]
[process where process.name == "a"] ![process where process.name == "b"]
[process where process.name == "a"] [process where process.name == "b"] until [process where process.name == "d"]
[process where process.name in ("a", "b")] [any where process.name in ("b", "c")] ![any where process.name == "d"]`
	keys := []keyed{
		{"orchestrator.resource.name", []func(*event.Event) []string{podOfEvent}},
		{"?orchestrator.resource.name", []func(*event.Event) []string{orNull(podOfEvent)}},
		{"process.args", []func(*event.Event) []string{argsOf}},
		{"?process.args, process.parent.name", []func(*event.Event) []string{orNull(argsOf), parentOf}},
		{"orchestrator.resource.name, ?process.parent.name", []func(*event.Event) []string{podOfEvent, orNull(parentOf)}},
	}
	found, streams := 0, uint64(150)
	if raceEnabled { // There is no goroutine in it.
		streams = 10
	}
	for i, shape := range strings.Split(strings.TrimSpace(shapes), "\n") {
		for j, key := range keys {
			schema := field.New()
			replay := func(by string) *Replay {
				text := ruleText("rule", "sequence"+by+" with maxspan=6s "+shape, "")
				return newReplay(t, ReplayOptions{Rules: ruleSet(t, schema, text), Schema: schema})
			}
			by, without := replay(" by "+key.by), replay("")
			for seed := range streams {
				r := rand.New(rand.NewPCG(seed, uint64(10*i+j)))
				events := programs(r)
				want := map[string]int{}
				for _, tuple := range allTuples(key, events) {
					of := slices.DeleteFunc(slices.Clone(events), func(e *event.Event) bool { return !slices.Contains(key.tuples(e), tuple) })
					addChains(t, want, without, of)
				}
				r.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
				got := map[string]int{}
				addChains(t, got, by, append(events, events[:len(events)/2]...))
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("seed %d, by %s: %s\nkey by key (-), together (+)\n%s", seed, key.by, shape, diff)
				}
				found += len(got)
			}
		}
	}
	if found < 10*int(streams) {
		t.Errorf("only %d sequences: the test tests little", found)
	}
}

func allTuples(key keyed, events []*event.Event) []string {
	all := make([]string, 0, 4*len(events))
	for _, e := range events {
		all = append(all, key.tuples(e)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// addChains replays events and counts the chains that are found.
func addChains(t *testing.T, chains map[string]int, replay *Replay, events []*event.Event) {
	t.Helper()
	replay.Reset()
	for _, e := range events {
		if err := replay.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range replay.Finish(nil) {
		ids := make([]string, 0, len(d.Events))
		for _, e := range d.Events {
			ids = append(ids, fmt.Sprint(e.Process.Name, e.Time.Sub(noon), e.ID[:4]))
		}
		chains[strings.Join(ids, " ")]++
	}
}
