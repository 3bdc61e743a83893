package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/test/chaos/disk"
	"github.com/portcullis-dev/portcullis/test/chaos/killpoint"
	"github.com/portcullis-dev/portcullis/test/serverprocess"
	"github.com/portcullis-dev/portcullis/test/standalone"
)

// options of a suite.
type options struct {
	seed uint64
	// long is how long faults are injected, at most as long as the deck lasts if that is to be dealt once only.
	long time.Duration
	once bool
	// late is how late API servers deliver at most.
	late time.Duration
	// disk: the store is on a disk of its own, which can be full and can hang. The program must be isolated.
	disk bool
	// binary is a server that is built already; if it is empty, one is built.
	binary string
	// keep is a directory that the server's log is copied to; none if empty.
	keep string
	// casts are how many pods play each plot, rates how many stories of each happen in a second.
	casts map[plot]int
	rates map[plot]float64
	// deck is how often each fault is injected until all have been.
	deck map[fault]int
	// leastKills is how often the server must have been killed: with fewer, nothing is proven.
	leastKills int
	// out is told how it goes, a line at a time.
	out func(format string, args ...any)
}

// say tells how it goes.
func (s *suite) say(format string, args ...any) {
	s.opts.out("%6.1f s  %s", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

// diskSize is that of the server's disk, in MiB.
const diskSize = 256

// suite is the server with everything around it.
type suite struct {
	opts     options
	tb       standalone.TB
	site     *serverprocess.Site
	server   *server
	receiver *receiver
	ledger   *ledger
	feed     *feed
	releases *releases
	points   *killpoint.Points
	disk     *disk.Disk
	random   *rand.Rand
	eras     int
	nextKill int
	began    time.Time

	mu       sync.Mutex
	injected map[fault]int
	// hits are the kills at each point, misses the times that it was not reached.
	hits, misses map[string]int
	damages      damages
	// refused is what the server counted as too late to be joined, tooLate how many detections were not made of it then.
	refused float64
	tooLate int
	waits   []outage
}

// outage is how long it took until the server was ready again after something that was no restart.
type outage struct {
	fault fault
	took  time.Duration
}

// The machines of the control plane and the nodes: each has a clock of its own.
func apiServers() []serverprocess.APIServerOptions {
	return []serverprocess.APIServerOptions{{Name: "cp-1"}, {Name: "cp-2", Ahead: 90 * time.Second}}
}

func nodes() map[string]time.Duration {
	return map[string]time.Duration{"node-1": -40 * time.Second, "node-2": 25 * time.Second}
}

// stream makes a source of randomness of its own for each user: what one does changes nothing for another.
func (o *options) stream(user uint64) *rand.Rand { return rand.New(rand.NewPCG(o.seed, user)) } //nolint:gosec // it is to be repeatable

// run runs a suite and returns what became of it. An error says that it could not be run to its end.
func run(t standalone.TB, opts options) (*report, error) {
	s, err := setUp(t, opts)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var beating, around sync.WaitGroup
	over, calm := make(chan struct{}), make(chan struct{})
	beating.Go(func() { s.feed.run(ctx, over) })
	around.Go(func() { s.releases.run(ctx, calm) })
	around.Go(func() {
		s.feed.cutAgents(ctx, calm, opts.stream(5), func() { s.count(agentCut) })
	})
	err = s.inject(ctx)
	if err != nil {
		cancel()
	}
	close(calm)
	around.Wait()
	if err == nil {
		if err = s.finish(ctx); err != nil {
			cancel()
		}
	}
	close(over)
	beating.Wait()
	if err = errors.Join(err, s.feed.failed()); err != nil {
		return nil, err
	}
	return s.conclude(ctx)
}

// setUp starts everything, until the server knows all clocks.
func setUp(t standalone.TB, opts options) (*suite, error) {
	t.Helper()
	s := &suite{
		opts: opts, tb: t, began: time.Now(), ledger: newLedger(), random: opts.stream(1),
		injected: map[fault]int{}, hits: map[string]int{}, misses: map[string]int{},
		damages: damages{records: map[string]int{}, forgotten: map[string]bool{}},
	}
	s.receiver = openReceiver(t, opts.stream(2))
	if opts.disk {
		var err error
		if s.disk, err = disk.New(t.TempDir(), diskSize); err != nil {
			return nil, err
		}
		t.Cleanup(func() {
			if err := s.disk.Close(); err != nil {
				t.Errorf("%v", err)
			}
		})
	}
	binary := opts.binary
	if binary == "" {
		s.say("the server is built")
		binary = serverprocess.Build(t, t.TempDir())
	}
	var err error
	if s.points, err = findPoints(binary); err != nil {
		return nil, err
	}
	s.say("an API server starts")
	s.site = serverprocess.New(t, serverprocess.Options{Binary: binary, Configure: s.configure, APIServers: apiServers()})
	if opts.keep != "" {
		t.Cleanup(func() {
			if err := s.site.Keep(opts.keep); err != nil {
				t.Errorf("keep the server's log: %v", err)
			}
		})
	}
	s.server = newServer(t, s.site, s.receiver)
	s.say("pods are made")
	if err := s.source(t); err != nil {
		return nil, err
	}
	s.say("the server starts, and measures the clocks")
	if err := s.server.restart(t.Context()); err != nil {
		return nil, err
	}
	return s, s.awaitClocks(t.Context(), 0)
}

// findPoints finds the functions to kill at; none where that is not possible.
func findPoints(binary string) (*killpoint.Points, error) {
	functions := make([]string, 0, len(points()))
	for _, p := range points() {
		functions = append(functions, p.function)
	}
	found, err := killpoint.Find(binary, functions...)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, nil
	}
	return found, err
}

// unbounded is how many quarantines there may be.
const unbounded = 1_000_000

func (s *suite) configure(c *config.Config) {
	c.Mode = config.Enforce
	// More than any rule should make in a cluster; what is counted here is that each is made.
	c.Gate.Breaker = config.BreakerConfig{PerRulePerHour: unbounded, TotalPerHour: unbounded, MaxQuarantines: unbounded}
	c.Notify.Stdout, c.Notify.HTTP.URL = false, s.receiver.url
	c.Audit.CanaryPeriod.Duration = time.Second
	if s.disk != nil {
		c.DataDirectory = s.disk.Dir
	}
}

// source makes the sources, and the pods in which things happen.
func (s *suite) source(t standalone.TB) error {
	t.Helper()
	ctx := t.Context()
	s.feed = &feed{
		ledger: s.ledger, writer: &writer{random: s.opts.stream(3)}, random: s.opts.stream(4),
		rates: s.opts.rates, late: s.opts.late, agents: map[string]*agent{},
	}
	for _, o := range apiServers() {
		s.feed.servers = append(s.feed.servers, s.site.APIServer(o.Name))
	}
	for _, name := range slices.Sorted(maps.Keys(nodes())) {
		a := &agent{Agent: s.site.Agent(t, serverprocess.AgentOptions{Node: name, Ahead: nodes()[name]})}
		s.feed.agents[name] = a
		if err := a.Connect(ctx); err != nil {
			return err
		}
	}
	if err := makeNamespaces(ctx, s.site.Client); err != nil {
		return err
	}
	if err := s.begin(ctx, s.opts.casts); err != nil {
		return err
	}
	var err error
	s.releases, err = newReleases(s)
	return err
}

// begin begins an era, with pods of its own.
func (s *suite) begin(ctx context.Context, sizes map[plot]int) error {
	s.eras++
	c, err := newCasting(ctx, s.site.Client, slices.Sorted(maps.Keys(nodes())), fmt.Sprintf("e%d", s.eras), sizes)
	if err != nil {
		return err
	}
	s.feed.casting.Store(c)
	return nil
}

// awaitClocks waits until the server has measured how far the API servers' clocks are off from its own, which is ahead of
// ours.
func (s *suite) awaitClocks(ctx context.Context, ahead time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	for _, a := range s.feed.servers {
		if err := s.site.AwaitClock(ctx, "audit/"+a.Name, a.Ahead()-ahead); err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) count(f fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.injected[f]++
}

// inject injects faults until the time is over, each kind in turn, in an order of chance.
func (s *suite) inject(ctx context.Context) error {
	end := time.Now().Add(s.opts.long)
	for time.Now().Before(end) {
		for _, f := range s.deal() {
			if !time.Now().Before(end) {
				break
			}
			if err := s.suffer(ctx, f); err != nil {
				return fmt.Errorf("%s (life %d of the server): %w", f, s.server.life, err)
			}
		}
		if s.opts.once {
			break
		}
	}
	return nil
}

// deal returns the faults of the deck in an order of chance.
func (s *suite) deal() []fault {
	deck := make([]fault, 0, len(s.opts.deck))
	for _, f := range slices.Sorted(maps.Keys(s.opts.deck)) {
		deck = append(deck, slices.Repeat([]fault{f}, s.opts.deck[f])...)
	}
	s.random.Shuffle(len(deck), func(a, b int) { deck[a], deck[b] = deck[b], deck[a] })
	return deck
}

// suffer injects one fault and has the server work again.
func (s *suite) suffer(ctx context.Context, f fault) error {
	s.say("%s, %d to go", f, s.ledger.underWay())
	if err := s.faults()[f](ctx); err != nil {
		return err
	}
	s.count(f)
	if err := s.feed.failed(); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	return s.feed.breathe(limited)
}

// finish has everything arrive, and everything be detected that is to be.
func (s *suite) finish(ctx context.Context) error {
	s.say("everything is to arrive and be concluded")
	limited, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	if err := s.feed.quiesce(limited); err != nil {
		return err
	}
	return s.awaitMade(ctx, 30*time.Second)
}

// awaitMade waits until everything is detected that is to be, or for so long. What is missing then is lost, which the verdict says.
func (s *suite) awaitMade(ctx context.Context, long time.Duration) error {
	deadline := time.After(long)
	for len(s.ledger.missing(s.receiver.sofar())) > 0 {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-deadline:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// conclude stops the server and judges.
func (s *suite) conclude(ctx context.Context) (*report, error) {
	if err := s.releases.settle(ctx); err != nil {
		return nil, err
	}
	if err := s.server.stop(); err != nil {
		return nil, err
	}
	quarantined, err := s.releases.list(ctx)
	if err != nil {
		return nil, err
	}
	notices, failed, err := s.receiver.told()
	if err != nil {
		return nil, err
	}
	v := judge(s.ledger.all(), evidence{
		notices: notices, graceful: s.server.graceful,
		quarantined: quarantined, returned: s.releases.returned(), released: s.releases.released(), forgotten: s.damages.forgotten,
	})
	return &report{suite: s, verdict: v, receiverFailed: failed}, nil
}
