package coverage

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/event"
)

// TestProgressOutlivesARestart: what the collector compares with when the same agent process comes back.
func TestProgressOutlivesARestart(t *testing.T) {
	for name, tc := range map[string]struct{ stopped, exact bool }{"stopped": {true, true}, "crashed": {false, false}} {
		store := &memory{}
		r := restarted(t, store, at(0))
		a := r.Agents()
		if reached, numbers, _ := a.Connected("n1", "s1", at(0)); !reached.IsZero() || numbers != nil {
			t.Errorf("%s: a session that nobody has heard of has reached %v, %v", name, reached, numbers)
		}
		a.Reached("n1", "s1", at(5), 49, 490, 7)
		r.store(t.Context(), &time.Time{}, tc.stopped)

		r = restarted(t, store, at(600))
		a = r.Agents()
		reached, numbers, exact := a.Connected("n1", "s1", at(601))
		if !reached.Equal(at(5)) || exact != tc.exact || !cmp.Equal(numbers, []uint64{49, 490, 7}) {
			t.Errorf("%s: reached %v, numbers %v, exact %v", name, reached, numbers, exact)
		}
		a.Lost("n1", "spool-full", reached, at(602), 7)
		a.Reached("n1", "s1", at(602), 50, 500, 14)
		want := []event.Hole{{Source: "agent/n1", Cause: "spool-full", From: at(5), To: at(602), Lost: 7}}
		if diff := cmp.Diff(want, r.Holes([]string{"agent/n1"}, at(300), at(300))); diff != "" {
			t.Errorf("%s: in the middle of the time away (-want +got):\n%s", name, diff)
		}
		if _, _, exact := a.Connected("n1", "s1", at(603)); !exact {
			t.Errorf("%s: within one process the numbers are exact", name)
		}
	}
}

// TestExactOnlyOnce: a process that crashes before it has stored anything leaves what was exact before it.
func TestExactOnlyOnce(t *testing.T) {
	store := &memory{}
	r := restarted(t, store, at(0))
	r.Agents().Connected("n1", "s1", at(0))
	r.Agents().Reached("n1", "s1", at(5), 1)
	r.store(t.Context(), &time.Time{}, true)
	restarted(t, store, at(10))
	if _, numbers, exact := restarted(t, store, at(11)).Agents().Connected("n1", "s1", at(12)); exact || len(numbers) != 1 {
		t.Errorf("after a crash exact %v, numbers %v", exact, numbers)
	}
}

// TestProgressIsStoredNowAndThen: not with every batch of every agent.
func TestProgressIsStoredNowAndThen(t *testing.T) {
	store := &memory{}
	r := restarted(t, store, at(0))
	a := r.Agents()
	a.Connected("n1", "s1", at(0))
	reach := func(second int) string {
		r.now = at(second)
		a.Reached("n1", "s1", at(second), uint64(second))
		alive := r.now
		r.store(t.Context(), &alive, false)
		return store.values[sourceKey+"agent/n1"]
	}
	first := reach(1)
	if first == "" || reach(2) != first || reach(29) != first || reach(40) == first {
		t.Errorf("the progress is stored with every batch, or never: %v", store.values)
	}
}

func TestDownTimeBeginsWhereTheAgentWas(t *testing.T) {
	store := &memory{}
	r := restarted(t, store, at(0))
	r.Agents().Connected("n1", "s1", at(-1000))
	r.Agents().Reached("n1", "s1", at(-600)) // It had much to send.
	r.store(t.Context(), &time.Time{}, true)
	r = restarted(t, store, at(60))
	r.Agents().Connected("n1", "s2", at(61))
	want := []event.Hole{hole("agent/n1", CauseRestarted, -600, 61)}
	if diff := cmp.Diff(want, r.Holes([]string{"agent/n1"}, at(-300), at(-300))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestWhatHasNotArrivedYet: an agent that is behind, or silent, has not told of what is asked for.
func TestWhatHasNotArrivedYet(t *testing.T) {
	for name, tc := range map[string]struct {
		reached, heard, now, to int
		arrived                 int // of the detection's own event, if not 0
		want                    []event.Hole
	}{
		"prompt, and nothing has happened since": {reached: 100, heard: 100, now: 109, to: 108},
		"just heard of, by this event":           {reached: 100, heard: 100, now: 109, to: 109, arrived: 109},
		"it has told of it":                      {reached: 100, heard: 160, now: 161, to: 90},
		"behind":                                 {reached: 100, heard: 160, now: 161, to: 150, want: []event.Hole{hole("agent/n1", CausePending, 100, 150)}},
		"behind, but this has come":              {reached: 100, heard: 160, now: 161, to: 150, arrived: 150},
		"behind, and a part has come":            {reached: 100, heard: 160, now: 161, to: 150, arrived: 120, want: []event.Hole{hole("agent/n1", CausePending, 120, 150)}},
		"silent":                                 {reached: 100, heard: 100, now: 116, to: 110, want: []event.Hole{hole("agent/n1", CausePending, 100, 110)}},
	} {
		r := newRig(t, nil)
		r.Agents().Connected("n1", "s1", at(-1000))
		r.now = at(tc.heard)
		r.Agents().Reached("n1", "s1", at(tc.reached))
		r.now = at(tc.now)
		d := &event.Detection{Events: []*event.Event{process(1, "n1", "p")}}
		if tc.arrived > 0 {
			d.Events = append(d.Events, process(tc.arrived, "n1", "p"))
		}
		d.Events[0].Time = at(50)
		r.Known("audit/a", at(-1000))
		got := r.Of(d, at(50), at(tc.to)).Holes
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		// It catches up: asked again, nothing is missing.
		r.now = at(200)
		r.Agents().Reached("n1", "s1", at(200))
		if got := r.Of(d, at(50), at(tc.to)).Holes; len(got) > 0 {
			t.Errorf("%s, asked again: %+v", name, got)
		}
	}
}

// TestOneHoleOfAnAgentThatIsAway: it is not told twice.
func TestOneHoleOfAnAgentThatIsAway(t *testing.T) {
	r := newRig(t, nil)
	r.Agents().Connected("n1", "s1", at(0))
	r.Agents().Reached("n1", "s1", at(10))
	r.Agents().Disconnected("n1", at(30))
	r.now = at(90)
	want := []event.Hole{{Source: "agent/n1", Cause: CauseDisconnected, From: at(10)}}
	if diff := cmp.Diff(want, r.Holes([]string{"agent/n1"}, at(50), at(80))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
