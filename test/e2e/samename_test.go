//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/test/harness"
)

// How many pods of one name there are at once, and how often all of them are replaced by others
// of the same name.
const (
	sameNamed   = 8
	generations = 2
)

// testSameName has pods of one name act at the same moment, each of which does what the rule asks
// for, or one half of it. Then all are replaced by successors of the same name, in other roles.
func testSameName(t *testing.T, w *world) {
	namespaces := make([]string, sameNamed)
	for i := range namespaces {
		namespaces[i] = fmt.Sprintf("team-%d", i)
	}
	var guilty, innocent []victim
	for generation := range generations {
		pods := w.deploy(t, "web-0", namespaces...)
		start, done := make(chan struct{}), sync.WaitGroup{}
		for i, v := range pods {
			var act func()
			switch (i + generation) % 3 {
			case 0: // Both halves: an interactive program, whose call is refused.
				guilty = append(guilty, v)
				act = w.typed(t, v, "TOKEN=$(<"+tokenFile+"); "+curl("curl", "/api/v1/namespaces/"+v.namespace+"/secrets"), "HTTP 403")
			case 1: // The program alone.
				innocent = append(innocent, v)
				act = w.typed(t, v, "curl -s -o /dev/null http://127.0.0.1:9; echo ended-$((1+1))", "ended-2")
			default: // The refused call alone.
				innocent = append(innocent, v)
				act = func() {
					w.quietly(t, v, "TOKEN=$(<"+tokenFile+"); "+curl("curl", "/api/v1/namespaces/"+v.namespace+"/secrets"))
				}
			}
			done.Go(func() {
				<-start
				act()
			})
		}
		close(start)
		if done.Wait(); t.Failed() {
			t.FailNow()
		}
		for _, v := range pods {
			_, err := w.Admin().Must(step(t), "kubectl", "delete", "pod", "-n", v.namespace, v.name, "--wait", "--grace-period=0", "--force")
			w.check(t, err)
		}
	}
	for _, v := range guilty {
		w.await(t, ruleForbidden, v)
	}
	for _, v := range guilty {
		w.expectOnce(t, ruleForbidden, v)
	}
	for _, v := range innocent {
		w.expectQuiet(t, ruleForbidden, v)
	}
	t.Logf("%d pods of one name, %d at a time: %d detections expected and made, %d pods quiet", len(guilty)+len(innocent), sameNamed, len(guilty), len(innocent))
	right, wrong := w.joinByName(guilty)
	t.Logf("a join by name, given no more than the events of these %d detections, makes %d right and %d wrong ones and misses %d",
		len(guilty), right, wrong, len(guilty)-right)
}

// joinByName joins the events of the detections on the pods as is usual elsewhere: by the pod's name, which
// is the same for all, within a second, in the order of arrival. What the quiet pods did, which makes it harder, it is not even given.
func (w *world) joinByName(pods []victim) (right, wrong int) {
	type arrival struct {
		harness.DetectionEvent
		uid string
	}
	var arrivals []arrival
	for _, v := range pods {
		// The first line has it all: a later one says what became of it.
		all := w.detections.All()
		for _, e := range all[slices.IndexFunc(all, of(ruleForbidden, v))].Document.Portcullis.Detection.Events {
			arrivals = append(arrivals, arrival{e, v.UID})
		}
	}
	slices.SortStableFunc(arrivals, func(a, b arrival) int { return a.Received().Compare(b.Received()) })
	var open *arrival
	for i, a := range arrivals {
		if a.Kind != "audit" {
			open = &arrivals[i]
			continue
		}
		if open == nil || a.Time.Before(open.Time) || a.Time.Sub(open.Time) > time.Second {
			continue
		}
		if open.uid == a.uid {
			right++
		} else {
			wrong++
		}
		open = nil
	}
	return right, wrong
}

// typed opens a shell in a pod, and returns what types a line there and waits for what it shows.
func (w *world) typed(t *testing.T, v victim, line, shows string) func() {
	t.Helper()
	shell := w.shell(t, v)
	return func() { w.enter(t, shell, line, shows) }
}
