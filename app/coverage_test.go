package app

import (
	"log/slog"
	"slices"
	"strings"
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

// pass is a clocks that changes nothing.
type pass struct{}

func (pass) Take(events []*event.Event) []*event.Event { return events }

func TestEventsThatTellOfOthers(t *testing.T) {
	o := &oversight{ledger: newLedger(t)}
	o.drops.reach = func() time.Duration { return time.Minute }
	o.watching(pass{}).Take([]*event.Event{
		{Time: noonUTC, Pod: event.Pod{UID: "p"}, Limit: &event.Limit{Budget: "execs", Suppressed: 7}},
		{Time: noonUTC, Audit: &event.Audit{User: event.AuditUser{Username: "eve"}, Annotations: map[string]string{truncatedAnnotation: "true"}}},
		{Time: noonUTC, Audit: &event.Audit{User: event.AuditUser{Username: "bob"}}},
	})
	o.rejected(auditsink.Delivery{APIServer: "a", Received: noonUTC}, 3)
	o.forgot("uid:p", "r", "over-total-limit", 2)
	o.forgot("", "r", "changed-rule", 1)
	for source, want := range map[string]event.Hole{
		"pod/p": {Cause: causeLimited, Lost: 7}, "join/eve": {Cause: causeTruncated}, "audit/a": {Cause: causeUnreadable, Lost: 3},
		"join/uid:p": {Cause: "over-total-limit", Lost: 2}, "rule/r": {Cause: "changed-rule", Lost: 1},
	} {
		holes := o.ledger.Summaries(source[:strings.Index(source, "/")+1], time.Time{})
		found := false
		for _, s := range holes {
			for _, h := range s.Ended {
				found = found || s.Source == source && h.Cause == want.Cause && h.Lost == want.Lost
			}
		}
		if !found {
			t.Errorf("%s: %+v, want %+v", source, holes, want)
		}
	}
	if holes := o.ledger.Summaries("join/", time.Time{}); len(holes) != 2 {
		t.Errorf("bob has lost something: %+v", holes)
	}
}

func TestDropsThatOnlyCountersTell(t *testing.T) {
	reg := prometheus.NewRegistry()
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "portcullis_auditsink_refused_requests_total"}, []string{"reason"})
	lost := prometheus.NewCounter(prometheus.CounterOpts{Name: "portcullis_bus_lost_total"})
	reg.MustRegister(refused, lost)
	l := newLedger(t)
	w := dropWatch{reach: func() time.Duration { return time.Minute }}
	look := func(now time.Time) {
		t.Helper()
		read, err := gather(reg)
		if err != nil {
			t.Fatal(err)
		}
		w.look(l, read, now)
	}
	lost.Add(2) // found when the store was opened
	look(noonUTC)
	refused.WithLabelValues("busy").Inc() // comes again
	refused.WithLabelValues("too_large").Add(3)
	look(noonUTC.Add(10 * time.Second))
	look(noonUTC.Add(20 * time.Second))
	want := []event.Hole{
		{Source: "server/bus", Cause: "bus-message-damaged", From: noonUTC.Add(-time.Minute), To: noonUTC, Lost: 2},
		{Source: "server/sink", Cause: "audit-delivery-refused", From: noonUTC.Add(-time.Minute), To: noonUTC.Add(10 * time.Second), Lost: 3},
	}
	if diff := cmp.Diff(want, holesOf(l, "server/")); diff != "" {
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
