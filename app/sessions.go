package app

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/portcullis-dev/portcullis/app/admission"
	"github.com/portcullis-dev/portcullis/canary"
	"github.com/portcullis-dev/portcullis/coverage"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/execsession"
)

const (
	// sessionsAdvance is how often the sessions are told how far the audit stream has come.
	sessionsAdvance = 250 * time.Millisecond
	// streamOrder is by how much an API server's batches can overtake each other: each is sent by a goroutine of its own.
	streamOrder = time.Second
	// reportPatience is how long an event of our own may take to be stored.
	reportPatience = 5 * time.Second
)

// sessionStream puts every event into its session, before rules see it.
type sessionStream struct {
	sessions *execsession.Tracker
	next     ingester

	mutex sync.Mutex
	// heard is the latest that was heard from each API server, by the time of the stage.
	heard map[string]time.Time
}

func newSessionStream(sessions *execsession.Tracker, next ingester) *sessionStream {
	return &sessionStream{sessions: sessions, next: next, heard: map[string]time.Time{}}
}

// Ingest implements ingester.
func (s *sessionStream) Ingest(ctx context.Context, events []*event.Event) error {
	for _, e := range events {
		s.sessions.Enrich(e)
	}
	if err := s.next.Ingest(ctx, events); err != nil {
		return err
	}
	s.note(events)
	return nil
}

// note remembers how far the API servers have come.
func (s *sessionStream) note(events []*event.Event) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, e := range events {
		if e.Audit != nil && e.StageTime.After(s.heard[e.Source]) {
			s.heard[e.Source] = e.StageTime
		}
	}
}

// upTo is the time up to which every API server of the list has told everything, as far as one can know: batches may
// overtake each other, and what failed to be delivered comes again later. It is zero where one of them was never heard.
func (s *sessionStream) upTo(servers []canary.Status) time.Time {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var upTo time.Time
	for i, server := range servers {
		at, heard := s.heard[server.Source]
		switch {
		case server.Source == "" || !heard:
			return time.Time{}
		case i == 0 || at.Before(upTo):
			upTo = at
		}
	}
	if upTo.IsZero() {
		return upTo
	}
	return upTo.Add(-streamOrder)
}

// prune forgets API servers that are no more.
func (s *sessionStream) prune(servers []canary.Status) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if len(s.heard) <= 2*len(servers) {
		return
	}
	known := map[string]bool{}
	for _, server := range servers {
		known[server.Source] = true
	}
	for source := range s.heard {
		if !known[source] && strings.HasPrefix(source, "audit/") {
			delete(s.heard, source)
		}
	}
}

// follow tells the sessions how far the audit stream has come, until ctx ends.
func (s *sessionStream) follow(of *canary.Canary) func(context.Context) error {
	return func(ctx context.Context) error {
		ticker := time.NewTicker(sessionsAdvance)
		defer ticker.Stop()
		for {
			servers := of.Status()
			s.sessions.Advance(s.upTo(servers), of.Blind())
			s.prune(servers)
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C:
			}
		}
	}
}

// buildSessions makes what knows who asked for what runs in containers.
func (s *Server) buildSessions(ctx context.Context) (err error) {
	s.sessions, err = execsession.New(execsession.Options{
		Pods:       s.resolver,
		Store:      s.durable.sessions,
		Report:     s.report,
		Now:        s.clock.Now,
		Logger:     s.logger("sessions"),
		Registerer: s.opts.Registry,
	})
	if err != nil {
		return err
	}
	s.reviews = &reviews{tell: s.tellReview}
	return s.sessions.Load(ctx)
}

// report has rules judge an event of our own.
func (s *Server) report(e *event.Event) {
	ctx, cancel := context.WithTimeout(context.Background(), reportPatience)
	defer cancel()
	if err := s.correlator.Ingest(ctx, []*event.Event{e}); err != nil {
		s.logger("sessions").Error("what was found out about a session could not be stored, no rule has seen it", "action", e.Action, "error", err)
		s.oversight.dropped(coverage.FamilyServer+"sessions", "", causeUnstored, 1)
	}
}

const (
	// reviewsWait is how long a review may wait to be told to the sessions: the answer need not wait for that, and
	// whatever it lets in takes longer to begin. To wake somebody for each would cost as much as the verdict.
	reviewsWait = 5 * time.Millisecond
	// reviewsQueued is how many may wait.
	reviewsQueued = 1024
)

// reviews are those of which the sessions are to be told.
type reviews struct {
	tell func(*admission.Review)

	mutex   sync.Mutex
	waiting []admission.Review
	// telling is held while some are told, so that they are in their order.
	telling sync.Mutex
}

// add takes in a review.
func (q *reviews) add(r admission.Review) {
	q.mutex.Lock()
	q.waiting = append(q.waiting, r)
	n := len(q.waiting)
	q.mutex.Unlock()
	switch {
	case n >= reviewsQueued:
		q.drain() // Whoever asks does the work.
	case n == 1:
		time.AfterFunc(reviewsWait, q.drain)
	}
}

// drain tells of all that wait.
func (q *reviews) drain() {
	q.telling.Lock()
	defer q.telling.Unlock()
	q.mutex.Lock()
	all := q.waiting
	q.waiting = nil
	q.mutex.Unlock()
	for i := range all {
		q.tell(&all[i])
	}
}

// run tells of those that are left when ctx ends.
func (q *reviews) run(ctx context.Context) error {
	<-ctx.Done()
	q.drain()
	return nil
}

// tellReview tells the sessions of one review.
func (s *Server) tellReview(r *admission.Review) {
	a := execsession.Admission{
		Session: r.Session, Door: r.Request.Door, Time: r.Time, Pod: r.Pod,
		Container: r.Request.Container, Command: r.Request.Command, Stdin: r.Request.Stdin, TTY: r.Request.TTY,
		User: r.Request.User, UserUID: r.Request.UserUID, Groups: r.Request.Groups, Extra: r.Request.Extra, Allowed: r.Allowed, Why: r.Why,
	}
	for _, c := range r.Request.NewContainers {
		a.NewContainers = append(a.NewContainers, execsession.NewContainer{Name: c.Name, Image: c.Image, Command: c.Command})
	}
	s.sessions.Admitted(a)
}
