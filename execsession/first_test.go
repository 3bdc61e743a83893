package execsession

import (
	"slices"
	"testing"

	"github.com/portcullis-dev/portcullis/event"
)

// An equal session that was opened just before, and hung up while its shell lives on, does not hide the one that is to end.
func TestTheProcessesToEnd(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	ending := map[string]bool{}
	want := func(when string, leaders ...string) {
		t.Helper()
		got := make([]string, 0, 2)
		for _, first := range s.tracker.Firsts("s-mallory", func(id string) bool { return ending[id] }) {
			got = append(got, first.Leader.EntityID)
		}
		if slices.Sort(got); !slices.Equal(got, leaders) {
			t.Errorf("%s: %q are to end, want %q", when, got, leaders)
		}
	}
	query := "command=sh&container=main"
	for i, user := range []string{"alice", "mallory"} {
		s.review(1000+i, "s-"+user, user, "sh")
		s.started(990+i, 1100, "s-"+user, user, query)
	}
	want("before it begins")
	s.exec(1200, "e-1", "e-1", "sh")
	s.exec(1210, "e-2", "e-2", "sh")
	s.until(4000)
	want("alice may be at either of them")
	ending["s-alice"] = true
	want("both are to end", "e-1", "e-2")
	ending["s-alice"] = false
	s.completed(990, 4000, "s-alice", "alice", query)
	s.until(10_000)
	want("alice has hung up", "e-1", "e-2")
	s.exit(10_100, "e-1", "e-1", 0)
	want("one has ended", "e-2")
}

// An agent that has forgotten a container's first process takes the next one for it.
func TestAContainerHasOneFirstProcess(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	begin := func(ms int, id string, began event.Began, container string, args ...string) *event.Event {
		e := s.process(ms, id, id, 0, began, args...)
		e.Container.ID = container
		s.tracker.Enrich(e)
		return e
	}
	begin(100, "e-0", event.BeganContainer, "c-1", "serve")
	begin(150, "e-0", event.BeganContainer, "c-1", "serve", "on")
	s.review(1000, "s-1", "alice", "sh")
	if e := begin(1200, "e-1", event.BeganContainer, "c-1", "sh"); e.Session == nil || e.Session.ID != "s-1" {
		t.Errorf("the second first process carries %+v", e.Session)
	}
	if e := begin(1300, "e-2", "", "c-1", "id"); e.Session == nil {
		t.Error("one of which the agent does not know how it came is in no session")
	}
	if e := begin(1400, "e-3", event.BeganContainer, "c-2", "serve"); e.Session != nil {
		t.Errorf("the first process of the next container carries %+v", e.Session)
	}
	if e := begin(1500, "e-4", "", "c-3", "serve"); e.Session != nil {
		t.Errorf("one in a container of which nothing is known carries %+v", e.Session)
	}
}
