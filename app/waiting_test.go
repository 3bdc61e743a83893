package app

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

func TestWhoWaitsForAPodWaitsForWhatCameBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipeline{waiting: waiting{pods: map[string][]*group{}}}
		first, other := p.waiting.add(of("a"))[0], p.waiting.add(of("b"))[0]
		if p.waiting.add(of("a"))[0] != first {
			t.Error("two events that wait for a pod are not one group")
		}
		passed := make(chan error, 1)
		go func() { passed <- p.PassedOn(t.Context(), []string{"a", "unheard of"}) }()
		synctest.Wait()
		later := p.waiting.add(of("a"))[0]
		if later == first {
			t.Error("what came later is waited for as well")
		}
		first.done()
		synctest.Wait()
		if len(passed) != 0 {
			t.Error("one of two events has gone on, and nobody waits for the other")
		}
		first.done()
		if err := <-passed; err != nil {
			t.Error(err)
		}
		later.done()
		other.done()
		if len(p.waiting.pods) != 0 {
			t.Errorf("still waiting for %v", p.waiting.pods)
		}
	})
}

func TestWaitingForAPodEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipeline{waiting: waiting{pods: map[string][]*group{}}}
		p.waiting.add(of("a"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.PassedOn(ctx, []string{"a"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		p.behind.Store(true)
		if err := p.PassedOn(t.Context(), []string{"b"}); !errors.Is(err, errBehind) {
			t.Errorf("with something in the store only: error %v", err)
		}
	})
}

func TestARequestIsWaitedForByNameAsWell(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"uid", "shop/web-0"} {
		synctest.Test(t, func(t *testing.T) {
			p := &pipeline{waiting: waiting{pods: map[string][]*group{}}}
			request := p.waiting.add(&event.Event{Audit: &event.Audit{
				Caller: event.Pod{UID: "uid", Namespace: "shop", Name: "web-0"}, Target: event.Pod{UID: "t"},
			}})
			passed := make(chan error, 1)
			go func() { passed <- p.PassedOn(t.Context(), []string{name}) }()
			synctest.Wait()
			if len(passed) != 0 {
				t.Errorf("nobody waits for the request of %s", name)
			}
			request.done()
			if err := <-passed; err != nil || len(p.waiting.pods) != 0 {
				t.Errorf("%s: error %v, still waiting for %v", name, err, p.waiting.pods)
			}
		})
	}
}

// of is telemetry of a pod.
func of(uid string) *event.Event { return &event.Event{Pod: event.Pod{UID: uid}} }

func TestWhoWaitsForAPodHasItsEventsWithTheRules(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		parts := newParts()
		p := parts.pipeline()
		p.behind.Store(false)
		if err := p.Ingest(t.Context(), []*event.Event{unknownPod("held")}); err != nil {
			t.Fatal(err)
		}
		passed := make(chan error, 1)
		go func() { passed <- p.PassedOn(t.Context(), []string{"1"}) }()
		parts.hold.held[0](false)
		synctest.Wait()
		if len(passed) != 0 {
			t.Error("the event is on its way only, and nobody waits for it")
		}
		p.passNow(t.Context(), <-p.late)
		if err := <-passed; err != nil {
			t.Error(err)
		}
		parts.got(t, "held")
	})
}
