package nodestream

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/agent/kerneltest"
	"github.com/portcullis-dev/portcullis/collector"
)

// TestASessionEndsByWhatItsEventsSay: what the server knows of an event is enough to end its session, and the
// person at it is told why.
func TestASessionEndsByWhatItsEventsSay(t *testing.T) {
	to, p := newPipeline(), newPlace(t)
	server, _ := p.serve(to)
	if _, err := server.EndSession(t.Context(), collector.Session{Node: nodeName, EntityID: "x", ContainerID: "x", PodUID: "x"}); !errors.Is(err, collector.ErrNotConnected) {
		t.Errorf("without an agent: %v", err)
	}
	p.node()
	c := kerneltest.Start(t, kerneltest.Options{})

	word := mark(t)
	cmd := c.CommandTTY("/bin/sh", "-c", "(setsid sh -c 'sleep 1001; :' >/dev/null 2>&1 &); /usr/bin/true "+word+"; sleep 1000; :")
	var shown bytes.Buffer
	cmd.Stdout = &shown
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	child := to.await(t, word) // no entry leader itself: it is a descendant that does what a rule is about
	to.await(t, "1001")
	what := collector.Session{
		Node: child.Pod.Node, EntityID: child.Process.EntryLeader.EntityID,
		ContainerID: child.Container.ID, PodUID: child.Pod.UID, Reason: "the rule " + word,
	}

	elsewhere := what
	elsewhere.ContainerID = kerneltest.ID(t)
	if ended, err := server.EndSession(t.Context(), elsewhere); err != nil || ended.Outcome != collector.OutcomeRefused || ended.Detail == "" {
		t.Errorf("of another container: %+v, %v", ended, err)
	}
	ended, err := server.EndSession(t.Context(), what)
	if err != nil || ended.Outcome != collector.OutcomeDone || ended.Processes < 3 {
		t.Errorf("the session: %+v, %v; want it done, with the shell, the daemon and their sleeps", ended, err)
	}
	_ = cmd.Wait()
	if !strings.Contains(shown.String(), what.Reason) {
		t.Errorf("the terminal shows %q, want the reason", shown.String())
	}
	if ended, err := server.EndSession(t.Context(), what); err != nil || ended.Outcome != collector.OutcomeNotFound {
		t.Errorf("once more: %+v, %v", ended, err)
	}
	c.Exec("/usr/bin/true") // the container is there
}
