package app

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portcullis-dev/portcullis/app/admission"
	"github.com/portcullis-dev/portcullis/canary"
	"github.com/portcullis-dev/portcullis/event"
)

// The audit stream has told everything up to what was heard of the API server that is furthest behind, and nothing
// while one of them was never heard.
func TestHowFarTheAuditStreamHasCome(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	s := newSessionStream(nil, nil)
	heard := func(source string, at time.Time) {
		s.note([]*event.Event{{Source: source, StageTime: at, Audit: &event.Audit{}}, {Source: "agent/n", StageTime: at.Add(time.Hour)}})
	}
	one, two := canary.Status{Source: "audit/1"}, canary.Status{Source: "audit/2"}
	heard("audit/1", noon)
	heard("audit/2", noon.Add(5*time.Second))
	heard("audit/2", noon.Add(3*time.Second)) // A batch was overtaken.
	for name, row := range map[string]struct {
		servers []canary.Status
		want    time.Time
	}{
		"none is known":      {nil, time.Time{}},
		"one":                {[]canary.Status{two}, noon.Add(5*time.Second - streamOrder)},
		"the slower of two":  {[]canary.Status{two, one}, noon.Add(-streamOrder)},
		"one was never seen": {[]canary.Status{one, {}}, time.Time{}},
		"one was not heard":  {[]canary.Status{one, {Source: "audit/3"}}, time.Time{}},
	} {
		if got := s.upTo(row.servers); !got.Equal(row.want) {
			t.Errorf("%s: %s, want %s", name, got, row.want)
		}
	}
	heard("audit/3", noon)
	if s.prune([]canary.Status{two}); len(s.heard) != 1 {
		t.Errorf("%d API servers are remembered of one that there is", len(s.heard))
	}
}

// The sessions hear of reviews in their order, soon, all at once, and of each once.
func TestReviewsAreToldInTheirOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var (
			mutex sync.Mutex
			told  []string
		)
		heard := func() []string {
			mutex.Lock()
			defer mutex.Unlock()
			return slices.Clone(told)
		}
		q := &reviews{tell: func(r *admission.Review) {
			mutex.Lock()
			defer mutex.Unlock()
			told = append(told, r.Session)
		}}
		q.add(admission.Review{Session: "1"})
		q.add(admission.Review{Session: "2"})
		if len(heard()) > 0 {
			t.Error("the answer waits for the sessions")
		}
		time.Sleep(reviewsWait)
		synctest.Wait()
		for range reviewsQueued {
			q.add(admission.Review{Session: "3"})
		}
		if got := heard(); len(got) != 2+reviewsQueued || !slices.Equal(got[:3], []string{"1", "2", "3"}) {
			t.Errorf("told %d", len(got))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := heard(); len(got) != 2+reviewsQueued {
			t.Errorf("told %d", len(got))
		}
	})
}
