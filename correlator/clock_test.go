package correlator

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/steady"
)

// machine is one whose wall clock a test sets.
type machine struct {
	now time.Time     // as a clock would show that nobody sets
	set time.Duration // by how much the wall clock was
}

func (m *machine) wall() time.Time { return m.now.Add(m.set) }

// clock is the machine's steady clock.
func (m *machine) clock(t *testing.T) *steady.Clock {
	t.Helper()
	c, err := steady.New(steady.Options{
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		Wall: m.wall, Passed: func() time.Duration { return m.now.Sub(noon) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// anHourOfSequences has one open while the wall clock is set, and set again a second later, and
// then one every ten minutes. It returns the detections.
func anHourOfSequences(t *testing.T, schema *field.Schema, step, again time.Duration) (told []string) {
	t.Helper()
	m := &machine{now: noon.Add(time.Minute)}
	h := newHarness(t, schema, ruleSet(t, schema, ruleText("pair", anyPair, "")), func(o *Options) { o.Clock = m.clock(t).Now })
	pass := func(d time.Duration) {
		m.now = m.now.Add(d)
		h.advance(t.Context())
	}
	pod := cart()
	h.feed(t, execIn(pod, 55*time.Second, "ls"))
	pass(time.Second)
	m.set += step
	pass(time.Second)
	m.set += again
	pass(time.Second)
	h.feed(t, called(pod, time.Minute, "get", "pods"))
	for i := range 6 {
		at := time.Duration(5+10*i) * time.Minute
		m.now = noon.Add(at + 2*time.Second)
		h.feed(t, execIn(pod, at, "ls"), called(pod, at+time.Second, "get", "pods"))
		pass(time.Second)
	}
	for _, d := range h.recorder.all {
		told = append(told, d.Time.Format(time.TimeOnly)+" "+d.ID)
	}
	return told
}

func TestAStepOfTheWallClockChangesNothing(t *testing.T) {
	schema := field.New()
	want := anHourOfSequences(t, schema, 0, 0)
	if len(want) != 7 {
		t.Fatalf("while nobody sets the clock there are %d detections, want 7", len(want))
	}
	for name, steps := range map[string][2]time.Duration{
		"an hour ahead for a second": {time.Hour, -time.Hour},
		"an hour back for a second":  {-time.Hour, time.Hour},
		"an hour ahead":              {time.Hour, 0},
		"an hour back":               {-time.Hour, 0},
		"a year ahead":               {365 * 24 * time.Hour, 0},
		"three seconds ahead":        {3 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(want, anHourOfSequences(t, schema, steps[0], steps[1])); diff != "" {
				t.Errorf("detections (-without it +with it):\n%s", diff)
			}
		})
	}
}
