package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/test/serverprocess"
	"github.com/portcullis-dev/portcullis/test/standalone"
)

// options of a run.
type options struct {
	seed uint64
	size
	nodes int
	late  late
	// lateness is the server's: how late an event may come. span is that of the longest rule.
	lateness, span time.Duration
	// watchLag is how much later than others the server hears of pods: a request can be told before its pod is.
	watchLag time.Duration
	// restarts is about how often the server is killed.
	restarts int
	// cut has agents lose their connections.
	cut bool
	// skew has the clocks differ, drift has those of the API servers be set, by a little, now and then.
	skew, drift bool
	// binary is the server's; empty builds it.
	binary string
	// keep is where the server's log and its detections are left; empty leaves nothing.
	keep string
	// progress is told how much of size.length is over.
	progress func(time.Duration)
}

// aheads are the clocks of the API servers and of the nodes, in turn.
func aheads(skewed bool) (servers, nodes []time.Duration) {
	if !skewed {
		return []time.Duration{0, 0, 0}, []time.Duration{0}
	}
	return []time.Duration{0, 3*time.Minute + 20*time.Second, -130 * time.Second},
		[]time.Duration{0, 4 * time.Minute, -3 * time.Minute, 700 * time.Millisecond, -45 * time.Second}
}

// holdTime is longer than the server holds telemetry of a container that nobody ever names.
const holdTime = 7 * time.Second

// recordTime is how long the server may take to note what it has told.
const recordTime = time.Second

// patience bounds what is left to do when nothing more happens.
const patience = 3 * time.Minute

// finalPatience is how much later than they can be detections may become final.
const finalPatience = 20 * time.Second

// outcome is what a run shows.
type outcome struct {
	options    options
	pods       []*pod
	rounds     int
	disorder   *disorder
	serverSkew []time.Duration
	nodeSkew   []time.Duration
	// resent are deliveries that were made again because they were not acknowledged.
	resent int64
	// kills are the restarts, slowest is the longest that one took.
	kills      []killed
	slowest    time.Duration
	portcullis *verdict
	byName     score
	// toFinal is how long after the last act everything was final.
	toFinal time.Duration
}

// torture runs the simulation to its end.
func torture(t standalone.TB, o options) *outcome {
	t.Helper()
	r := newRunner(t, o)
	r.site.Start(t)
	if err := r.director.populate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, m := range r.machines {
		if err := r.site.AwaitClock(t.Context(), "audit/"+m.Name, m.Ahead); err != nil {
			t.Fatal(err)
		}
	}
	r.play()
	r.settle()
	r.awaitFinal()
	r.site.Stop(t)
	return r.conclude()
}

// runner has the parts of a run.
type runner struct {
	t        standalone.TB
	machines []serverprocess.APIServerOptions
	site     *serverprocess.Site
	feed     *feed
	director *director
	out      *outcome
}

func newRunner(t standalone.TB, o options) *runner {
	t.Helper()
	r := &runner{t: t, out: &outcome{options: o}}
	r.out.serverSkew, r.out.nodeSkew = aheads(o.skew)
	for i, ahead := range r.out.serverSkew {
		r.machines = append(r.machines, serverprocess.APIServerOptions{Name: fmt.Sprintf("cp-%d", i+1), Ahead: ahead})
	}
	rules := t.TempDir()
	if err := writeRules(rules, o.span); err != nil {
		t.Fatal(err)
	}
	r.site = serverprocess.New(t, serverprocess.Options{
		Binary: o.binary, APIServers: r.machines, WatchLag: o.watchLag,
		Configure: func(c *config.Config) {
			c.Audit.CanaryPeriod.Duration, c.Lateness.Duration = time.Second, o.lateness
			c.ShippedRules, c.RuleDirectories = new(false), []string{rules}
		},
	})
	if o.keep != "" {
		t.Cleanup(func() {
			if err := r.site.Keep(o.keep); err != nil {
				t.Errorf("keep the server's files: %v", err)
			}
		})
	}
	nodes := make([]string, o.nodes)
	for i := range nodes {
		nodes[i] = fmt.Sprintf("node-%d", i)
	}
	r.connect(nodes)
	r.out.disorder = r.feed.disorder
	r.director = &director{
		size: o.size, feed: r.feed, rand: source(o.seed, 1), marker: &marker{seed: o.seed, servers: len(r.machines), span: o.span, lasts: o.lasts},
		people: &population{client: r.site.Client, nodes: nodes, statuses: 0.4},
	}
	return r
}

// connect makes the sources.
func (r *runner) connect(nodes []string) {
	r.t.Helper()
	recorded, err := load()
	if err != nil {
		r.t.Fatal(err)
	}
	r.feed = &feed{
		captured: recorded, agents: map[string]*serverprocess.Agent{}, late: r.out.options.late,
		byName: newByName(chains(r.out.options.span)), disorder: &disorder{}, ctx: r.t.Context(),
	}
	for _, m := range r.machines {
		r.feed.servers = append(r.feed.servers, &recorder{APIServer: r.site.APIServer(m.Name)})
	}
	for i, node := range nodes {
		agent := r.site.Agent(r.t, serverprocess.AgentOptions{
			Node: node, Ahead: r.out.nodeSkew[i%len(r.out.nodeSkew)], AckTimeout: 5 * time.Second,
		})
		if err := agent.Connect(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
		r.feed.agents[node] = agent
	}
}

func source(seed uint64, stream int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, uint64(stream))) //nolint:gosec // a simulation
}

// play lets everything happen at once: the pods act, the sources report, connections break, the server is killed.
func (r *runner) play() {
	r.t.Helper()
	o := r.out.options
	recording, stopRecording := context.WithCancel(r.t.Context())
	defer stopRecording()
	acting, stopActing := context.WithCancel(r.t.Context())
	defer stopActing()
	var recorders, others sync.WaitGroup
	for i, by := range r.feed.servers {
		recorders.Go(func() { r.feed.record(recording, by, source(o.seed, 100+i)) })
	}
	if o.drift {
		for i, by := range r.feed.servers {
			others.Go(func() { r.feed.drift(acting, by, source(o.seed, 300+i)) })
		}
	}
	if o.cut {
		for i, node := range r.director.people.nodes {
			others.Go(func() { r.feed.breakConnections(acting, r.feed.agents[node], source(o.seed, 200+i)) })
		}
	}
	var failure error
	others.Go(func() {
		defer stopActing()
		failure = r.director.run(r.t.Context(), o.progress)
	})
	r.kill(acting.Done())
	others.Wait()
	r.feed.told()
	stopRecording()
	recorders.Wait()
	if err := errors.Join(failure, r.feed.failed()); err != nil {
		r.t.Fatal(err)
	}
}

// kill kills the server at moments that the seed decides, and starts it again, until all is over.
func (r *runner) kill(over <-chan struct{}) {
	r.t.Helper()
	rnd, o := source(r.out.options.seed, 2), r.out.options
	for range o.restarts {
		interval := o.length / time.Duration(o.restarts)
		select {
		case <-over:
			return
		case <-time.After(interval/4 + time.Duration(rnd.Int64N(int64(interval/2)+1))):
		}
		k := killed{settled: r.told()}
		time.Sleep(recordTime)
		k.at = time.Now()
		r.site.Kill()
		k.end = r.told()
		time.Sleep(time.Duration(rnd.Int64N(int64(time.Second))))
		begun := time.Now()
		r.site.Start(r.t)
		k.back = time.Now()
		r.out.kills = append(r.out.kills, k)
		r.out.slowest = max(r.out.slowest, k.back.Sub(begun))
	}
	<-over
}

// told is how much the server has told.
func (r *runner) told() int64 {
	r.t.Helper()
	n, err := r.site.Told()
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// breakConnections has an agent lose its connection now and then, until ctx ends.
func (f *feed) breakConnections(ctx context.Context, agent *serverprocess.Agent, r *rand.Rand) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(2*time.Second + time.Duration(r.Int64N(int64(8*time.Second)))):
		}
		agent.Cut()
		time.Sleep(time.Duration(r.Int64N(int64(3 * time.Second))))
		if err := agent.Connect(context.WithoutCancel(ctx)); err != nil {
			f.fail(err)
			return
		}
	}
}

// settle waits until everything that was told has been acknowledged, and longer than the server may hold it.
func (r *runner) settle() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	delivered := make(chan struct{})
	go func() { r.feed.pending.Wait(); close(delivered) }()
	select {
	case <-delivered:
	case <-ctx.Done():
		r.t.Fatalf("batches are still not acknowledged: %v", errors.Join(r.feed.failed(), ctx.Err()))
	}
	if err := r.feed.failed(); err != nil {
		r.t.Fatal(err)
	}
	for _, agent := range r.feed.agents {
		if err := agent.Drain(ctx); err != nil {
			r.t.Fatal(err)
		}
	}
	time.Sleep(holdTime)
}

// awaitFinal waits until nothing that was detected can change any more: only the watermark moves now.
func (r *runner) awaitFinal() {
	r.t.Helper()
	// Twice the lateness behind the clock is the watermark at most; a span later an event is let go.
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*r.out.options.lateness+r.out.options.span+finalPatience)
	defer cancel()
	for {
		open, err := r.open(ctx)
		switch {
		case err == nil && open == 0:
			r.out.toFinal = time.Since(r.director.end)
			return
		case ctx.Err() != nil:
			r.t.Fatalf("%d detections are not final yet: %v", open, errors.Join(err, ctx.Err()))
		}
		time.Sleep(time.Second)
	}
}

// open is how many detections may still change, as the server says: those that come to be final as they were told
// are not told again.
func (r *runner) open(ctx context.Context) (int, error) {
	const name = "portcullis_correlator_open_matches"
	families, err := r.site.Metrics(ctx)
	if err != nil {
		return 0, err
	}
	all := families[name].GetMetric()
	if len(all) != 1 {
		return 0, fmt.Errorf("the server has %d metrics %s", len(all), name)
	}
	return int(all[0].GetGauge().GetValue()), nil
}

// conclude compares.
func (r *runner) conclude() *outcome {
	r.t.Helper()
	lines, err := r.site.Detections()
	if err != nil {
		r.t.Fatal(err)
	}
	out := r.out
	out.pods, out.rounds = r.director.pods, r.director.rounds
	rules := chains(out.options.span)
	acts, want := index(out.pods), truth(out.pods, rules)
	j := &judge{chains: rules, kills: out.kills, want: want, acts: acts, evidence: newEvidence(out.pods, out.kills, out.serverSkew)}
	j.run(lines)
	out.portcullis, out.byName = j.verdict, r.feed.byName.score(want, acts)
	if out.resent, err = r.feed.resent(); err != nil {
		r.t.Fatal(err)
	}
	if dir := out.options.keep; dir != "" {
		text := strings.Join(out.portcullis.complaints, "\n")
		if err := os.WriteFile(filepath.Join(dir, "complaints.txt"), []byte(text), 0o600); err != nil { //nolint:gosec // who runs it names the directory
			r.t.Fatal(err)
		}
	}
	return out
}

// resent counts the deliveries that were made again because they were not acknowledged.
func (f *feed) resent() (int64, error) {
	total := int64(0)
	for _, agent := range f.agents {
		n, err := agent.Resent()
		if err != nil {
			return 0, err
		}
		total += int64(n)
	}
	for _, s := range f.servers {
		_, refused, failed := s.Posts()
		total += refused + failed
	}
	return total, nil
}
