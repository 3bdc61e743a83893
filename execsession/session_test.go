package execsession

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/event"
)

func TestSessionFromReviewToEnd(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	s.review(1000, "s-1", "alice", "sh", "-c", "curl -H 'Authorization: Bearer abcdefghij' x")
	query := "command=sh&command=-c&command=curl+-H+%27Authorization%3A+Bearer+abcdefghij%27+x&container=main"
	asked := s.started(990, 1100, "s-1", "alice", query)
	root := s.exec(1200, "e-1", "e-1", "sh", "-c", "curl -H 'Authorization: Bearer abcdefghij' x")
	if root.Session == nil || root.Session.ID != "s-1" || root.Session.Attribution != event.AttributionCandidates || !slices.Contains(root.Session.Candidates, "alice") {
		t.Fatalf("the first event carries %+v", root.Session)
	}
	if asked.Session == nil || asked.Session.ID != "s-1" || asked.Session.User != "alice" {
		t.Errorf("the request carries %+v", asked.Session)
	}
	s.until(6000)
	child := s.exec(6500, "e-1", "e-2", "curl", "-H", "Authorization: Bearer abcdefghij", "x")
	want := &event.Session{
		ID: "s-1", User: "alice", Groups: []string{"devs"}, Attribution: event.AttributionExact, Door: DoorExec,
		Command: []string{"sh", "-c", "curl -H 'Authorization: Bearer abcdefghij' x"},
	}
	if diff := cmp.Diff(want, child.Session); diff != "" {
		t.Errorf("a later event's session (-want +got):\n%s", diff)
	}
	token := s.process(6600, "e-1", "e-2", 0, event.BeganSessionOrProbe, "curl")
	token.Kind, token.File = event.KindFile, &event.File{Path: "/var/run/secrets/kubernetes.io/serviceaccount/token"}
	s.tracker.Enrich(token)
	call := s.audit("ResponseComplete", 6700, 6710, "", "system:serviceaccount:shop:cart", "log", "token=secret", 200)
	call.Audit.Caller = cart
	s.tracker.Enrich(call)
	if call.Session != nil {
		t.Error("a call of the pod carries a session, although anything in the pod may have made it")
	}
	s.tracker.Detected(&event.Detection{ID: "d-1", Rule: event.DetectionRule{Name: "token-access", Title: "Token read"}, Time: at(6700), Events: []*event.Event{token, call}})
	s.exit(6800, "e-1", "e-2", 7)
	s.exit(6900, "e-1", "e-1", 0)
	s.tracker.Killed("s-1", "rule token-access", at(6890))
	s.completed(990, 6950, "s-1", "alice", query)
	s.until(12000)
	d := s.get("s-1")
	if who(&d) != "exact alice" || d.State != StateEnded || !d.Final || d.Exit == nil || d.Exit.KilledBy != "rule token-access" || len(d.Processes) != 2 {
		t.Errorf("%+v", d)
	}
	kinds := make([]string, 0, len(d.Timeline))
	for _, e := range d.Timeline {
		kinds = append(kinds, e.Kind)
		if e.Kind == KindAPICall && e.Scope != ScopeOfPod {
			t.Error("an API call is not marked as of the pod")
		}
	}
	wantKinds := []string{"request", "review", "verdict", "start", "attribution", "exec", "open", "api-call", "detection", "exit", "kill", "end", "end"}
	if diff := cmp.Diff(wantKinds, kinds); diff != "" {
		t.Errorf("timeline (-want +got):\n%s", diff)
	}
	text, err := json.Marshal(d)
	if err != nil || strings.Contains(string(text), "abcdefghij") || strings.Contains(string(text), "token=secret") {
		t.Errorf("the document has a secret, or none at all: %v\n%s", err, text)
	}
	if len(s.reports) > 0 {
		t.Errorf("%d reports", len(s.reports))
	}
}

// What an authenticator says of a user beside the name is kept, within bounds.
func TestTheUsersExtra(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	much := map[string][]string{"a": {"1"}, "b": slices.Repeat([]string{strings.Repeat("x", maxText)}, 5)}
	for i := range 2 * maxExtra {
		much[fmt.Sprintf("k%03d", i)] = []string{"v"}
	}
	s.tracker.Admitted(Admission{
		Session: "s-1", Door: DoorExec, Time: at(1000), Pod: cart, Command: []string{"sh"}, User: "alice", Allowed: true,
		Extra: map[string][]string{event.ExtraCredentialID: {"X509SHA256=1"}},
	})
	s.tracker.Admitted(Admission{Session: "s-2", Door: DoorExec, Time: at(1000), Pod: cart, Command: []string{"sh"}, User: "alice", Allowed: true, Extra: much})
	s.exec(1200, "e-1", "e-1", "id") // Nobody is certain to have asked for that.
	for id, want := range map[string]map[string][]string{"s-1": {event.ExtraCredentialID: {"X509SHA256=1"}}, "s-2": {"a": {"1"}}} {
		if diff := cmp.Diff(want, s.get(id).User.Extra); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
	}
	delete(much, "b")
	if got := extraOf(much); len(got) != maxExtra {
		t.Errorf("%d keys are kept, want %d", len(got), maxExtra)
	}
	asked := s.audit("ResponseStarted", 1000, 1100, "s-3", "bob", DoorExec, "command=sh", 101)
	asked.Audit.ImpersonatedUser = &event.AuditUser{Username: "carol", Extra: map[string][]string{"claimed": {"x"}}}
	asked.Audit.User.Extra = map[string][]string{"own": {"x"}}
	s.tracker.Enrich(asked)
	if diff := cmp.Diff(map[string][]string{"claimed": {"x"}}, s.get("s-3").User.Extra); diff != "" {
		t.Errorf("of somebody who is impersonated (-want +got):\n%s", diff)
	}
}

func TestTwoUsersWithTheSameCommandAreCandidates(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	for i, user := range []string{"alice", "bob"} {
		s.review(1000+i, "s-"+user, user, "sh")
		s.started(990+i, 1100, "s-"+user, user, "command=sh&container=main")
	}
	s.exec(1200, "e-1", "e-1", "sh")
	s.exec(1210, "e-2", "e-2", "sh")
	s.until(10_000)
	for _, root := range []string{"e-1", "e-2"} {
		if got := s.get(runID(root)); who(&got) != "candidates [alice bob]" {
			t.Errorf("%s is %s (%s)", root, who(&got), got.Why)
		}
	}
	// The first ends, and alice's request with it, while bob's stays open.
	s.exit(10_000, "e-1", "e-1", 0)
	s.completed(990, 10_050, "s-alice", "alice", "command=sh&container=main")
	s.until(20_000)
	s.want("s-alice", "exact alice")
	s.want("s-bob", "exact bob")
	if d := s.get("s-alice"); d.Root.EntityID != "e-1" || !slices.Equal(d.Aliases, []string{"s-alice"}) {
		t.Errorf("alice's session is %+v", d)
	}
}

func TestExactIsRevokedByAnEqualProcessThatNobodyAskedFor(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	s.review(1000, "s-1", "alice", "sh")
	s.started(990, 1100, "s-1", "alice", "command=sh&container=main")
	s.exec(1200, "e-1", "e-1", "sh")
	s.until(5000)
	s.want("s-1", "exact alice")
	s.exec(5100, "e-2", "e-2", "sh") // at 5.1 s: still within the time in which the request's process may start
	s.until(15_000)
	s.want("s-1", "candidates [alice unaudited]")
	s.want(runID("e-2"), "candidates [alice unaudited]")
	if len(s.reports) != 1 || s.reports[0].Process.EntityID != "e-2" {
		t.Errorf("%d reports", len(s.reports))
	}
}

func TestUnauditedIsReportedOnceTheAuditStreamHasToldEverything(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	s.until(1000)
	first := s.exec(1200, "e-1", "e-1", "sh")
	if first.Session == nil || first.Session.Attribution != event.AttributionNone {
		t.Errorf("%+v", first.Session)
	}
	s.until(6000)
	if len(s.reports) != 0 {
		t.Fatal("reported although a request may still be told of")
	}
	s.until(20_000)
	if len(s.reports) != 1 {
		t.Fatalf("%d reports", len(s.reports))
	}
	e := s.reports[0]
	if e.Dataset != event.DatasetSession || !slices.Equal(e.Action, []string{event.ActionUnauditedExec}) || e.Pod.UID != cart.UID || e.ID == "" ||
		e.Session.ID != runID("e-1") || !e.Time.Equal(at(1200)) || e.StageTime.Before(at(6000)) {
		t.Errorf("%+v", e)
	}
	if s.tracker.Enrich(e); e.Session.ID != runID("e-1") {
		t.Error("its own event became another session")
	}
	d := s.get(runID("e-1"))
	if !d.Unaudited || d.Attribution != event.AttributionNone {
		t.Errorf("%+v", d)
	}
}

func TestNothingIsReportedWhileTheAuditStreamIsBlind(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	s.until(1000)
	for ms := 1000; ms < 5000; ms += 500 {
		s.now = at(ms)
		s.tracker.Advance(time.Time{}, true)
		s.tracker.step()
	}
	s.exec(3000, "e-1", "e-1", "sh")
	s.until(30_000)
	if d := s.get(runID("e-1")); !d.CoverageHole || d.Unaudited || len(s.reports) > 0 {
		t.Errorf("%+v, %d reports", d, len(s.reports))
	}
}

func TestProbesAreNoSessions(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	for i := range 6 {
		id := fmt.Sprint("p-", i)
		if e := s.exec(1000+10_000*i, id, id, "probe"); e.Session != nil {
			t.Fatalf("a probe carries %+v", e.Session)
		}
		s.exec(1100+10_000*i, id, id+"-child", "cat")
		s.exit(1200+10_000*i, id, id, 0)
		s.exit(1210+10_000*i, id, id+"-child", 0) // after its leader
	}
	s.until(70_000)
	if n := len(s.tracker.List(Filter{})); n != 0 || len(s.reports) > 0 {
		t.Errorf("%d sessions, %d reports", n, len(s.reports))
	}
	// With a terminal it is no probe.
	e := s.process(71_000, "t-1", "t-1", 34816, event.BeganSession, "probe")
	s.tracker.Enrich(e)
	s.until(90_000)
	if len(s.reports) != 1 {
		t.Errorf("%d reports of a probe's command with a terminal", len(s.reports))
	}
}

func TestProbesThatAreRememberedAreBounded(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	for i := range maxProbes + 100 {
		id := fmt.Sprint("p-", i)
		s.exec(1000+10_000*i, id, id, "probe")
	}
	if n := len(s.tracker.index.leaders); n != maxProbes || len(s.reports) > 0 {
		t.Errorf("%d are remembered, %d reports", n, len(s.reports))
	}
	last := fmt.Sprint("p-", maxProbes+99)
	if e := s.exec(0, last, last+"-child", "cat"); e.Session != nil {
		t.Errorf("what a probe has started carries %+v", e.Session)
	}
}

func TestWhatAProbeMayHaveStartedIsNotReported(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	s.until(1000)
	s.exec(1200, "p-1", "e-2", "cat") // the leader was never seen
	s.until(20_000)
	if d := s.get(runID("p-1")); len(s.reports) > 0 || d.Unaudited || !slices.Equal(d.Candidates, []string{event.CandidateProbe}) {
		t.Errorf("%+v, %d reports", d, len(s.reports))
	}
}

func TestAProbesCommandMoreOftenThanTheKubeletRunsIt(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	for i := range 12 {
		id := fmt.Sprint("p-", i)
		s.exec(1000+1000*i, id, id, "probe")
		s.exit(1500+1000*i, id, id, 0)
	}
	s.until(30_000)
	if len(s.reports) == 0 {
		t.Error("nothing was reported")
	}
}

func TestUserWhoRunsAProbesCommand(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	s.review(1000, "s-1", "alice", "probe")
	s.started(990, 1100, "s-1", "alice", "command=probe&container=main")
	s.exec(1200, "e-1", "e-1", "probe")
	s.until(20_000)
	s.want("s-1", "candidates [alice probe unaudited]")
	if len(s.reports) > 0 {
		t.Error("it was reported")
	}
}

func TestRequestsWithoutAReview(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	e := s.started(1000, 1100, "", "alice", "command=sh") // no container: the only one is meant
	if e.Session == nil || !strings.HasPrefix(e.Session.ID, "s-") || e.Session.User != "alice" {
		t.Fatalf("%+v", e.Session)
	}
	s.exec(1200, "e-1", "e-1", "sh")
	s.until(20_000)
	s.want(e.Session.ID, "exact alice")
	if d := s.get(e.Session.ID); d.Request.Reviewed || !d.Request.Audited || d.Container != "main" {
		t.Errorf("%+v", d.Request)
	}
}

func TestImpersonatorsAreNamed(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	s.review(1000, "s-1", "bob", "sh")
	for _, stage := range []string{"ResponseStarted", "ResponseComplete"} {
		e := s.audit(stage, 990, 1100, "s-1", "alice", DoorExec, "command=sh&container=main", 101)
		e.Audit.ImpersonatedUser = &event.AuditUser{Username: "bob"}
		if stage == "ResponseComplete" {
			e.StageTime = at(8000)
		}
		s.tracker.Enrich(e)
		s.exec(1200, "e-1", "e-1", "sh")
	}
	s.until(20_000)
	d := s.get("s-1")
	if who(&d) != "exact bob" || d.User.Impersonator != "alice" {
		t.Errorf("%s: %+v", who(&d), d.User)
	}
	if n := len(s.tracker.List(Filter{User: "alice"})); n != 1 {
		t.Errorf("%d sessions of alice", n)
	}
}

func TestAnnotationThatNamesAnothersSession(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	s.review(1000, "s-1", "alice", "sh")
	e := s.started(990, 1100, "s-1", "mallory", "command=sh&container=main")
	if e.Session == nil || e.Session.ID == "s-1" || e.Session.User != "mallory" {
		t.Errorf("%+v", e.Session)
	}
}

func TestDeniedRequestsStartNothing(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	// kubectl tries again in another way: both are one session.
	for ms := 1000; ms <= 1020; ms += 20 {
		s.tracker.Admitted(Admission{Session: "s-1", Door: DoorExec, Time: at(ms), Pod: cart, Command: []string{"sh"}, User: "alice", Why: "quarantined"})
		s.tracker.Enrich(s.audit("ResponseComplete", ms-10, ms, "s-1", "alice", DoorExec, "command=sh", 403))
	}
	s.exec(1200, "e-1", "e-1", "sh")
	s.until(20_000)
	d := s.get("s-1")
	if d.State != StateDenied || d.Verdict.Allowed || d.Verdict.Why != "quarantined" || d.Root != nil || who(&d) != "exact alice" {
		t.Errorf("%+v", d)
	}
	if len(s.reports) != 1 {
		t.Errorf("%d reports of the process that came all the same", len(s.reports))
	}
}

func TestDebugContainersAreTheirRequests(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	s.tracker.Admitted(Admission{
		Session: "s-1", Door: DoorDebug, Time: at(1000), Pod: cart, User: "alice", Allowed: true, NewContainers: []NewContainer{{Name: "debugger-x", Image: "busybox", Command: []string{"sh"}}},
	})
	main := s.process(2000, "e-1", "e-1", 34816, event.BeganContainer, "sh")
	main.Container.Name = "debugger-x"
	s.tracker.Enrich(main)
	if main.Session == nil || main.Session.ID != "s-1" || main.Session.Attribution != event.AttributionCandidates {
		t.Fatalf("%+v", main.Session)
	}
	done := s.audit("ResponseComplete", 990, 1050, "s-1", "alice", DoorDebug, "", 200)
	done.Audit.Verb = "patch"
	s.tracker.Enrich(done)
	child := s.process(3000, "e-1", "e-2", 34816, event.BeganContainer, "id")
	s.tracker.Enrich(child)
	if child.Session == nil || child.Session.User != "alice" || child.Session.Door != DoorDebug || !child.Session.Interactive {
		t.Errorf("%+v", child.Session)
	}
	// Attaching to it is a session of its own, and does not take over what it does.
	attach := s.audit("ResponseStarted", 2500, 2600, "s-2", "bob", DoorAttach, "container=debugger-x&stdin=true&tty=true", 101)
	s.tracker.Enrich(attach)
	d := s.get("s-2")
	if who(&d) != "exact bob" || d.State != StateOpen || d.Root == nil || d.Root.EntityID != "e-1" || attach.Session.Door != DoorAttach {
		t.Errorf("%+v", d)
	}
	s.want("s-1", "exact alice")
}

// TestADebugContainerMayEndBeforeItsAuditEventComes: a short command is over before the API server sends its batch.
func TestADebugContainerMayEndBeforeItsAuditEventComes(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	s.tracker.Admitted(Admission{
		Session: "s-1", Door: DoorDebug, Time: at(1000), Pod: cart, User: "alice", Allowed: true, NewContainers: []NewContainer{{Name: "debugger-x", Image: "busybox", Command: []string{"id"}}},
	})
	main := s.process(1200, "e-1", "e-1", 0, event.BeganContainer, "id")
	main.Container.Name = "debugger-x"
	s.tracker.Enrich(main)
	s.exit(1300, "e-1", "e-1", 0)
	s.until(1900)
	done := s.audit("ResponseComplete", 990, 2000, "s-1", "alice", DoorDebug, "", 200)
	done.Audit.Verb = "patch"
	s.tracker.Enrich(done)
	s.want("s-1", "exact alice")
}

func TestContainersOwnProcessesAreNoSessions(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	e := s.process(1000, "e-1", "e-1", 0, event.BeganContainer, "nginx")
	s.tracker.Enrich(e)
	s.until(20_000)
	if e.Session != nil || len(s.tracker.List(Filter{})) > 0 || len(s.reports) > 0 {
		t.Errorf("%+v", e.Session)
	}
}

func TestRunThroughTheKubeletProxy(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	e := s.audit("ResponseStarted", 1000, 1400, "", "alice", DoorProxy, "", 200)
	e.Audit.ObjectRef = event.ObjectRef{Resource: "nodes", Subresource: DoorProxy, Name: "node1"}
	e.Audit.RequestURI = "/api/v1/nodes/node1/proxy/run/shop/cart-0/main?cmd=ls+-l"
	s.exec(1200, "e-1", "e-1", "ls", "-l")
	s.exit(1300, "e-1", "e-1", 0)
	s.tracker.Enrich(e)
	done := *e
	audit := *e.Audit
	done.Audit, done.StageTime, done.ID, done.Request = &audit, at(1410), "", ""
	audit.Stage = "ResponseComplete"
	s.tracker.Enrich(&done)
	s.until(20_000)
	s.want(e.Session.ID, "exact alice")
}

func TestHistoryGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	kept := memory{}
	with := func(o *Options) { o.Store = kept }
	s := newScene(t, with)
	s.review(1000, "s-1", "alice", "sh", "--password=hunter2")
	query := "command=sh&command=--password%3Dhunter2&container=main"
	s.started(990, 1100, "s-1", "alice", query)
	s.exec(1200, "e-1", "e-1", "sh", "--password=hunter2")
	s.until(8000)
	s.tracker.store(context.Background(), true)
	for _, text := range kept {
		if strings.Contains(string(text), "hunter2") {
			t.Errorf("a secret is stored: %s", text)
		}
	}
	before := s.get("s-1")
	again := newScene(t, with)
	if err := again.tracker.Load(context.Background()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, again.get("s-1")); diff != "" {
		t.Errorf("(-before +after the restart):\n%s", diff)
	}
	child := again.exec(20_000, "e-1", "e-2", "id")
	if child.Session == nil || child.Session.User != "alice" || child.Session.ID != "s-1" {
		t.Errorf("after the restart an event carries %+v", child.Session)
	}
	again.exit(21_000, "e-1", "e-1", 3)
	again.completed(990, 21_050, "s-1", "alice", query)
	again.until(40_000)
	if d := again.get("s-1"); d.State != StateEnded || d.Exit.Code != 3 || who(&d) != "exact alice" || len(again.reports) > 0 {
		t.Errorf("%+v, %d reports", d, len(again.reports))
	}
}

// memory is a Store.
type memory map[string][]byte

func (m memory) Put(_ context.Context, key string, value []byte) error { m[key] = value; return nil }
func (m memory) Delete(_ context.Context, key string) error            { delete(m, key); return nil }

func (m memory) Range(_ context.Context, visit func(string, []byte, time.Time) error) error {
	for key, value := range m {
		if err := visit(key, value, noon); err != nil {
			return err
		}
	}
	return nil
}

func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	kept := memory{}
	s := newScene(t, func(o *Options) { o.MaxSessions, o.Store = 10, kept })
	for i := range 30 {
		id := fmt.Sprint("s-", i)
		s.review(1000+i, id, "alice", "sh", id)
		if i > 0 {
			s.tracker.Enrich(s.audit("ResponseComplete", 990+i, 1100+i, id, "alice", DoorExec, "command=sh&command="+id, 500))
		}
		s.tracker.step()
		s.tracker.store(context.Background(), true)
	}
	if n := len(s.tracker.List(Filter{})); n != 10 || len(kept) != 10 || len(s.tracker.asks) != 10 {
		t.Errorf("%d sessions, %d stored, %d requests", n, len(kept), len(s.tracker.asks))
	}
	if _, ok := s.tracker.Get("s-0"); !ok {
		t.Error("an open session was forgotten before those that had ended")
	}
}

func TestOneSessionIsBounded(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	s.review(1000, "s-1", "alice", "sh")
	s.exec(1200, "e-1", "e-1", "sh")
	for i := range 3 * maxTimeline {
		s.exec(1300+i, "e-1", fmt.Sprint("c-", i), "x", strings.Repeat("y", 10<<10))
	}
	d := s.get("s-1")
	if len(d.Processes) != maxProcesses || d.ProcessesDropped == 0 || len(d.Timeline) > 2*maxTimeline || d.TimelineDropped == 0 {
		t.Errorf("%d processes, %d dropped, %d entries, %d dropped", len(d.Processes), d.ProcessesDropped, len(d.Timeline), d.TimelineDropped)
	}
	if first, last := d.Timeline[0], d.Timeline[len(d.Timeline)-1]; first.Kind != KindReview || last.ID != fmt.Sprint("c-", 3*maxTimeline-1) {
		t.Errorf("from %+v to %+v", first, last)
	}
	for _, p := range d.Processes {
		if len(strings.Join(p.Args, "")) > maxArgBytes+8 {
			t.Fatal("a long command is shown whole")
		}
	}
}

func TestFiltersAndFollowers(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	changes := s.tracker.Follow(ctx, Filter{User: "bob"})
	s.review(1000, "s-1", "alice", "sh")
	s.review(2000, "s-2", "bob", "sh")
	s.until(3000)
	for _, tt := range []struct {
		filter Filter
		want   string
	}{
		{Filter{}, "s-2 s-1"}, {Filter{Limit: 1}, "s-2"}, {Filter{User: "alice"}, "s-1"}, {Filter{Namespace: "other"}, ""},
		{Filter{Pod: "cart-0", Namespace: "shop"}, "s-2 s-1"}, {Filter{Until: at(1500)}, "s-1"}, {Filter{Since: at(1500)}, "s-2"},
		{Filter{Attribution: event.AttributionNone}, ""},
	} {
		found := s.tracker.List(tt.filter)
		got := make([]string, 0, len(found))
		for _, d := range found {
			got = append(got, d.ID)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%+v: %v, want %s", tt.filter, got, tt.want)
		}
	}
	if d := <-changes; d.ID != "s-2" {
		t.Errorf("told of %s", d.ID)
	}
	cancel()
	for d := range changes {
		if d.ID != "s-2" {
			t.Errorf("told of %s", d.ID)
		}
	}
}

func TestEnrichOfOtherEventsAllocatesNothing(t *testing.T) {
	s := newScene(t, nil)
	events := []*event.Event{
		s.process(1000, "main", "e-9", 0, event.BeganContainer, "x"),
		{Kind: event.KindAudit, Audit: &event.Audit{Stage: "ResponseComplete", ObjectRef: event.ObjectRef{Resource: "secrets"}, Caller: event.Pod{UID: "u-2"}}},
	}
	for _, e := range events {
		if n := testing.AllocsPerRun(100, func() { s.tracker.Enrich(e) }); n != 0 {
			t.Errorf("%s: %v allocations", e.Kind, n)
		}
	}
}

func BenchmarkEnrich(b *testing.B) {
	s := newScene(&testing.T{}, nil)
	e := s.process(1000, "main", "e-9", 0, event.BeganContainer, "x")
	b.ReportAllocs()
	for b.Loop() {
		s.tracker.Enrich(e)
	}
}
