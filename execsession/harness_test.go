package execsession

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/execsession/join"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// at is so many milliseconds after noon.
func at(ms int) time.Time { return noon.Add(time.Duration(ms) * time.Millisecond) }

// pods is one pod's specification.
type pods struct {
	sole   string
	probes map[string]time.Duration
}

func (p pods) DefaultContainer(string) (string, bool) { return p.sole, p.sole != "" }

func (p pods) KubeletCommands(_, container string, visit func([]string, time.Duration)) {
	for command, period := range p.probes {
		if container == "main" {
			visit([]string{command}, period)
		}
	}
}

// scene is a Tracker whose time is told by the test.
type scene struct {
	testing.TB
	tracker  *Tracker
	registry *prometheus.Registry
	now      time.Time
	reports  []*event.Event
	serial   int
}

func newScene(t testing.TB, change func(*Options)) *scene {
	t.Helper()
	s := &scene{TB: t, now: noon, registry: prometheus.NewRegistry()}
	o := Options{
		Pods: pods{sole: "main", probes: map[string]time.Duration{"probe": 10 * time.Second}}, Report: func(e *event.Event) { s.reports = append(s.reports, e) },
		Now: func() time.Time { return s.now }, Logger: slog.New(slog.DiscardHandler), Registerer: s.registry,
		Join: join.Options{Begin: noon.Add(-time.Hour)},
	}
	if change != nil {
		change(&o)
	}
	tracker, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.tracker = tracker
	return s
}

// until lets time pass, with an audit stream that has told everything.
func (s *scene) until(ms int) {
	s.Helper()
	for s.now.Before(at(ms)) {
		s.now = s.now.Add(500 * time.Millisecond)
		s.tracker.Advance(s.now.Add(-100*time.Millisecond), false)
		s.tracker.step()
	}
}

var cart = event.Pod{UID: "u-1", Namespace: "shop", Name: "cart-0", Node: "node1", Confidence: event.Exact}

func (s *scene) review(ms int, session, user string, command ...string) {
	s.tracker.Admitted(Admission{
		Session: session, Door: DoorExec, Time: at(ms), Pod: cart, Command: command, User: user, Groups: []string{"devs"}, Allowed: true,
	})
}

// audit is an audit event of a door, as an API server sends it.
func (s *scene) audit(stage string, ms, stageMS int, session, user, door, query string, code int32) *event.Event {
	s.serial++
	a := &event.Audit{
		AuditID: "a-" + user, Stage: stage, Verb: "get", RequestURI: "/api/v1/namespaces/shop/pods/cart-0/" + door + "?" + query, Code: code,
		User: event.AuditUser{Username: user, Groups: []string{"devs"}}, SourceIPs: []string{"192.0.2.7"}, UserAgent: "kubectl/v1.36.3",
		ObjectRef: event.ObjectRef{Resource: "pods", Subresource: door, Namespace: "shop", Name: "cart-0"}, Target: cart,
	}
	if session != "" {
		a.Annotations = map[string]string{DefaultAnnotation: session}
	}
	return &event.Event{
		Kind: event.KindAudit, Source: "audit/a", Dataset: event.DatasetAudit, Time: at(ms), StageTime: at(stageMS), Audit: a,
		Delivered: fmt.Sprint(user, stage, ms),
	}
}

func (s *scene) started(ms, stageMS int, session, user, query string) *event.Event {
	e := s.audit("ResponseStarted", ms, stageMS, session, user, DoorExec, query, 101)
	s.tracker.Enrich(e)
	return e
}

func (s *scene) completed(ms, stageMS int, session, user, query string) *event.Event {
	e := s.audit("ResponseComplete", ms, stageMS, session, user, DoorExec, query, 101)
	s.tracker.Enrich(e)
	return e
}

// process is an exec in the container main: of an entry leader itself where both IDs are equal.
func (s *scene) process(ms int, leader, id string, tty uint32, began event.Began, args ...string) *event.Event {
	e := &event.Event{
		Kind: event.KindProcess, Source: "agent/node1", Dataset: event.DatasetProcess, Action: []string{"exec"}, Time: at(ms), StageTime: at(ms), Pod: cart,
		Container: &event.Container{ID: "c-1", Name: "main"},
		Process: &event.Process{
			PID: 100, EntityID: id, Name: args[0], Args: args, Start: at(ms - 20), TTY: tty,
			EntryLeader: &event.EntryLeader{PID: 100, EntityID: leader, Start: at(ms - 20), SameAsProcess: leader == id, Began: began},
		},
	}
	if leader != id {
		e.Process.Parent = &event.ProcessRef{EntityID: leader}
		e.Process.EntryLeader.Start = time.Time{}
	}
	return e
}

func (s *scene) exec(ms int, leader, id string, args ...string) *event.Event {
	e := s.process(ms, leader, id, 0, event.BeganSessionOrProbe, args...)
	s.tracker.Enrich(e)
	return e
}

func (s *scene) exit(ms int, leader, id string, code int) {
	e := s.process(ms, leader, id, 0, event.BeganSessionOrProbe, "x")
	e.Process.Exit, e.Process.Start = &event.ProcessExit{Code: code}, time.Time{}
	s.tracker.Enrich(e)
}

func (s *scene) get(id string) Document {
	s.Helper()
	d, ok := s.tracker.Get(id)
	if !ok {
		s.Fatalf("there is no session %s", id)
	}
	return d
}

// who is a session's attribution as a text.
func who(d *Document) string {
	if d.User != nil {
		return string(d.Attribution) + " " + d.User.Name
	}
	return fmt.Sprintf("%s %v", d.Attribution, d.Candidates)
}

func (s *scene) want(id, attribution string) {
	s.Helper()
	if d := s.get(id); who(&d) != attribution {
		s.Errorf("%s is %s (%s), want %s", id, who(&d), d.Why, attribution)
	}
}
