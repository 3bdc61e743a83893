package nodestream

import (
	"slices"
	"testing"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/correlator"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
)

// detections are what the shipped rules make of events, every rule in the mode enforce.
func detections(t *testing.T, events []*event.Event) []*event.Detection {
	t.Helper()
	schema := field.New()
	set, err := rule.Load(config.Rules(), rule.Options{Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	replay, err := correlator.NewReplay(correlator.ReplayOptions{Rules: set, Schema: schema, Mode: rule.Enforce})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if err := replay.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	return replay.Finish(nil)
}

// TestAnAgentThatLiesOrOverflowsIsDetected: a node that speaks for another one's pod, and a container that does more
// than is reported of one, are each a detection by a shipped rule.
func TestAnAgentThatLiesOrOverflowsIsDetected(t *testing.T) {
	to, p := newPipeline(), newPlace(t)
	p.serve(to)
	spool := newSpool(t, p.spool, "s")
	for range 3 {
		lie := exec("lie")
		lie.Container.PodUid = theirPod
		spool.Push(lie)
	}
	limit := exec("flood")
	limit.What = &telemetryv1.Event_Limit{Limit: &telemetryv1.LimitExceeded{Budget: "execs", Suppressed: 12_000}}
	spool.Push(limit)
	spool.Close()
	if err := p.client("boot", "s", spool, nil).Run(t.Context()); err != nil {
		t.Fatal(err)
	}

	found := detections(t, to.all())
	rules := make([]string, 0, len(found))
	for _, d := range found {
		rules = append(rules, d.Rule.Name)
		if d.Action != event.ActionNone {
			t.Errorf("%s: the action is %s", d.Rule.Name, d.Action)
		}
		if claim := d.Events[0].Pod; d.Rule.Name == "foreign-pod-telemetry" && (!d.Pod.IsZero() || claim.Node != nodeName || !slices.Equal(claim.Candidates, []string{theirPod})) {
			t.Errorf("the lie is detected as one about %v, by %+v", d.Pod, claim)
		}
	}
	slices.Sort(rules)
	if want := []string{"foreign-pod-telemetry", "telemetry-limit"}; !slices.Equal(rules, want) {
		t.Errorf("detected by %v, want %v", rules, want)
	}
	if to.executed("lie") != nil {
		t.Error("the lie itself was handed on")
	}
}
