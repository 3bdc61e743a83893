package coverage

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/event"
)

func process(second int, node, pod string) *event.Event {
	return &event.Event{Source: "agent/" + node, Time: at(second), Pod: event.Pod{UID: pod, Name: pod, Node: node}}
}

func audit(second int, user string, target event.Pod) *event.Event {
	return &event.Event{Source: "audit/a", Time: at(second), Audit: &event.Audit{User: event.AuditUser{Username: user}, Target: target}}
}

// TestOf: the holes that could have mattered, and no others.
func TestOf(t *testing.T) {
	web := event.Pod{UID: "web", Name: "web", Node: "n2"}
	for name, tc := range map[string]struct {
		detection event.Detection
		from, to  int
		want      []string
	}{
		"telemetry alone": {event.Detection{Events: []*event.Event{process(5, "n1", "p"), process(8, "n1", "p")}}, 5, 8,
			[]string{"agent/n1", "join/uid:p", "pod/p", "server/bus"}},
		"telemetry of another node": {event.Detection{Events: []*event.Event{process(5, "n3", "q")}}, 5, 5,
			[]string{"server/bus"}},
		"an audit event alone": {event.Detection{User: "eve", Events: []*event.Event{audit(5, "eve", web)}}, 5, 5,
			[]string{"audit/a", "join/eve", "join/uid:web", "server/bus"}},
		"both": {event.Detection{Pod: web, Events: []*event.Event{process(5, "n2", "web"), audit(8, "bob", web)}}, 5, 8,
			[]string{"agent/n2", "audit/a", "join/uid:web", "server/bus"}},
		"what did not happen": {event.Detection{Events: []*event.Event{audit(5, "bob", web)}}, 5, 9,
			[]string{"agent/n2", "audit/a", "join/uid:web", "server/bus"}},
		"before it all": {event.Detection{Events: []*event.Event{process(-9, "n1", "p")}}, -9, -9, []string{}},
	} {
		r := newRig(t, nil)
		for _, source := range []string{"agent/n1", "agent/n2", "audit/a", "pod/p", "server/bus", "join/eve", "join/uid:p", "join/uid:web"} {
			r.note(hole(source, "x", 0, 100))
		}
		r.Known("agent/n3", at(-3600))
		got := r.Of(&tc.detection, at(tc.from), at(tc.to))
		sources := make([]string, 0, len(got.Holes))
		for _, h := range got.Holes {
			sources = append(sources, h.Source)
		}
		slices.Sort(sources)
		if diff := cmp.Diff(tc.want, sources); diff != "" || !got.Known {
			t.Errorf("%s: known %v (-want +got):\n%s", name, got.Known, diff)
		}
	}
}

func TestOfAsksWhatTheRuleReads(t *testing.T) {
	r := newRig(t, func(o *Options) {
		o.Reads = func(rule string) (telemetry, audit bool) { return false, rule == "both" }
	})
	r.note(hole("agent/n1", "x", 0, 100), hole("audit/a", "x", 0, 100), hole("rule/both", "x", 0, 100))
	d := &event.Detection{Events: []*event.Event{process(5, "n1", "p")}}
	for name, want := range map[string]int{"both": 3, "telemetry": 1} {
		d.Rule.Name = name
		if got := r.Of(d, at(0), at(9)).Holes; len(got) != want {
			t.Errorf("%s: %+v, want %d", name, got, want)
		}
	}
}

func TestOfKeepsTheLongest(t *testing.T) {
	r := newRig(t, nil)
	for i := range 3 * maxDetectionHoles / 2 {
		r.note(hole(fmt.Sprintf("server/%02d", i), "x", 0, 1+i/2))
	}
	r.Open("server/open", "x", at(0))
	got := r.Of(&event.Detection{}, at(0), at(0)).Holes
	shortest := at(1000)
	for _, h := range got {
		if !h.To.IsZero() && h.To.Before(shortest) {
			shortest = h.To
		}
	}
	if len(got) != maxDetectionHoles || shortest.Before(at(9)) || !slices.ContainsFunc(got, func(h event.Hole) bool { return h.To.IsZero() }) {
		t.Errorf("%d holes, the shortest until %v", len(got), shortest)
	}
}

func BenchmarkOf(b *testing.B) {
	r := newRig(b, nil)
	for i := range 5000 {
		r.note(hole(fmt.Sprintf("agent/n%d", i), "x", 0, 100))
	}
	d := &event.Detection{Events: []*event.Event{process(5, "n1", "p"), audit(8, "bob", event.Pod{UID: "p", Node: "n1"})}}
	for b.Loop() {
		r.Of(d, at(5), at(8))
	}
}
