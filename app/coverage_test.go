package app

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/app/rulebook"
	"github.com/portcullis-dev/portcullis/auditsink"
	"github.com/portcullis-dev/portcullis/canary"
	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/coverage"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/status"
)

var noonUTC = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func newLedger(t *testing.T) *coverage.Ledger {
	t.Helper()
	l, err := coverage.New(coverage.Options{Clock: func() time.Time { return noonUTC }, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// holesOf are the holes of a source at any time.
func holesOf(l *coverage.Ledger, source string) []event.Hole {
	return l.Holes([]string{source}, noonUTC.Add(-24*time.Hour), noonUTC.Add(24*time.Hour))
}

// flights is a canary that tells what it is told.
type flights struct {
	gaps   []canary.Gap
	status []canary.Status
}

func (f flights) Gaps(_, _ time.Time) []canary.Gap { return f.gaps }
func (f flights) Status() []canary.Status          { return f.status }

func TestAuditGapsBecomeHoles(t *testing.T) {
	l := newLedger(t)
	at := func(minutes int) time.Time { return noonUTC.Add(time.Duration(minutes) * time.Minute) }
	f := flights{
		status: []canary.Status{{Address: "10.0.0.1:6443", Source: "audit/a", Since: at(-2000)}, {Address: "10.0.0.2:6443", Since: at(-2000)}},
		gaps: []canary.Gap{
			{Address: "10.0.0.1:6443", Source: "audit/a", From: at(-20), To: at(-10)},
			{Address: "10.0.0.1:6443", Source: "audit/a", From: at(-3), To: at(0)},
			{Address: "10.0.0.2:6443", From: at(-5), To: at(0)},
		},
	}
	noteAuditGaps(l, f, at(0))
	want := []event.Hole{
		{Source: "audit/a", Cause: causeSilent, From: at(-20), To: at(-10)}, {Source: "audit/a", Cause: causeSilent, From: at(-3)},
	}
	if diff := cmp.Diff(want, holesOf(l, "audit/a")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]event.Hole{{Source: "audit/10.0.0.2:6443", Cause: causeSilent, From: at(-5)}}, l.Holes([]string{"audit/10.0.0.2:6443"}, at(0), at(1))); diff != "" {
		t.Errorf("of one that has no name (-want +got):\n%s", diff)
	}
	// A canary comes back late: its batch was sent again. Nothing was missing.
	f.gaps = nil
	noteAuditGaps(l, f, at(1))
	if holes := holesOf(l, "audit/a"); len(holes) > 0 {
		t.Errorf("what came late is missing: %+v", holes)
	}
	// The other has left the Service: it is not silent for ever.
	if holes := l.Holes([]string{"audit/10.0.0.2:6443"}, at(2), at(2)); len(holes) > 0 {
		t.Errorf("one that is gone is still silent: %+v", holes)
	}
}

// takes is an ingester that takes what it is given, unless it is busy.
type takes struct{ busy error }

func (i takes) Ingest(context.Context, []*event.Event) error { return i.busy }

// expectHoles compares the ended holes of sources, by their causes and what they lost.
func expectHoles(t *testing.T, l *coverage.Ledger, want map[string]event.Hole) {
	t.Helper()
	got := map[string]event.Hole{}
	for _, family := range []string{coverage.FamilyAgent, coverage.FamilyAudit, coverage.FamilyPod, coverage.FamilyServer, coverage.FamilyJoin, coverage.FamilyRule} {
		for _, s := range l.Summaries(family, time.Time{}) {
			for _, h := range s.Ended {
				got[s.Source] = event.Hole{Cause: h.Cause, Lost: h.Lost}
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEventsThatTellOfOthers(t *testing.T) {
	o := &oversight{ledger: newLedger(t)}
	limit := &event.Limit{Budget: "execs", Suppressed: 7}
	events := []*event.Event{
		{Source: "agent/n1", Time: noonUTC, Pod: event.Pod{UID: "p", Name: "web", Node: "n1"}, Limit: limit},
		{Source: "agent/n2", Time: noonUTC, Pod: event.Pod{UID: "invented", Node: "n2"}, Limit: limit},
		{Time: noonUTC, Audit: &event.Audit{User: event.AuditUser{Username: "eve"}, Annotations: map[string]string{truncatedAnnotation: "true"}}},
		{Time: noonUTC, Audit: &event.Audit{User: event.AuditUser{Username: "bob"}}},
	}
	busy := errors.New("busy")
	if err := o.watching(takes{busy}).Ingest(t.Context(), events); !errors.Is(err, busy) {
		t.Error(err)
	}
	if err := o.watching(takes{}).Ingest(t.Context(), events); err != nil {
		t.Error(err)
	}
	expectHoles(t, o.ledger, map[string]event.Hole{
		"pod/p": {Cause: causeLimited, Lost: 7}, "agent/n2": {Cause: causeLimited, Lost: 7}, "join/eve": {Cause: causeTruncated},
	})
}

func TestDropsThatAreTold(t *testing.T) {
	o := &oversight{ledger: newLedger(t), now: func() time.Time { return noonUTC }}
	o.drops.reach = func() time.Duration { return time.Minute }
	o.pod = func(uid string) (event.Pod, bool) { return event.Pod{UID: uid, Node: "n1"}, uid == "p" }
	o.rejected(auditsink.Delivery{APIServer: "a", Received: noonUTC}, 3)
	o.forgot("uid:p", "r", "over-total-limit", 2)
	o.forgot("uid:q", "r", causeOld, 2)
	o.forgot("", "r", "changed-rule", 1)
	o.crowdedOut("eve", 4)
	o.crowdedOut("", 5)
	o.incomplete(&event.Event{Source: "agent/n1", Time: noonUTC}, "no-room")
	o.incomplete(&event.Event{Source: "audit/a", Time: noonUTC}, "no-room")
	expectHoles(t, o.ledger, map[string]event.Hole{
		"audit/a": {Cause: causeUnreadable, Lost: 3}, "join/uid:p": {Cause: "over-total-limit", Lost: 2}, "rule/r": {Cause: "changed-rule", Lost: 1},
		"join/eve": {Cause: causeBusShare, Lost: 4}, "server/bus": {Cause: causeBusShare, Lost: 5}, "agent/n1": {Cause: "identity-no-room", Lost: 1},
	})
}

func TestDropsThatOnlyCountersTell(t *testing.T) {
	reg := prometheus.NewRegistry()
	lost := prometheus.NewCounter(prometheus.CounterOpts{Name: "portcullis_bus_lost_total"})
	reg.MustRegister(lost)
	l := newLedger(t)
	w := dropWatch{reach: func() time.Duration { return time.Minute }}
	lost.Add(2) // found when the store was opened
	for i := range 3 {
		w.look(l, gathered(t, reg), noonUTC.Add(time.Duration(i)*lookEvery))
	}
	want := []event.Hole{{Source: "server/bus", Cause: "bus-message-damaged", From: noonUTC.Add(-time.Minute), To: noonUTC, Lost: 2}}
	if diff := cmp.Diff(want, holesOf(l, "server/")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func gathered(t *testing.T, reg *prometheus.Registry) samples {
	t.Helper()
	read, err := gather(reg)
	if err != nil {
		t.Fatal(err)
	}
	return read
}

// TestRefusedDeliveries: what is too large never gets in, and what is refused for longer than an API server tries is lost.
func TestRefusedDeliveries(t *testing.T) {
	for name, tc := range map[string]struct {
		// at are the seconds at which a delivery is refused, by reason.
		reason string
		at     []int
		want   string
		from   int
		to     int
	}{
		"too large":              {"too_large", []int{0}, causeRefused, -65, 0},
		"once":                   {"busy", []int{0}, "", 0, 0},
		"tried four times":       {"pipeline_busy", []int{0, 10, 25, 50}, "", 0, 0},
		"tried five times":       {"timeout", []int{0, 10, 25, 50, 85}, causeShed, -65, 85},
		"all the time":           {"pipeline_error", []int{0, 20, 40, 60, 80, 100, 120}, causeShed, -65, 120},
		"now and then":           {"busy", []int{0, 60, 120, 180}, "", 0, 0},
		"not for that it is old": {"method", []int{0, 10, 25, 50, 85}, "", 0, 0},
	} {
		reg := prometheus.NewRegistry()
		refused := prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricRefused}, []string{"reason", "apiserver"})
		reg.MustRegister(refused)
		l := newLedger(t)
		l.Known("audit/a", noonUTC.Add(-48*time.Hour))
		var w shedWatch
		for second := 0; second <= 200; second += 5 {
			if slices.Contains(tc.at, second) {
				refused.WithLabelValues(tc.reason, "a").Inc()
			}
			w.look(l, gathered(t, reg), noonUTC.Add(time.Duration(second)*time.Second))
		}
		var want []event.Hole
		if tc.want != "" {
			want = []event.Hole{{
				Source: "audit/a", Cause: tc.want, From: noonUTC.Add(time.Duration(tc.from) * time.Second), To: noonUTC.Add(time.Duration(tc.to) * time.Second),
			}}
		}
		if diff := cmp.Diff(want, holesOf(l, "audit/a")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestUnsentNotifications: those that never got there are told of for a while.
func TestUnsentNotifications(t *testing.T) {
	reg := prometheus.NewRegistry()
	documents := prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricNotified}, []string{"sink", "result"})
	reg.MustRegister(documents)
	var w unsentWatch
	documents.WithLabelValues("siem", "sent").Inc()
	w.look(gathered(t, reg), noonUTC)
	if got := w.since(noonUTC.Add(-time.Hour)); len(got) > 0 {
		t.Errorf("nothing is missing, and it tells of %+v", got)
	}
	documents.WithLabelValues("siem", "dropped").Add(3)
	w.look(gathered(t, reg), noonUTC.Add(time.Minute))
	documents.WithLabelValues("siem", "failed").Inc() // sent again
	w.look(gathered(t, reg), noonUTC.Add(2*time.Minute))
	want := []status.Unsent{{Sink: "siem", Dropped: 3, Newest: noonUTC.Add(time.Minute)}}
	if diff := cmp.Diff(want, w.since(noonUTC)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := w.since(noonUTC.Add(time.Minute)); len(got) > 0 {
		t.Errorf("it tells of them for ever: %+v", got)
	}
}

// TestTimeAwayHasWhatTheSpoolLost: the server is away for ten minutes, and the agent's spool overflows meanwhile.
func TestTimeAwayHasWhatTheSpoolLost(t *testing.T) {
	l := newLedger(t)
	a := l.Agents()
	ago := func(d time.Duration) time.Time { return noonUTC.Add(-d) }
	a.Connected("n1", "s1", ago(time.Hour))
	a.Reached("n1", "s1", ago(10*time.Minute), 49)
	a.Disconnected("n1", ago(10*time.Minute))
	reached, _, _ := a.Connected("n1", "s1", ago(time.Second))
	a.Lost("n1", "agent-spool-full", reached, noonUTC, 7)
	a.Reached("n1", "s1", noonUTC, 50)
	e := &event.Event{Source: "agent/n1", Time: ago(5 * time.Minute), Pod: event.Pod{UID: "p", Name: "web", Node: "n1"}}
	got := l.Of(&event.Detection{Events: []*event.Event{e}}, e.Time, e.Time)
	want := []event.Hole{{Source: "agent/n1", Cause: "agent-spool-full", From: ago(10 * time.Minute), To: noonUTC, Lost: 7}}
	if diff := cmp.Diff(want, got.Holes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestRulesRead: which sources matter to the shipped rules.
func TestRulesRead(t *testing.T) {
	schema := field.New()
	book, err := rulebook.New(rulebook.Options{
		Sources: rulebook.SourcesOf(config.Default()), Schema: schema, Logger: slog.New(slog.DiscardHandler),
		Registerer: prometheus.NewRegistry(), Clock: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	o := &oversight{server: &Server{rules: book, schema: schema}, fields: fieldsOf(schema)}
	for rule, want := range map[string][2]bool{
		"token-access-then-api-request": {true, true}, "exec-into-pod": {false, true},
		"interactive-exec-into-container": {true, false}, "no-such-rule": {true, true},
	} {
		telemetry, audit := o.reads(rule)
		if got := [2]bool{telemetry, audit}; got != want {
			t.Errorf("%s reads telemetry, audit %v, want %v", rule, got, want)
		}
	}
}

func TestNodeStatus(t *testing.T) {
	l := newLedger(t)
	a := l.Agents()
	for _, node := range []string{"fine", "gone", "lossy", "skewed", "old"} {
		a.Connected(node, "s", noonUTC.Add(-3*time.Hour))
		a.Reached(node, "s", noonUTC.Add(-2*time.Hour))
	}
	a.Disconnected("gone", noonUTC)
	for i := range 3 {
		a.Lost("lossy", "kernel-ring-full", noonUTC.Add(time.Duration(i-9)*time.Minute), noonUTC.Add(time.Duration(i-9)*time.Minute), 2)
	}
	a.Lost("old", "kernel-ring-full", noonUTC.Add(-90*time.Minute), noonUTC.Add(-80*time.Minute), 2)
	read := samples{
		"portcullis_collector_clock_offset_seconds": {{map[string]string{"node": "skewed"}, -12.5}, {map[string]string{"node": "fine"}, 0.2}},
		"portcullis_collector_partial_coverage":     {{map[string]string{"node": "lossy"}, 2}},
	}
	want := status.Nodes{Known: 5, Connected: 4, Unhealthy: []status.Node{
		{Name: "gone", DisconnectedSince: noonUTC.Add(-2 * time.Hour)},
		{Name: "lossy", Partial: 2, Losses: []status.Loss{{Cause: "kernel-ring-full", Lost: 6, From: noonUTC.Add(-9 * time.Minute), To: noonUTC.Add(-7 * time.Minute)}}},
		{Name: "skewed", Offset: -12.5},
	}}
	if diff := cmp.Diff(want, nodeStatus(l, read, noonUTC)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLossStatus(t *testing.T) {
	l := newLedger(t)
	l.Note(event.Hole{Source: "join/eve", Cause: "x", From: noonUTC, To: noonUTC, Lost: 1})
	l.Open("audit/a", causeSilent, noonUTC.Add(-time.Hour))
	l.Note(event.Hole{Source: "audit/a", Cause: causeSilent, From: noonUTC.Add(-4 * time.Hour), To: noonUTC.Add(-3 * time.Hour)})
	want := []status.Loss{
		{Source: "audit/a", Cause: causeSilent, From: noonUTC.Add(-time.Hour)},
		{Source: "join/eve", Cause: "x", Lost: 1, From: noonUTC, To: noonUTC},
	}
	if diff := cmp.Diff(want, lossStatus(l, noonUTC)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAPIServersThatAreNotSeenComeFirst(t *testing.T) {
	got := apiServerStatus([]canary.Status{{Address: "a", State: canary.Live}, {Address: "b", State: canary.Silent, Lag: 1500 * time.Millisecond}})
	if len(got) != 2 || got[0].Address != "b" || got[0].Seen || got[0].Lag != 1.5 || !got[1].Seen {
		t.Errorf("%+v", got)
	}
}

func TestMetricsThatAreWatchedAreMissed(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		prometheus.NewCounter(prometheus.CounterOpts{Name: "portcullis_a_total", Help: "a"}),
		prometheus.NewCounterVec(prometheus.CounterOpts{Name: "portcullis_b_total", Help: "b"}, []string{"cause"}),
	)
	for range 2 { // Asking changes nothing.
		if got := unregistered(reg, []string{"portcullis_a_total", "portcullis_b_total", "portcullis_c_total"}); !slices.Equal(got, []string{"portcullis_c_total"}) {
			t.Errorf("missing are %v", got)
		}
	}
}
