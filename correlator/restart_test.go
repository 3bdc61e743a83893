package correlator

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
)

// stream is what a cluster's sources deliver, in the order in which it arrives,
// some of it twice.
type stream struct {
	events   []*event.Event
	arrivals []*event.Event
}

// What the sources of a stream keep to, and the longest span of a sequence. A later
// event is up to tooLate later than that.
const (
	streamLateness = 5 * time.Second
	streamTooLate  = 30 * time.Second
	streamSpan     = 20 * time.Second
)

// randomStream makes events of a few pods, on several nodes and by several API
// servers whose clocks are known to different precision. If tooLate, some come later
// than they may.
func randomStream(r *rand.Rand, n int, tooLate bool) stream {
	var s stream
	tolerance := map[string]time.Duration{}
	var before *event.Event
	for i, e := range randomEvents(r, n) {
		identify(e, "stream", i, r.Uint64())
		e.Source = fmt.Sprint(strings.SplitAfter(e.Source, "/")[0], r.IntN(3))
		if e.Audit != nil && e.Audit.Stage == "ResponseComplete" && e.Audit.ObjectRef.Subresource == "exec" { // Of the request before it.
			e.Time, e.Request, e.Source = before.Time, before.Request, before.Source
		} else {
			e.Time, e.Request = e.Time.Add(time.Duration(r.IntN(20))*30*time.Second), e.ID
		}
		e.StageTime = e.Time.Add(time.Duration(r.IntN(2000)) * time.Millisecond)
		if _, ok := tolerance[e.Source]; !ok {
			tolerance[e.Source] = time.Duration(r.IntN(3)) * 700 * time.Millisecond
		}
		e.Clock = event.Clock{Measured: true, Tolerance: tolerance[e.Source]}
		s.events = append(s.events, e)
		before = e
	}
	for _, e := range s.events {
		for times := 1 + r.IntN(5)/4; times > 0; times-- {
			delay := time.Duration(r.Int64N(int64(streamLateness)))
			if tooLate && r.IntN(10) == 0 {
				delay = streamLateness + time.Duration(r.Int64N(int64(streamTooLate)))
			}
			arrival := *e
			if arrival.Received = e.Time.Add(delay); arrival.Received.Before(e.StageTime) {
				arrival.Received = e.StageTime
			}
			s.arrivals = append(s.arrivals, &arrival)
		}
	}
	slices.SortStableFunc(s.arrivals, func(a, b *event.Event) int { return a.Received.Compare(b.Received) })
	return s
}

// server is a Correlator that is killed and started again, and what outlives it.
type server struct {
	tb     testing.TB
	schema *field.Schema
	rules  *rule.Set
	*harness
	// stored are the candidates that the bus has; letGo is set once it has let go of some.
	stored []bus.Candidate
	letGo  bool
	// told are all detections, in the order in which they were told; restarts
	// has the length of told at each start.
	told     []*event.Detection
	restarts []int
	replay   *replaying
	// fresh is how many detections were told as new by processes that are no more.
	fresh int
}

// replaying implements Replaying.
type replaying struct {
	over    chan struct{}
	horizon time.Time
}

func (r *replaying) Replayed() <-chan struct{} { return r.over }
func (r *replaying) Horizon() time.Time        { return r.horizon }

// start starts a process, which is given what is stored.
func (s *server) start(now time.Time) {
	s.restarts = append(s.restarts, len(s.told))
	s.fresh = s.isNew()
	known := map[string]bool{}
	for _, d := range s.told {
		known[d.ID] = true
	}
	retention := Retention(s.rules, streamSpan, streamLateness)
	kept := slices.DeleteFunc(slices.Clone(s.stored), func(c bus.Candidate) bool { return c.Event.Received.Before(now.Add(-retention)) })
	s.letGo = s.letGo || len(kept) < len(s.stored)
	s.stored = kept
	s.replay = &replaying{over: make(chan struct{})}
	if s.letGo && len(kept) > 0 {
		s.replay.horizon = kept[0].Event.Received
	}
	s.harness = newHarness(s.tb, s.schema, s.rules, func(o *Options) {
		o.Lateness, o.MaxSpan = streamLateness, streamSpan
		o.Known, o.Replay = func(id string) bool { return known[id] }, s.replay
	})
	s.options.Detections = s
	s.now = now
	for _, c := range kept {
		if err := s.consume(s.tb.Context(), c); err != nil {
			s.tb.Fatal(err)
		}
	}
	close(s.replay.over)
}

// isNew is how many detections were told as new so far.
func (s *server) isNew() int {
	n := s.fresh
	if s.harness != nil {
		for _, r := range s.rules.All() {
			for _, action := range []event.Action{event.ActionNone, event.ActionWouldQuarantine} {
				n += int(testutil.ToFloat64(s.metrics.detections.WithLabelValues(r.Name, string(action))))
			}
		}
	}
	return n
}

// take delivers one event when it arrives.
func (s *server) take(e *event.Event) {
	s.now = e.Received
	for _, c := range s.Match(e) {
		s.stored = append(s.stored, c)
		if err := s.consume(s.tb.Context(), c); err != nil {
			s.tb.Fatal(err)
		}
	}
}

// chainText is a detection's ID and what it is made of.
func chainText(d *event.Detection) string {
	ids := make([]string, 0, len(d.Events))
	for _, e := range d.Events {
		ids = append(ids, e.Request[:6]) // Either stage of a request is one hit.
	}
	return fmt.Sprint(d.Time.Sub(noon), " ", d.Rule.Name, " ", d.ID[:6], " of ", strings.Join(ids, ","), " in ", d.Pod.UID)
}

// run delivers a stream to servers that are killed on the way.
func (s *server) run(r *rand.Rand, arrivals []*event.Event) {
	s.start(arrivals[0].Received)
	for _, e := range arrivals {
		if r.IntN(40) == 0 {
			s.start(e.Received)
		}
		if r.IntN(10) == 0 {
			s.now = e.Received
			s.pass(s.tb, 0)
		}
		s.take(e)
	}
	s.pass(s.tb, time.Hour)
}

// Whatever order events of several sources arrive in, how often, and however often
// the process is killed: the final detections are those of the sorted events,
// each is new once, and what is told before the end was true.
func TestFinalDetectionsDoNotDependOnOrderOrRestarts(t *testing.T) {
	t.Parallel()
	schema := field.New()
	rules := replayRules(t, schema)
	seeds, changed, finals := uint64(40), 0, 0
	if raceEnabled { // There is no goroutine in it.
		seeds = 5
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 3))
		events := randomStream(r, 250, false)
		s := &server{tb: t, schema: schema, rules: rules}
		s.run(r, events.arrivals)
		replay := newReplay(t, ReplayOptions{Rules: rules, Schema: schema, MaxSpan: streamSpan})
		for _, e := range events.events {
			if err := replay.Add(e); err != nil {
				t.Fatal(err)
			}
		}
		sorted := replay.Finish(nil)
		want := make([]string, 0, len(sorted))
		for _, d := range sorted {
			want = append(want, chainText(d))
		}
		got := s.check(t)
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d, restarts at %v: of the sorted events (-), told (+)\n%s", seed, s.restarts, diff)
		}
		finals += len(got)
		for _, d := range s.told {
			if d.State == event.Superseded {
				changed++
			}
		}
	}
	if finals < 20*int(seeds) || changed < int(seeds) {
		t.Errorf("only %d detections, %d were superseded: the test tests little", finals, changed)
	}
}

// Events that come later than they may can be missed. What is told stays in order:
// each detection is new once, true, and decided in the end.
func TestEventsThatAreTooLate(t *testing.T) {
	t.Parallel()
	schema := field.New()
	rules := replayRules(t, schema)
	refused, seeds := 0.0, uint64(40)
	if raceEnabled {
		seeds = 5
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 4))
		s := &server{tb: t, schema: schema, rules: rules}
		s.run(r, randomStream(r, 250, true).arrivals)
		s.check(t)
		if t.Failed() {
			t.Fatalf("seed %d, restarts at %v", seed, s.restarts)
		}
		refused += testutil.ToFloat64(s.metrics.dropped.WithLabelValues(dropExpired))
	}
	if refused < float64(seeds)/10 {
		t.Errorf("only %v events were refused: the test tests little", refused)
	}
}

// Handle implements Detections.
func (s *server) Handle(_ context.Context, d *event.Detection) { s.told = append(s.told, d) }

// check returns the final detections, having looked at all that was told.
func (s *server) check(t *testing.T) []string {
	t.Helper()
	last, since := map[string]*event.Detection{}, map[string]int{}
	process := 0
	for i, d := range s.told {
		for process < len(s.restarts) && s.restarts[process] <= i {
			process++
		}
		before := last[d.ID]
		switch {
		case before == nil && d.State == event.Superseded:
			t.Errorf("%s is superseded before it was told", chainText(d))
		case before != nil && before.State == d.State && since[d.ID] == process && chainText(before) == chainText(d):
			t.Errorf("%s is told twice as %s", chainText(d), d.State)
		case before != nil && before.State == event.Final && since[d.ID] == process:
			t.Errorf("%s is %s after it was final", chainText(d), d.State)
		}
		checkChain(t, d)
		if before == nil || before.State != event.Final { // What was final stays as it was.
			last[d.ID], since[d.ID] = d, process
		}
	}
	if n := s.isNew(); n != len(last) {
		t.Errorf("%d detections were told as new, there are %d", n, len(last))
	}
	var final []*event.Detection
	for _, d := range last {
		switch d.State {
		case event.Final:
			final = append(final, d)
		case event.Provisional:
			t.Errorf("%s is provisional for ever", chainText(d))
		case event.Superseded:
			if by := last[d.SupersededBy]; d.SupersededBy != "" && by == nil {
				t.Errorf("%s is superseded by %s, which was never told", chainText(d), d.SupersededBy)
			}
		}
	}
	slices.SortFunc(final, func(a, b *event.Detection) int {
		return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.ID, b.ID))
	})
	text := make([]string, 0, len(final))
	for _, d := range final {
		text = append(text, chainText(d))
	}
	return text
}

// checkChain looks whether the events can have happened in that order, in time.
func checkChain(t *testing.T, d *event.Detection) {
	t.Helper()
	within := func(a, b *event.Event, most time.Duration) bool {
		if a.Source != b.Source {
			most += a.Clock.Tolerance + b.Clock.Tolerance
		}
		return a.Time.Sub(b.Time) <= most
	}
	for i, e := range d.Events[1:] {
		if !within(d.Events[i], e, 0) || d.Events[i].ID == e.ID {
			t.Errorf("%s does not follow its events' order", chainText(d))
		}
	}
	if first, last := d.Events[0], d.Events[len(d.Events)-1]; !within(last, first, 5*time.Minute) {
		t.Errorf("%s takes %s", chainText(d), last.Time.Sub(first.Time))
	}
}
