package quarantine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/event"
)

// DefaultMaxPending is the default of Options.MaxPending.
const DefaultMaxPending = 10_000

const (
	// endInterval is how often objects are deleted that have expired. The Index goes
	// by the clock, so this is only how long they are still listed.
	endInterval = 5 * time.Second
	// drainTimeout is how long Run goes on writing when it is stopped.
	drainTimeout = 5 * time.Second
	// requestTimeout bounds one request to the API server.
	requestTimeout = 10 * time.Second
	writers        = 4
	minRetry       = 50 * time.Millisecond
	maxRetry       = 30 * time.Second
)

// ErrBusy says that so many quarantines wait to be written that no other is taken on.
var ErrBusy = errors.New("too many quarantines wait to be written")

// ErrFull says that there are so many quarantines that rules add no other.
var ErrFull = errors.New("there are too many quarantines")

// Announcer tells people, through Events on the pod and on the quarantine, what was done. *Events is one.
type Announcer interface {
	Quarantined(d *event.Detection, e *Entry)
	// Created tells that the object is in the cluster.
	Created(e *Entry)
	WouldQuarantine(d *event.Detection, spec Spec)
	// Released tells who ended it, and when.
	Released(e *Entry, by string, at time.Time)
}

// Options are what a Manager needs.
type Options struct {
	// Client reads and writes Quarantines; its scheme must know them (v1alpha1.AddToScheme).
	Client client.WithWatch
	// Index is what the Manager keeps, and only the Manager changes.
	Index     *Index
	Announcer Announcer
	// PodGone reports whether the pod of that UID is known to exist no more: its
	// quarantine is of no use to anybody then, and is deleted.
	PodGone func(uid string) bool
	// NodeOf is the node that the pod of that UID runs on, empty if that is not known. Nil knows none: then
	// only those pods are found on their node whose quarantine says where they are.
	NodeOf func(uid string) string
	// Record remembers what became of detections.
	Record Record
	// MaxPending bounds the quarantines whose object is not written yet;
	// DefaultMaxPending if zero. Beyond it Quarantine refuses: what is in force and not visible
	// in the cluster, nobody could release.
	MaxPending int
	// MaxQuarantines bounds those that there are when a rule adds one; zero for no bound. The policy in
	// the API server looks at each of them for each request. What people make by hand is not bounded by it.
	MaxQuarantines int
	// Mirrors are the LimitRanges of the namespace in which every Quarantine is mirrored; see MirrorOf. Nil mirrors none.
	Mirrors    corev1client.LimitRangeInterface
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Now is the clock; time.Now if nil. Give it one that nobody sets (package steady), or a step
	// of the wall clock releases everybody who is in quarantine for a time.
	Now func() time.Time
}

func (o *Options) complete() error {
	if o.MaxPending == 0 {
		o.MaxPending = DefaultMaxPending
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	var errs []error
	for _, check := range []struct {
		bad bool
		why string
	}{
		{o.Client == nil, "Client is missing: Quarantines are read and written through it"},
		{o.Index == nil, "Index is missing"},
		{o.Announcer == nil, "Announcer is missing"},
		{o.PodGone == nil, "PodGone is missing"},
		{o.Record == nil, "Record is missing"},
		{o.Logger == nil, "Logger is missing"},
		{o.Registerer == nil, "Registerer is missing"},
		{o.MaxPending < 0, "MaxPending is negative"},
		{o.MaxQuarantines < 0, "MaxQuarantines is negative"},
	} {
		if check.bad {
			errs = append(errs, errors.New(check.why))
		}
	}
	return errors.Join(errs...)
}

// Manager keeps the Index and the cluster's Quarantine objects the same. Its
// methods may be called from any goroutine.
type Manager struct {
	opts    Options
	metrics *metrics
	queue   workqueue.TypedRateLimitingInterface[task]
	reports workqueue.TypedInterface[string]
	mirror  mirror

	mu       sync.Mutex
	state    *state
	syncOnce sync.Once
	synced   chan struct{}
}

// NewManager makes a Manager that writes and watches nothing until Run.
func NewManager(opts Options) (*Manager, error) {
	if err := opts.complete(); err != nil {
		return nil, fmt.Errorf("quarantine options: %w", err)
	}
	m := &Manager{
		opts:   opts,
		state:  newState(opts.Index, opts.Record),
		synced: make(chan struct{}),
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[task](minRetry, maxRetry)),
		reports: workqueue.NewTyped[string](),
		mirror:  mirror{changed: make(chan struct{}, 1)},
	}
	m.state.nodeOf = opts.NodeOf
	var err error
	if m.metrics, err = newMetrics(opts.Registerer, m); err != nil {
		m.queue.ShutDown()
		m.reports.ShutDown()
		return nil, fmt.Errorf("quarantine metrics: %w", err)
	}
	return m, nil
}

// Run watches and writes Quarantines until the context ends; then it goes on
// writing what is pending, for some seconds at most, and returns nil. A Manager runs once.
func (m *Manager) Run(ctx context.Context) error {
	// What is in force must become visible: writing outlives the stop signal.
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	var watching, written sync.WaitGroup
	watching.Go(func() { m.watch(ctx) })
	watching.Go(func() { m.endLoop(ctx) })
	watching.Go(func() { m.reportLoop(ctx) })
	if m.opts.Mirrors != nil {
		watching.Go(func() { m.mirrorLoop(ctx) })
	}
	for range writers {
		written.Go(func() { m.writeLoop(writing) })
	}
	watching.Wait()
	m.queue.ShutDown()
	timeout := time.AfterFunc(drainTimeout, stopWriting)
	defer timeout.Stop()
	written.Wait()
	return nil
}

func (m *Manager) watch(ctx context.Context) {
	logger := logr.FromSlogHandler(m.opts.Logger.Handler())
	lw := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list := &v1alpha1.QuarantineList{}
			err := m.opts.Client.List(ctx, list, &client.ListOptions{Raw: &o})
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return m.opts.Client.Watch(ctx, &v1alpha1.QuarantineList{}, &client.ListOptions{Raw: &o})
		},
	}, m.opts.Client)
	cache.NewReflectorWithOptions(lw, &v1alpha1.Quarantine{}, store{m}, cache.ReflectorOptions{
		Name: "quarantine", Logger: &logger,
	}).RunWithContext(ctx)
}

// Synced reports whether the Index has every Quarantine that existed at the start.
func (m *Manager) Synced() bool {
	select {
	case <-m.synced:
		return true
	default:
		return false
	}
}

// WaitSynced waits until Synced, or for the end of the context, whose error it returns.
func (m *Manager) WaitSynced(ctx context.Context) error {
	select {
	case <-m.synced:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for all quarantines: %w", ctx.Err())
	}
}

// Quarantine puts the detection's subjects into quarantine. They are in force in the Index when
// Quarantine returns; the objects follow. Where there are several, the outcome is that of the one with
// whom most happened. The errors are ErrSubject, ErrBusy and ErrFull; without an outcome nothing
// is in force then, with one some subjects are and others are not. Quarantine waits for nobody.
func (m *Manager) Quarantine(_ context.Context, d *event.Detection, spec Spec) (Outcome, error) {
	subjects, err := Subjects(d, spec)
	if err != nil {
		m.metrics.outcomes.WithLabelValues(outcomeNoSubject).Inc()
		return "", fmt.Errorf("quarantine for detection %s: %w", d.ID, err)
	}
	var (
		most Outcome
		errs []error
	)
	for _, subject := range subjects {
		outcome, err := m.quarantine(d, subject, spec)
		if err != nil {
			errs = append(errs, fmt.Errorf("quarantine %s for detection %s: %w", ObjectName(subject), d.ID, err))
			continue
		}
		if outcome.rank() > most.rank() {
			most = outcome
		}
	}
	return most, errors.Join(errs...)
}

// quarantine puts one subject into quarantine.
func (m *Manager) quarantine(d *event.Detection, subject v1alpha1.Subject, spec Spec) (Outcome, error) {
	now := m.opts.Now()
	e, outcome, err := m.impose(newEntry(d, subject, spec, now), now)
	if err != nil {
		m.metrics.outcomes.WithLabelValues(outcomeNoRoom).Inc()
		return "", err
	}
	m.metrics.outcomes.WithLabelValues(string(outcome)).Inc()
	switch outcome {
	case OutcomeApplied, OutcomeProlonged:
		m.queue.Add(task{name: e.Name})
		m.opts.Announcer.Quarantined(d, e)
		m.opts.Logger.Info("quarantine is in force", "name", e.Name, "outcome", string(outcome),
			"rule", e.Rule, "detection", e.Detection, "expires", e.Expires)
	default:
		m.opts.Logger.Info("detection changes no quarantine", "outcome", string(outcome), "detection", d.ID)
	}
	return outcome, nil
}

func (m *Manager) impose(e *Entry, now time.Time) (*Entry, Outcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.state.knows(e.Subject) {
		switch {
		case m.state.pending >= m.opts.MaxPending:
			return nil, "", ErrBusy
		case m.opts.MaxQuarantines > 0 && len(m.state.tracked) >= m.opts.MaxQuarantines:
			return nil, "", ErrFull
		}
	}
	e, outcome := m.state.impose(e, now)
	return e, outcome, nil
}

// WouldQuarantine tells people what enforcing the rule would have done.
func (m *Manager) WouldQuarantine(d *event.Detection, spec Spec) {
	m.metrics.outcomes.WithLabelValues(outcomeWould).Inc()
	m.opts.Announcer.WouldQuarantine(d, spec)
}

// Released takes over, from the API server's audit log, that somebody has deleted the object of that name: who and
// when goes into the record of the detections that had led to it, and is told on the pod and on the
// quarantine. The deletion may be known already, or become known later. What Portcullis itself
// deletes is not to be told here.
func (m *Manager) Released(object, by string, at time.Time) {
	m.change(func(s *state, fx *effects) { s.release(object, by, at, m.opts.Now(), fx) })
}

// Denied takes over that a request was denied because of the entry, for the status of its object.
func (m *Manager) Denied(e *Entry, at time.Time) {
	m.change(func(s *state, fx *effects) { s.denied(e.Name, at, m.opts.Now(), fx) })
}

// InForce reports whether something stands against all that requests of the subject can do, by people or by a rule.
func (m *Manager) InForce(s v1alpha1.Subject) bool {
	now := m.opts.Now()
	return slices.ContainsFunc(m.opts.Index.Of(s), func(e *Entry) bool { return e.Active(now) })
}

func (m *Manager) endLoop(ctx context.Context) {
	tick := time.NewTicker(endInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			m.change(func(s *state, fx *effects) { s.end(m.opts.Now(), m.opts.PodGone, fx) })
		}
	}
}

// change changes the state under the lock and sees to what that leaves to do.
func (m *Manager) change(f func(*state, *effects)) {
	var fx effects
	m.mu.Lock()
	f(m.state, &fx)
	m.mu.Unlock()
	m.mirror.wake()
	for _, d := range fx.doom {
		m.queue.Add(task{doomed: d})
	}
	for _, name := range fx.write {
		m.queue.Add(task{name: name})
	}
	for _, name := range fx.report {
		m.reports.Add(name)
	}
	for _, end := range fx.ended {
		m.metrics.ended.WithLabelValues(end.why).Inc()
		m.opts.Logger.Info("quarantine has ended", "name", end.entry.Name, "why", end.why, "detection", end.entry.Detection)
	}
	for _, r := range fx.released {
		m.opts.Announcer.Released(r.entry, r.by, r.at)
		m.opts.Logger.Info("quarantine was released", "name", r.entry.Name, "by", r.by, "at", r.at)
	}
}

func (m *Manager) pending() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.pending
}
