package canary

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/event"
)

func TestTimesAreCorrected(t *testing.T) {
	f := newFixture(t)
	f.addresses = []string{a, b}
	f.ahead[a], f.ahead[b] = 3*time.Minute, -2*time.Minute
	f.round()
	f.pass(time.Second) // The batch has waited.
	happened := f.now.Add(-500 * ms)

	// The canary comes last of its batch, and counts for all of it.
	ahead, behind := f.other("audit/cp-a", happened.Add(3*time.Minute)), f.other("audit/cp-b", happened.Add(-2*time.Minute))
	f.Take([]*event.Event{ahead, f.event(f.agents[a], "audit/cp-a")})
	f.Take([]*event.Event{behind, f.event(f.agents[b], "audit/cp-b")})
	for _, e := range []*event.Event{ahead, behind} {
		c := e.Clock
		if off := e.Time.Sub(happened).Abs(); off > c.Tolerance || c.Tolerance > 11*ms || !c.Measured {
			t.Errorf("%s: off by %v, clock %+v", e.Source, off, c)
		}
		if e.StageTime.Sub(e.Time) != ms {
			t.Errorf("%s: the stages are %v apart", e.Source, e.StageTime.Sub(e.Time))
		}
	}
	if raw := ahead.Time.Add(ahead.Clock.Offset); !raw.Equal(happened.Add(3 * time.Minute)) {
		t.Errorf("what the API server wrote was %v", raw)
	}
	if diff := cmp.Diff([]time.Duration{-2 * time.Minute, 3 * time.Minute}, f.told); diff != "" {
		t.Errorf("offsets (-want +got):\n%s", diff)
	}
}

func TestClocksThatMayAgreeAreLeftAlone(t *testing.T) {
	f := newFixture(t)
	f.ahead[a] = 5 * ms
	f.round()
	f.pass(time.Second)
	e := f.other("audit/cp-a", f.now)
	f.Take([]*event.Event{f.event(f.agents[a], "audit/cp-a"), e})
	if !e.Time.Equal(f.now) || !e.Clock.Measured || e.Clock.Offset != 0 || e.Clock.Tolerance < 5*ms {
		t.Errorf("time %v, clock %+v", e.Time, e.Clock)
	}
}

// TestBeforeTheAnswer: in blocking mode the event is here before the answer is.
func TestBeforeTheAnswer(t *testing.T) {
	f := newFixture(t)
	f.ahead[a] = time.Hour
	flown := &flight{agent: UserAgentPrefix + "x", sent: f.now}
	f.launch(a, flown)
	returned := &event.Event{
		Source: "audit/cp-a", Request: "r", Time: f.now.Add(time.Hour), Received: f.now.Add(30 * ms),
		Audit: &event.Audit{UserAgent: flown.agent},
	}
	f.Take([]*event.Event{returned})
	if k := f.clocks["audit/cp-a"]; k == nil || (k.offset-time.Hour).Abs() > 15*ms {
		t.Errorf("measured is %+v", k)
	}
}

func TestClockThatIsSet(t *testing.T) {
	f := newFixture(t)
	for _, ahead := range []time.Duration{0, -7 * time.Minute, -7 * time.Minute, 0} {
		f.ahead[a] = ahead
		f.round()
		f.returns(a, "audit/cp-a")
		e := f.other("audit/cp-a", f.now.Add(ahead))
		f.Take([]*event.Event{e})
		if e.Time.Sub(f.now).Abs() > e.Clock.Tolerance {
			t.Errorf("ahead by %v: corrected by %v", ahead, e.Clock.Offset)
		}
		f.pass(10 * time.Second)
	}
	if diff := cmp.Diff([]time.Duration{-7 * time.Minute, 0}, f.told); diff != "" {
		t.Errorf("offsets, former ones included (-want +got):\n%s", diff)
	}
	f.pass(2 * keepFormer)
	f.tellOffsets()
	if diff := cmp.Diff([]time.Duration{0}, f.told); diff != "" {
		t.Errorf("offsets after a while (-want +got):\n%s", diff)
	}
}

func TestUnmeasuredTimesStay(t *testing.T) {
	f := newFixture(t)
	e := f.other("audit/unheard-of", f.now)
	f.Take([]*event.Event{e})
	if !e.Time.Equal(f.now) || e.Clock != (event.Clock{}) {
		t.Errorf("time %v, clock %+v", e.Time, e.Clock)
	}
	corrected := f.other("audit/cp-a", f.now)
	corrected.Clock = event.Clock{Measured: true, Offset: time.Second}
	f.round()
	f.ahead[a] = time.Hour
	f.Take([]*event.Event{corrected, f.event(f.agents[a], "audit/cp-a")})
	if !corrected.Time.Equal(f.now) {
		t.Error("a time was corrected twice")
	}
}

func TestTwoAPIServersUnderOneName(t *testing.T) {
	f := newFixture(t)
	f.addresses = []string{a, b}
	f.ahead[a], f.ahead[b] = 0, 5*time.Minute
	for range 3 {
		f.round()
		f.returns(a, "audit/cp")
		f.returns(b, "audit/cp")
		f.pass(10 * time.Second)
	}
	e := f.other("audit/cp", f.now)
	f.Take([]*event.Event{e})
	if e.Clock.Offset != 0 || e.Clock.Tolerance < 5*time.Minute {
		t.Errorf("the clock is %+v, want a tolerance that says that nothing is known", e.Clock)
	}
	if n := strings.Count(f.log.String(), "send their audit events under one name"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

// memory is a Store.
type memory struct {
	values map[string][]byte
	err    error
	puts   int
}

func (m *memory) Put(_ context.Context, key string, value []byte) error {
	if m.err == nil {
		m.values[key] = value
		m.puts++
	}
	return m.err
}

func (m *memory) Range(_ context.Context, f func(string, []byte, time.Time) error) error {
	for key, value := range m.values {
		if err := f(key, value, time.Time{}); err != nil {
			return err
		}
	}
	return m.err
}

func TestClocksOutliveTheProcess(t *testing.T) {
	store := &memory{values: map[string][]byte{"pod/x": []byte("not ours"), "clock/audit/broken": []byte("{")}}
	with := func(o *Options) { o.Store = store }
	f := newFixture(t, with)
	f.ahead[a] = 3 * time.Minute
	for range 4 {
		f.round()
		f.returns(a, "audit/cp-a")
		f.save(t.Context())
		f.pass(10 * time.Second)
	}
	if store.puts != 1 {
		t.Errorf("stored %d times, want once a minute", store.puts)
	}

	next := newFixture(t, with)
	if err := next.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]time.Duration{3 * time.Minute}, next.told); diff != "" {
		t.Errorf("offsets that are told (-want +got):\n%s", diff)
	}
	next.now = f.now.Add(20 * time.Second)
	e := next.other("audit/cp-a", next.now)
	next.Take([]*event.Event{e})
	if e.Clock.Offset != 3*time.Minute || e.Clock.Tolerance < 20*ms || e.Clock.Tolerance > time.Second {
		t.Errorf("after a restart the clock is %+v", e.Clock)
	}

	store.err = errors.New("disk full")
	if err := next.Load(t.Context()); !errors.Is(err, store.err) {
		t.Errorf("Load says %v", err)
	}
	next.pass(time.Hour)
	next.save(t.Context())
	if !strings.Contains(next.log.String(), "disk full") {
		t.Error("a clock that could not be stored is not logged")
	}
}

// TestOffsetIsStoredAsSoonAsItIsUsed: the next tick may be one too late.
func TestOffsetIsStoredAsSoonAsItIsUsed(t *testing.T) {
	f := newFixture(t)
	f.ahead[a] = 3 * time.Minute
	f.round()
	f.returns(a, "audit/cp-a")
	f.round()
	select {
	case <-f.moved:
	default:
		t.Error("Run is not told that an offset has changed")
	}
}
