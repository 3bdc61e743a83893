package main

import (
	"context"
	"time"

	"github.com/portcullis-dev/portcullis/config"
)

// awayLateness is how late events may be for a server that stays away for longer than that: the
// suite has no time for the minutes that are the default.
const awayLateness = 8 * time.Second

// stayAway has the server be away for longer than events may be late, while API servers and agents keep what they have to
// tell. What happened at first is more than twice as late when the server is back. Rules that look at one event, or
// back for longer than that, detect it all the same; what others lack was refused, and is counted. What happened last is
// detected as ever. It is all stored, so the next process, which allows for more, may well detect what was refused.
func (s *suite) stayAway(ctx context.Context) error {
	s.releases.happening.Lock()
	defer s.releases.happening.Unlock()
	if err := s.rest(ctx); err != nil {
		return err
	}
	s.server.kill()
	defer s.feed.resume()
	usual := s.site.Config.Lateness.Duration
	if err := s.allow(awayLateness); err != nil {
		return err
	}
	s.feed.prompt.Store(true)
	back := make(chan struct{})
	s.feed.backOff.Store(&back)
	s.happen(ctx, 4*time.Second)
	s.feed.backOff.Store(nil)
	s.ledger.overdue(s.receiver.sofar())
	pause(ctx, 2*awayLateness+4*time.Second)
	s.happen(ctx, 2*time.Second)
	s.feed.prompt.Store(false)
	err := s.server.restart(ctx)
	close(back) // What comes sooner is joined behind what is replayed, which allows for more.
	if err != nil {
		return err
	}
	if err := s.rest(ctx); err != nil {
		return err
	}
	s.tooLate += s.ledger.refused(s.receiver.sofar())
	if err := s.countRefused(ctx); err != nil {
		return err
	}
	s.server.kill()
	if err := s.allow(usual); err != nil {
		return err
	}
	return s.server.restart(ctx)
}

// allow says how late events may be for the next process.
func (s *suite) allow(late time.Duration) error {
	return s.site.Reconfigure(func(c *config.Config) { c.Lateness.Duration = late })
}

// happen has things happen for so long.
func (s *suite) happen(ctx context.Context, long time.Duration) {
	s.feed.still.Store(false)
	s.feed.paused.Store(false)
	pause(ctx, long)
	s.feed.paused.Store(true)
	s.feed.still.Store(true) // Not even noise, which would fill the time until the server is back.
}

func pause(ctx context.Context, long time.Duration) {
	select {
	case <-time.After(long):
	case <-ctx.Done():
	}
}

// countRefused adds what the running process has counted as too late to be joined.
func (s *suite) countRefused(ctx context.Context) error {
	families, err := s.site.Metrics(ctx)
	if err != nil {
		return err
	}
	for _, m := range families["portcullis_correlator_refused_total"].GetMetric() {
		s.refused += m.GetCounter().GetValue()
	}
	return nil
}
