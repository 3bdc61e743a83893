package canary

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/portcullis-dev/portcullis/event"
)

// UserAgentPrefix is what a canary request's user agent starts with; the nonce follows.
const UserAgentPrefix = "portcullis-canary/"

const (
	// maxServers bounds the API servers that canaries fly to. Clusters have three or five.
	maxServers = 64
	// maxSources bounds the sources whose clocks and last events are remembered. The sink's
	// CA has signed a certificate for each.
	maxSources = 256
	// keepServer is how long an API server is remembered that is no longer behind the Service: its last
	// canaries may still come back.
	keepServer = time.Hour
)

// APIServers are the ways to the API servers.
type APIServers interface {
	// Addresses returns host:port of each API server.
	Addresses(ctx context.Context) ([]string, error)
	// Get makes the canary's request of the API server at the address, under that user agent.
	// The Trip is valid if its Answered is set, whatever the answer and the error.
	Get(ctx context.Context, address, userAgent string) (Trip, error)
}

// Trip is when a request was sent at the earliest, and when its answer began to arrive, by our clock.
type Trip struct{ Sent, Answered time.Time }

// Options are a Canary's dependencies. All but Store and Offsets are required.
type Options struct {
	APIServers APIServers
	// Period is the time between two requests to one API server. After three periods, and at
	// least BlindAfter, without a return Portcullis is blind there.
	Period     time.Duration
	BlindAfter time.Duration
	// LateAfter is the lag beyond which audit events come too late to be joined; BlindAfter if zero.
	LateAfter time.Duration
	// Store keeps what is known of the clocks for the next process. Nil forgets it: then the times
	// of the first events are not corrected.
	Store Store
	// Offsets, if not nil, is told how far the API servers' clocks are ahead of ours, or lately were, each time
	// that this changes: a time that some API server wrote is off by one of them. It must not block.
	Offsets    func([]time.Duration)
	Clock      func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (o *Options) complete() error {
	var errs []error
	for _, check := range []struct {
		bad bool
		why string
	}{
		{o.APIServers == nil, "canary: Options.APIServers is nil"},
		{o.Period <= 0, "canary: Options.Period must be positive"},
		{o.BlindAfter < 0 || o.LateAfter < 0, "canary: Options.BlindAfter and LateAfter must not be negative"},
		{o.Clock == nil, "canary: Options.Clock is nil"},
		{o.Logger == nil, "canary: Options.Logger is nil"},
		{o.Registerer == nil, "canary: Options.Registerer is nil"},
	} {
		if check.bad {
			errs = append(errs, errors.New(check.why))
		}
	}
	o.BlindAfter = max(3*o.Period, o.BlindAfter)
	if o.LateAfter == 0 {
		o.LateAfter = o.BlindAfter
	}
	return errors.Join(errs...)
}

// Canary makes the requests and awaits their events. Its methods may be called from any goroutine.
type Canary struct {
	// moved is told when an offset has changed.
	moved   chan struct{}
	opts    Options
	metrics metrics

	mu      sync.Mutex
	servers map[string]*server // by address
	flying  map[string]*flight // by user agent, those of all servers
	clocks  map[string]*clock  // by source
	heard   map[string]time.Time

	tellMu sync.Mutex
	told   []time.Duration

	failed rate.Sometimes // keeps what fails every time from filling the log
}

// New returns a Canary that does nothing until Run.
func New(opts Options) (*Canary, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	return &Canary{
		moved:   make(chan struct{}, 1),
		opts:    opts,
		metrics: newMetrics(opts.Registerer),
		servers: make(map[string]*server),
		flying:  make(map[string]*flight),
		clocks:  make(map[string]*clock),
		heard:   make(map[string]time.Time),
		failed:  rate.Sometimes{First: 3, Interval: time.Minute},
	}, nil
}

// Run lets canaries fly every period until ctx ends. It returns nil.
func (c *Canary) Run(ctx context.Context) error {
	ticker := time.NewTicker(c.opts.Period)
	defer ticker.Stop()
	c.round(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.moved:
			// At once: a process that is killed before would leave its successor the old offset.
			c.tellOffsets()
			c.save(ctx)
		case <-ticker.C:
			c.judge()
			c.tellOffsets()
			c.save(ctx)
			c.round(ctx)
		}
	}
}

// round has a canary fly to each API server, and waits until all are answered or given up.
func (c *Canary) round(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Period)
	defer cancel()
	addresses, err := c.opts.APIServers.Addresses(ctx)
	if err != nil && ctx.Err() == nil {
		c.metrics.failed.WithLabelValues("addresses").Inc()
		c.opts.Logger.Warn("the API servers' addresses could not be read, canaries fly to those known before", "error", err)
	}
	var flights sync.WaitGroup
	for _, address := range c.listed(addresses, err) {
		flights.Go(func() { c.fly(ctx, address) })
	}
	flights.Wait()
}

// listed brings the table of API servers up to date and returns the addresses to fly to.
func (c *Canary) listed(addresses []string, err error) []string {
	slices.Sort(addresses)
	addresses = slices.Compact(addresses)
	if len(addresses) > maxServers {
		c.opts.Logger.Warn("more API servers than canaries fly to", "servers", len(addresses), "limit", maxServers)
		addresses = addresses[:maxServers]
	}
	now := c.opts.Clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil || len(addresses) > 0 {
		for _, s := range c.servers {
			s.listed = false
		}
		for _, address := range addresses {
			c.server(address, now).listed = true
		}
	}
	var out []string
	for address, s := range c.servers {
		switch {
		case s.listed:
			s.seen = now
			out = append(out, address)
		case now.Sub(s.seen) > keepServer:
			c.forget(s)
		default:
			c.metrics.forget(address)
		}
	}
	return out
}

func (c *Canary) server(address string, now time.Time) *server {
	s, ok := c.servers[address]
	if !ok {
		s = &server{address: address, added: now, state: Starting, since: now}
		c.servers[address] = s
	}
	return s
}

func (c *Canary) forget(s *server) {
	for _, f := range s.flights {
		delete(c.flying, f.agent)
	}
	delete(c.servers, s.address)
	c.metrics.forget(s.address)
}

// fly has one canary fly.
func (c *Canary) fly(ctx context.Context, address string) {
	f := &flight{agent: UserAgentPrefix + rand.Text(), sent: c.opts.Clock()}
	c.launch(address, f)
	trip, err := c.opts.APIServers.Get(ctx, address, f.agent)
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		c.metrics.failed.WithLabelValues("request").Inc()
		c.failed.Do(func() { c.opts.Logger.Warn("canary request failed", "apiserver", address, "error", err) })
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if trip.Answered.IsZero() {
		return
	}
	f.trip = trip
	c.measure(f)
}

// launch notes a flight before its request is made: its event may be back before the answer is.
func (c *Canary) launch(address string, f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.server(address, f.sent)
	f.server = s
	if dropped := s.add(f); dropped != nil {
		delete(c.flying, dropped.agent)
		if dropped.received.IsZero() {
			c.metrics.lost.Inc()
		}
	}
	c.flying[f.agent] = f
}

// Take looks at what a sink delivered: it takes out the canaries' own events, which no rule needs
// to see, and corrects the times of the others. Events that are no audit events pass as they are. It must be
// called before the events are shared.
func (c *Canary) Take(events []*event.Event) []*event.Event {
	rest, measured := c.sift(events)
	if measured {
		c.tellOffsets()
	}
	// Only now: a canary among them tells of the clock that the others' times were read from.
	c.correct(rest)
	return rest
}

// sift returns the events that are not canaries', and whether some are.
func (c *Canary) sift(events []*event.Event) (rest []*event.Event, returned bool) {
	rest = make([]*event.Event, 0, len(events))
	c.mu.Lock()
	defer c.mu.Unlock()
	last := ""
	for _, e := range events {
		if e.Audit == nil {
			rest = append(rest, e)
			continue
		}
		if e.Source != last {
			c.hear(e)
			last = e.Source
		}
		if c.returned(e) {
			returned = true
		} else {
			rest = append(rest, e)
		}
	}
	return rest, returned
}

// hear notes that a source is not silent.
func (c *Canary) hear(e *event.Event) {
	if _, known := c.heard[e.Source]; known || len(c.heard) < maxSources {
		c.heard[e.Source] = e.Received
	}
}

// returned reports whether the event is a canary's own.
func (c *Canary) returned(e *event.Event) bool {
	if !strings.HasPrefix(e.Audit.UserAgent, UserAgentPrefix) {
		return false
	}
	// The API server may add to a user agent, never in front of it.
	agent, _, _ := strings.Cut(e.Audit.UserAgent, " ")
	f, ok := c.flying[agent]
	if !ok {
		return false // A forged nonce, or one given up: it proves nothing, and rules may judge it.
	}
	e.Identify()
	if !f.received.IsZero() {
		// Another stage of the request, or the same delivered again; else somebody has read the nonce.
		return f.request == e.Request
	}
	f.request, f.source, f.received, f.stamp = e.Request, e.Source, e.Received, e.Time
	f.server.source = e.Source
	lag := f.lag()
	c.metrics.lag.Observe(lag.Seconds())
	c.metrics.last.WithLabelValues(e.Source).Set(float64(e.Received.UnixMilli()) / 1000)
	c.measure(f)
	c.enter(f.server, f.server.judge(e.Received, c.limits()), e.Received)
	return true
}

// judge decides on every API server whether it is seen.
func (c *Canary) judge() {
	now := c.opts.Clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deduce(now)
	for _, s := range c.servers {
		state := s.judge(now, c.limits())
		if state == Silent && s.source != "" && now.Sub(c.heard[s.source]) < c.opts.BlindAfter {
			state = Filtered
		}
		c.enter(s, state, now)
	}
}

func (c *Canary) limits() limits { return limits{blind: c.opts.BlindAfter, late: c.opts.LateAfter} }

// deduce finds out what the source of an API server is called whose canaries have never returned: if there
// is one such and one source that nobody else accounts for, they belong together.
func (c *Canary) deduce(now time.Time) {
	var nameless []*server
	left := maps.Clone(c.heard)
	maps.DeleteFunc(left, func(_ string, at time.Time) bool { return now.Sub(at) >= c.opts.BlindAfter })
	for _, s := range c.servers {
		if s.source == "" && s.listed {
			nameless = append(nameless, s)
		}
		delete(left, s.source)
	}
	if len(nameless) != 1 || len(left) != 1 || nameless[0].judge(now, c.limits()) != Silent {
		return
	}
	for source := range left {
		nameless[0].source = source
	}
}

// enter notes a server's state, and tells people of a new one. One that has left the Service is no concern any more.
func (c *Canary) enter(s *server, state State, now time.Time) {
	if !s.listed {
		return
	}
	if state != s.state {
		attrs := []any{"apiserver", s.address, "source", s.source, "before", string(s.state), "since", s.since}
		s.state, s.since = state, now
		switch advice := state.advice(); {
		case advice != "":
			c.opts.Logger.Warn("audit events of an API server are not seen", append(attrs, "state", string(state), "advice", advice)...)
		case state == Live:
			c.opts.Logger.Info("audit events of an API server are seen", attrs...)
		}
	}
	c.metrics.blindAt.WithLabelValues(s.address).Set(one(!state.Seen()))
	c.metrics.blind.Set(one(c.blind()))
}

// Blind reports whether there is an API server whose audit events are not known to come through.
func (c *Canary) Blind() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blind()
}

func (c *Canary) blind() bool {
	listed := 0
	for _, s := range c.servers {
		if !s.listed {
			continue
		}
		if listed++; !s.state.Seen() {
			return true
		}
	}
	return listed == 0
}

// Status returns what is known of each API server, by address.
func (c *Canary) Status() []Status {
	now := c.opts.Clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Status, 0, len(c.servers))
	for _, s := range c.servers {
		if s.listed {
			out = append(out, c.status(s, now))
		}
	}
	slices.SortFunc(out, func(a, b Status) int { return strings.Compare(a.Address, b.Address) })
	return out
}

func (c *Canary) status(s *server, now time.Time) Status {
	st := Status{Address: s.address, Source: s.source, State: s.state, Since: s.since}
	if f := s.latest(); f != nil {
		st.Returned, st.Lag = f.received, f.lag()
	}
	if k := c.clocks[s.source]; k != nil {
		st.Clock = k.at(now)
	}
	return st
}

// Gaps returns the times between from and to of which an API server's audit events are not known
// to have come through, in no particular order.
func (c *Canary) Gaps(from, to time.Time) []Gap {
	now := c.opts.Clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Gap
	for _, s := range c.servers {
		for _, g := range s.gaps(now, c.limits()) {
			if g.From.Before(to) && g.To.After(from) {
				out = append(out, g)
			}
		}
	}
	return out
}
