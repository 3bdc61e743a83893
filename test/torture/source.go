package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/portcullis-dev/portcullis/test/serverprocess"
)

// stagePause is from a request to its answer, sessionPause to the end of a long one.
const (
	stagePause   = 8 * time.Millisecond
	sessionPause = 900 * time.Millisecond
)

// told is a stage of a request on its way: the event, and what it tells.
type told struct {
	event   []byte
	arrival arrival
	at      time.Time
}

// disorder is how what arrives differs from what happened.
type disorder struct {
	mu sync.Mutex
	// events arrived, overtaken are those of them that happened before another one that had arrived already.
	events, overtaken int
	newest            time.Time
	// latest is the longest that one took.
	latest time.Duration
	// batches were sent, again are those that were sent again although they had been acknowledged, with so many events.
	batches, again, eventsAgain int
}

func (d *disorder) arrived(happened ...time.Time) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, at := range happened {
		d.events++
		if at.Before(d.newest) {
			d.overtaken++
		} else {
			d.newest = at
		}
		d.latest = max(d.latest, now.Sub(at))
	}
}

// late says how late the API servers deliver.
type late struct {
	// most batches take up to usual, one in ten up to worst.
	usual, worst time.Duration
	// again is the share of batches that are sent again after they were acknowledged.
	again float64
}

func (l late) delay(r *rand.Rand) time.Duration {
	if r.IntN(10) == 0 {
		return rand.N(l.worst + 1) //nolint:gosec // a simulation
	}
	return time.Duration(r.Int64N(int64(l.usual) + 1))
}

// feed brings what happens to the server.
type feed struct {
	captured *captured
	servers  []*recorder
	agents   map[string]*serverprocess.Agent
	late     late
	byName   *byName
	disorder *disorder
	// ctx ends what cannot be delivered.
	ctx context.Context
	// acts are those that are still to be told, pending the batches under way.
	acts, pending sync.WaitGroup

	mu  sync.Mutex
	err error
}

// recorder is one API server's audit backend: it gathers events into batches.
type recorder struct {
	*serverprocess.APIServer
	mu     sync.Mutex
	buffer []told
}

// fail notes the first error.
func (f *feed) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *feed) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// at calls fn at that time.
func (f *feed) at(t time.Time, fn func()) {
	f.acts.Go(func() {
		select {
		case <-time.After(time.Until(t)):
			fn()
		case <-f.ctx.Done():
		}
	})
}

// tell has the sources report what a pod does, as it happens.
func (f *feed) tell(p *pod, acts []act) {
	for _, a := range acts {
		if a.kind == readToken || a.kind == ranClient {
			agent := f.agents[p.node]
			f.at(a.at, func() {
				agent.Spool.Push(f.captured.telemetry(p, a, agent.Ahead))
				f.byName.take(arrival{a.kind, p.name, a.at, false, a.mark})
				f.disorder.arrived(a.at)
			})
			continue
		}
		by := f.servers[a.by]
		for _, t := range f.captured.stages(p, a, by.Ahead()) {
			f.at(t.at, func() {
				if a.hasty {
					f.send(by, []told{t}, 0, false, 0)
					return
				}
				by.mu.Lock()
				defer by.mu.Unlock()
				by.buffer = append(by.buffer, t)
			})
		}
	}
}

// record makes batches of what an API server has to tell, until ctx ends, and then one of the rest.
func (f *feed) record(ctx context.Context, by *recorder, r *rand.Rand) {
	for ctx.Err() == nil {
		select {
		case <-time.After(50*time.Millisecond + time.Duration(r.Int64N(int64(time.Second)))):
		case <-ctx.Done():
		}
		by.mu.Lock()
		batch := by.buffer
		by.buffer = nil
		by.mu.Unlock()
		for len(batch) > 0 {
			n := min(len(batch), 1+r.IntN(400))
			f.send(by, batch[:n], f.late.delay(r), r.Float64() < f.late.again, f.late.delay(r))
			batch = batch[n:]
		}
	}
}

// drift sets an API server's clock a little, now and then, until ctx ends: what it sends again afterwards bears times of
// the clock that it had before.
func (f *feed) drift(ctx context.Context, by *recorder, r *rand.Rand) {
	ahead := by.Ahead()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(2*time.Second + time.Duration(r.Int64N(int64(3*time.Second)))):
		}
		by.SetAhead(ahead + time.Duration(r.Int64N(int64(2*steps))) - steps)
	}
}

// steps is how far a clock is set at most: little enough for every chain to stay one, by the right offset or the one before.
const steps = 20 * time.Millisecond

// send delivers a batch after a while, and perhaps once more.
func (f *feed) send(by *recorder, batch []told, after time.Duration, again bool, afterThat time.Duration) {
	events, happened := make([][]byte, 0, len(batch)), make([]time.Time, 0, len(batch))
	for _, t := range batch {
		events = append(events, t.event)
		happened = append(happened, t.at)
	}
	body := eventList(events)
	f.pending.Go(func() {
		f.wait(after)
		if err := by.Deliver(f.ctx, body); err != nil {
			f.fail(err)
			return
		}
		f.disorder.arrived(happened...)
		f.count(again, len(batch))
		f.takeByName(batch)
		if !again {
			return
		}
		f.wait(afterThat)
		if err := by.Deliver(f.ctx, body); err != nil {
			f.fail(err)
			return
		}
		f.takeByName(batch)
	})
}

// told waits until every act has been told to its source.
func (f *feed) told() { f.acts.Wait() }

func (f *feed) takeByName(batch []told) {
	for _, t := range batch {
		f.byName.take(t.arrival)
	}
}

func (f *feed) count(again bool, events int) {
	f.disorder.mu.Lock()
	defer f.disorder.mu.Unlock()
	f.disorder.batches++
	if again {
		f.disorder.again++
		f.disorder.eventsAgain += events
	}
}

func (f *feed) wait(d time.Duration) {
	select {
	case <-time.After(d):
	case <-f.ctx.Done():
	}
}

// stages are what an API server tells of a request, whose clock is ahead by so much.
func (c *captured) stages(p *pod, a act, ahead time.Duration) []told {
	tell := c.request
	if a.kind == exec {
		tell = c.exec
	}
	does := arrival{a.kind, p.name, a.at, a.refused, a.mark}
	stage := func(name string, at time.Time) told { return told{tell(p, a, ahead, name, at), does, at} }
	answered := a.at.Add(stagePause)
	switch {
	case a.lasts > 0:
		return []told{stage(started, answered), stage(complete, answered.Add(a.lasts))}
	case a.long:
		return []told{stage(started, answered), stage(complete, answered.Add(sessionPause))}
	case a.hasty:
		return []told{stage(complete, a.at)}
	default:
		return []told{stage(complete, answered)}
	}
}

// The stages of a request of which an API server tells.
const (
	started  = "ResponseStarted"
	complete = "ResponseComplete"
)
