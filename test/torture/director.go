package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// settledFor is how long a pod must have had its name, and keep it, for a request that names
	// no UID to be of nobody else: creation times have a resolution of a second.
	settledFor = 4 * time.Second
	// workers make pods at the same time.
	workers = 16
)

// size is how large the simulation is.
type size struct {
	namespaces, names int
	// length is how long pods act.
	length time.Duration
	// churn is the share of the pods that is made anew between two rounds, as far as there is time.
	churn float64
	// pause is the time for that.
	pause time.Duration
	// lasts is how long requests go on that go on for long; they end at most outlast after the end.
	lasts, outlast time.Duration
}

// director has the pods act, round by round.
type director struct {
	size
	people *population
	feed   *feed
	marker *marker
	rand   *rand.Rand

	slots []*slot
	// end is when the last round begins, at the latest.
	end time.Time
	// pods are all that ever were.
	pods   []*pod
	rounds int
}

// populate makes the namespaces and the first pods.
func (d *director) populate(ctx context.Context) error {
	for n := range d.namespaces {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespaceName(n)}}
		if _, err := d.people.client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create namespace %s: %w", ns.Name, err)
		}
		for i := range d.names {
			d.slots = append(d.slots, &slot{pod: &pod{namespace: ns.Name, name: fmt.Sprintf("web-%d", i)}})
		}
	}
	return d.each(ctx, d.slots, time.Time{}, func(ctx context.Context, s *slot, r *rand.Rand) (*pod, error) {
		return d.people.make(ctx, s.pod.namespace, s.pod.name, r)
	}, idle)
}

func namespaceName(n int) string { return fmt.Sprintf("team-%d", n) }

// idle is a pod that does nothing yet.
func idle(*slot, *rand.Rand) {}

// each gives each slot a pod, several at a time, until the deadline if there is one. Born is called as soon as
// it is there, once at a time.
func (d *director) each(ctx context.Context, slots []*slot, deadline time.Time, newPod func(context.Context, *slot, *rand.Rand) (*pod, error), born func(*slot, *rand.Rand)) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		next int
		err  error
	)
	// Each has a source of its own: who gets a worker first must not decide what is drawn.
	sources := make([]*rand.Rand, len(slots))
	for i := range sources {
		sources[i] = rand.New(rand.NewPCG(d.rand.Uint64(), d.rand.Uint64())) //nolint:gosec // a simulation
	}
	take := func() int {
		mu.Lock()
		defer mu.Unlock()
		if err != nil || ctx.Err() != nil || !deadline.IsZero() && time.Now().After(deadline) || next == len(slots) {
			return -1
		}
		next++
		return next - 1
	}
	put := func(i int, made *pod, failure error) {
		mu.Lock()
		defer mu.Unlock()
		if failure != nil {
			err = failure
			return
		}
		slots[i].pod = made
		d.pods = append(d.pods, made)
		born(slots[i], sources[i])
	}
	for range workers {
		wg.Go(func() {
			for i := take(); i >= 0; i = take() {
				made, failure := newPod(ctx, slots[i], sources[i])
				put(i, made, failure)
			}
		})
	}
	wg.Wait()
	return err
}

// run has rounds until the time is up.
func (d *director) run(ctx context.Context, progress func(done time.Duration)) error {
	begin := time.Now()
	d.end = begin.Add(d.length)
	for time.Since(begin) < d.length && ctx.Err() == nil {
		if err := d.round(ctx); err != nil {
			return err
		}
		d.rounds++
		progress(time.Since(begin))
		if err := d.feed.failed(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// round has every pod act at the same moments, and then makes some of them anew.
func (d *director) round(ctx context.Context) error {
	// What is about to begin is a little in the future: all acts are told as they happen.
	begin := time.Now().Add(50 * time.Millisecond)
	var heirs []*slot
	plays := map[*slot]script{}
	for _, s := range d.slots {
		play := choose(d.rand, begin.Sub(s.pod.asked) > settledFor, begin.Add(d.lasts).Before(d.end.Add(d.outlast)))
		if play.settled {
			s.busyUntil = begin.Add(lastAct + settledFor)
		}
		d.feed.tell(s.pod, d.marker.play(s.pod, play.acts, begin, d.rand))
		if len(play.heir) > 0 {
			heirs = append(heirs, s)
			plays[s] = play
		}
	}
	time.Sleep(time.Until(begin.Add(second)))
	err := d.each(ctx, heirs, time.Time{}, d.heir, func(s *slot, r *rand.Rand) {
		d.feed.tell(s.pod, d.marker.play(s.pod, plays[s].heir, begin, r))
	})
	if err != nil {
		return err
	}
	time.Sleep(time.Until(begin.Add(lastAct)))
	return d.churnSome(ctx)
}

// heir makes the slot's pod anew; whatever the old one did has happened.
func (d *director) heir(ctx context.Context, s *slot, r *rand.Rand) (*pod, error) {
	return d.people.replace(ctx, s.pod, r)
}

// churnSome makes pods anew that nothing keeps.
func (d *director) churnSome(ctx context.Context) error {
	deadline := time.Now().Add(d.pause)
	var free []*slot
	for _, s := range d.slots {
		if d.rand.Float64() < d.churn && time.Now().After(s.busyUntil) {
			free = append(free, s)
		}
	}
	d.rand.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
	if err := d.each(ctx, free, deadline, d.heir, idle); err != nil {
		return err
	}
	time.Sleep(time.Until(deadline))
	return nil
}
