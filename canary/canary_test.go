package canary

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/portcullis-dev/portcullis/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	a, b = "10.0.0.1:6443", "10.0.0.2:6443"
	ms   = time.Millisecond
)

// fixture is a Canary in a world with a clock that the test moves.
type fixture struct {
	*Canary
	t   *testing.T
	log bytes.Buffer

	mu        sync.Mutex
	now       time.Time
	addresses []string
	listError error
	// ahead is how far each API server's clock is ahead, away those that do not answer.
	ahead map[string]time.Duration
	away  map[string]bool
	// agents are the user agents of the latest round, by address.
	agents map[string]string
	stamps map[string]time.Time
	// told are the offsets that were told last.
	told []time.Duration
}

func (f *fixture) Addresses(context.Context) ([]string, error) { return f.addresses, f.listError }

// Get takes 10 ms there and 10 ms back.
func (f *fixture) Get(_ context.Context, address, agent string) (Trip, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.agents[address] = agent
	f.stamps[agent] = f.now.Add(10*ms + f.ahead[address])
	if f.away[address] {
		return Trip{}, errors.New("connection refused")
	}
	return Trip{Sent: f.now, Answered: f.now.Add(20 * ms)}, nil
}

func newFixture(t *testing.T, change ...func(*Options)) *fixture {
	t.Helper()
	f := &fixture{
		t: t, now: time.Unix(100_000, 0).UTC(), addresses: []string{a}, ahead: map[string]time.Duration{},
		away: map[string]bool{}, agents: map[string]string{}, stamps: map[string]time.Time{},
	}
	opts := Options{
		APIServers: f,
		Period:     10 * time.Second,
		BlindAfter: time.Minute,
		Clock:      func() time.Time { return f.now },
		Offsets:    func(offsets []time.Duration) { f.told = offsets },
		Logger:     slog.New(slog.NewTextHandler(&f.log, nil)),
		Registerer: prometheus.NewPedanticRegistry(),
	}
	for _, c := range change {
		c(&opts)
	}
	c, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	f.Canary = c
	return f
}

func (f *fixture) pass(d time.Duration) { f.now = f.now.Add(d) }

// round has a canary fly to each API server, and looks at what has become of the earlier ones.
func (f *fixture) round() {
	f.t.Helper()
	f.Canary.round(f.t.Context())
	f.judge()
}

// event is the audit event of a canary, from a source.
func (f *fixture) event(agent, source string) *event.Event {
	return &event.Event{
		ID: agent, Request: agent, Source: source, Received: f.now.Add(30 * ms), Time: f.stamps[agent], StageTime: f.stamps[agent],
		Audit: &event.Audit{UserAgent: agent},
	}
}

// returns has the latest canary of an address come back.
func (f *fixture) returns(address, source string) bool {
	return len(f.Take([]*event.Event{f.event(f.agents[address], source)})) == 0
}

// other is somebody's audit event at a time of the source's clock.
func (f *fixture) other(source string, at time.Time) *event.Event {
	return &event.Event{Source: source, Time: at, StageTime: at.Add(ms), Received: f.now, Audit: &event.Audit{}}
}

func (f *fixture) states() map[string]State {
	out := map[string]State{}
	for _, s := range f.Status() {
		out[s.Address] = s.State
	}
	return out
}

func (f *fixture) expect(want map[string]State) {
	f.t.Helper()
	if diff := cmp.Diff(want, f.states()); diff != "" {
		f.t.Errorf("states (-want +got):\n%s", diff)
	}
	blind := slices.ContainsFunc(slices.Collect(maps.Values(want)), func(s State) bool { return !s.Seen() })
	if f.Blind() != blind || testutil.ToFloat64(f.metrics.blind) != one(blind) {
		f.t.Errorf("blind: %v, as a metric %v, want %v", f.Blind(), testutil.ToFloat64(f.metrics.blind), blind)
	}
}

func TestBlindUntilAllHaveReturned(t *testing.T) {
	f := newFixture(t)
	if !f.Blind() {
		t.Error("sees before anything came back")
	}
	f.addresses = []string{b, a, a}
	f.round()
	f.pass(50 * ms)
	if !f.returns(a, "audit/cp-a") {
		t.Error("the canary's own event was not recognised")
	}
	f.expect(map[string]State{a: Live, b: Starting})
	f.returns(b, "audit/cp-b")
	f.expect(map[string]State{a: Live, b: Live})
}

func TestEachAPIServerIsBlindForItself(t *testing.T) {
	f := newFixture(t)
	f.addresses = []string{a, b}
	for range 10 {
		f.round()
		f.returns(a, "audit/cp-a")
		f.pass(10 * time.Second)
	}
	f.round()
	f.expect(map[string]State{a: Live, b: Silent})
	if got := testutil.ToFloat64(f.metrics.blindAt.WithLabelValues(b)); got != 1 {
		t.Errorf("%s is blind: %v", b, got)
	}
	if !strings.Contains(f.log.String(), "audit-webhook-config-file") {
		t.Errorf("the log has no advice:\n%s", f.log.String())
	}
	f.returns(b, "audit/cp-b")
	f.expect(map[string]State{a: Live, b: Live})
}

func TestWhyNothingReturns(t *testing.T) {
	for name, row := range map[string]struct {
		before bool // a canary returned once, before
		away   bool
		heard  string
		want   State
	}{
		"audit is off":                        {want: Silent},
		"audit was switched off":              {before: true, want: Silent},
		"the canary is left out":              {heard: "audit/cp-a", want: Filtered},
		"the canary is left out from now on":  {before: true, heard: "audit/cp-a", want: Filtered},
		"only another API server is heard of": {before: true, heard: "audit/cp-b", want: Silent},
		"it does not answer":                  {away: true, want: Unreachable},
		"it does not answer any more":         {before: true, away: true, want: Unreachable},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			if row.before {
				f.round()
				f.returns(a, "audit/cp-a")
			}
			f.away[a] = row.away
			for range 8 {
				f.pass(10 * time.Second)
				f.round()
				if row.heard != "" {
					f.Take([]*event.Event{f.other(row.heard, f.now)})
				}
			}
			f.judge()
			f.expect(map[string]State{a: row.want})
		})
	}
}

// TestWhichOneIsFiltered: with several API servers that never return it takes more to tell them apart.
func TestWhichOneIsFiltered(t *testing.T) {
	f := newFixture(t)
	for _, stage := range []struct {
		addresses []string
		heard     string
		want      map[string]State
	}{
		{[]string{a, b}, "audit/cp-a", map[string]State{a: Silent, b: Silent}},
		{[]string{a}, "audit/cp-a", map[string]State{a: Filtered}},
		{[]string{a, b}, "audit/cp-a", map[string]State{a: Filtered, b: Silent}},
	} {
		f.addresses = stage.addresses
		for range 8 {
			f.pass(10 * time.Second)
			f.round()
			f.Take([]*event.Event{f.other(stage.heard, f.now)})
		}
		f.judge()
		f.expect(stage.want)
	}
}

func TestLateIsNotBlind(t *testing.T) {
	f := newFixture(t)
	flown := make([]string, 0, 20)
	for i := range 20 {
		f.round()
		flown = append(flown, f.agents[a])
		if i >= 9 { // A minute and a half late.
			f.Take([]*event.Event{f.event(flown[i-9], "audit/cp-a")})
		}
		f.pass(10 * time.Second)
	}
	f.expect(map[string]State{a: Late})
	if s := f.Status()[0]; s.Lag != 90*time.Second+30*ms || s.Source != "audit/cp-a" {
		t.Errorf("status is %+v", s)
	}
}

func TestGapsAreWhereCanariesWereLost(t *testing.T) {
	f := newFixture(t)
	begin := f.now
	var lost []string
	for i := range 30 {
		f.round()
		if i < 5 || i >= 20 {
			f.returns(a, "audit/cp-a")
		} else {
			lost = append(lost, f.agents[a])
		}
		f.pass(10 * time.Second)
	}
	whole := func() []Gap { return f.Gaps(begin, f.now) }
	from, to := begin.Add(40*time.Second), begin.Add(200*time.Second)
	want := []Gap{{Address: a, Source: "audit/cp-a", From: from, To: to}}
	if diff := cmp.Diff(want, whole()); diff != "" {
		t.Errorf("gaps (-want +got):\n%s", diff)
	}
	if got := f.Gaps(begin, from); len(got) != 0 {
		t.Errorf("gaps before the first lost canary: %v", got)
	}
	// After an outage of the sink the API server sends what it has kept: nothing was lost.
	for _, agent := range lost {
		f.Take([]*event.Event{f.event(agent, "audit/cp-a")})
	}
	if got := whole(); len(got) != 0 {
		t.Errorf("gaps after all have returned: %v", got)
	}
	f.pass(10 * time.Minute)
	f.round()
	f.pass(2 * time.Minute)
	if got := whole(); len(got) != 1 || !got[0].To.Equal(f.now) {
		t.Errorf("an open gap is %v", got)
	}
}

func TestForgedCanaryProvesNothing(t *testing.T) {
	f := newFixture(t)
	f.round()
	if n := len(f.Take([]*event.Event{f.event(UserAgentPrefix+"GUESSED", "audit/cp-a")})); n != 1 || !f.Blind() {
		t.Error("a nonce that was never sent was taken for a canary")
	}
	returned := f.event(f.agents[a]+" (and what the API server adds)", "audit/cp-a")
	if n := len(f.Take([]*event.Event{returned, returned})); n != 0 {
		t.Error("the canary's event, delivered twice, is shown to rules")
	}
	stage := *returned
	stage.ID = "another stage"
	hidden := f.event(f.agents[a], "audit/cp-a")
	hidden.Request = "of somebody who has read the nonce"
	process := &event.Event{Kind: event.KindProcess, Source: "agent/a"}
	rest := f.Take([]*event.Event{&stage, hidden, process})
	if len(rest) != 2 || rest[0] != hidden || rest[1] != process {
		t.Errorf("left for the rules are %+v", rest)
	}
}

func TestFlightsAreBounded(t *testing.T) {
	f := newFixture(t)
	for range maxFlights + 5 {
		f.pass(time.Second)
		f.round()
	}
	if len(f.flying) != maxFlights || len(f.servers[a].flights) != maxFlights {
		t.Errorf("%d canaries are awaited, want %d", len(f.flying), maxFlights)
	}
	if got := testutil.ToFloat64(f.metrics.lost); got != 5 {
		t.Errorf("lost counter is %v, want 5", got)
	}
}

func TestServersAndSourcesAreBounded(t *testing.T) {
	f := newFixture(t)
	f.addresses = nil
	for i := range 3 * maxServers {
		f.addresses = append(f.addresses, fmt.Sprintf("10.1.0.%d:6443", i))
	}
	f.round()
	if len(f.servers) != maxServers {
		t.Errorf("canaries fly to %d API servers", len(f.servers))
	}
	f.addresses = []string{a}
	f.round()
	f.expect(map[string]State{a: Starting})
	f.pass(2 * keepServer)
	f.round()
	if len(f.servers) != 1 || len(f.flying) != 2 {
		t.Errorf("%d API servers and %d flights are remembered", len(f.servers), len(f.flying))
	}
	for i := range 2 * maxSources {
		f.Take([]*event.Event{f.other(fmt.Sprint("audit/", i), f.now)})
	}
	if len(f.heard) != maxSources {
		t.Errorf("%d sources are remembered", len(f.heard))
	}
}

func TestWhoHasLeftTheServiceIsNoConcern(t *testing.T) {
	f := newFixture(t)
	f.addresses = []string{a, b}
	f.round()
	f.returns(a, "audit/cp-a")
	f.returns(b, "audit/cp-b")
	f.addresses = []string{a}
	for range 10 {
		f.pass(10 * time.Second)
		f.round()
		f.returns(a, "audit/cp-a")
	}
	f.expect(map[string]State{a: Live})
	if strings.Contains(f.log.String(), "not seen") {
		t.Errorf("the log complains:\n%s", f.log.String())
	}
}

func TestAddressesThatCannotBeReadStay(t *testing.T) {
	f := newFixture(t)
	f.round()
	f.addresses, f.listError = nil, errors.New("forbidden")
	f.round()
	f.returns(a, "audit/cp-a")
	f.expect(map[string]State{a: Live})
	if got := testutil.ToFloat64(f.metrics.failed.WithLabelValues("addresses")); got != 1 {
		t.Errorf("%v failures are counted", got)
	}
}

func TestRunStopsWithItsContext(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	_, err := New(Options{Period: -1})
	for _, want := range []string{"APIServers", "Period", "Clock", "Logger", "Registerer"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New says %v, which does not name %s", err, want)
		}
	}
}
