package quarantine

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/steady"
)

// TestAStepOfTheWallClockReleasesNobody sets the wall clock while quarantines with a TTL are in force.
func TestAStepOfTheWallClockReleasesNobody(t *testing.T) {
	for _, step := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			var passed, set time.Duration
			clock, err := steady.New(steady.Options{
				Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
				Wall: func() time.Time { return noon.Add(passed + set) }, Passed: func() time.Duration { return passed },
			})
			if err != nil {
				t.Fatal(err)
			}
			s := newState(&Index{}, newMemory())
			g, err := NewGate(GateOptions{
				Index: s.index, Endpoints: endpoints{}, Refusals: &told{}, Registerer: prometheus.NewPedanticRegistry(), Now: clock.Now,
				Pods: pods{current: map[string]event.Pod{"shop/web-0": {UID: "u1", Namespace: "shop", Name: "web-0", Confidence: event.ByName}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			s.impose(entry(t, "d0", time.Hour, clock.Now()), clock.Now())
			for i := range 20 { // others, whose objects are in the cluster
				d := detection(fmt.Sprint("other", i))
				d.Pod.UID, d.Pod.Name = fmt.Sprint("v", i), fmt.Sprint("web-", i+1)
				q := entryFor(t, d, podSpec(time.Hour), clock.Now()).object()
				q.ResourceVersion = fmt.Sprint(i + 1)
				s.observed(q, clock.Now(), &effects{})
			}
			check := func(when string, inForce bool) {
				t.Helper()
				var fx effects
				s.end(clock.Now(), func(string) bool { return false }, &fx)
				if over := len(fx.doom) + len(fx.ended); (over == 0) != inForce {
					t.Errorf("%s %d of 21 quarantines have ended", when, over)
				}
				if v := judge(t, g, exec("alice", "sh")); v.Allowed == inForce {
					t.Errorf("%s exec is allowed: %v", when, v.Allowed)
				}
			}
			set = step
			passed += time.Second
			check("after the step", true)
			passed += 59*time.Minute - time.Second
			check("before the end", true)
			passed += 2 * time.Minute
			check("after the end", false)
		})
	}
}
