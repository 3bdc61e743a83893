package identity

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
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/portcullis-dev/portcullis/event"
)

// The defaults of Options.
const (
	DefaultRetention    = 30 * time.Minute
	DefaultMaxGone      = 50_000
	DefaultMaxGoneBytes = 128 << 20
	DefaultTolerance    = time.Second
)

// expireInterval is how often pods beyond the retention are forgotten. They are
// bounded in number anyway, so it need not be exact.
const expireInterval = 15 * time.Second

// Options are what a Resolver needs.
type Options struct {
	// Client lists and watches the pods of all namespaces.
	Client kubernetes.Interface
	// Retention is how long a deleted pod is remembered; DefaultRetention if zero. An event that
	// arrives later than that after its pod's end does not find it any more.
	Retention time.Duration
	// MaxGone and MaxGoneBytes bound the deleted pods that are remembered, and about how much memory they take;
	// DefaultMaxGone and DefaultMaxGoneBytes if zero. Pods that exist are all remembered; each is bounded.
	MaxGone      int
	MaxGoneBytes int64
	// Tolerance is how far a time may be off when it is held against a pod's life, beside what the
	// event says of its clock; DefaultTolerance if zero.
	Tolerance time.Duration
	// Store keeps the history for the next process. Nil forgets it.
	Store      Store
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

func (o *Options) complete() error {
	if o.Retention == 0 {
		o.Retention = DefaultRetention
	}
	if o.MaxGone == 0 {
		o.MaxGone = DefaultMaxGone
	}
	if o.MaxGoneBytes == 0 {
		o.MaxGoneBytes = DefaultMaxGoneBytes
	}
	if o.Tolerance == 0 {
		o.Tolerance = DefaultTolerance
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	var errs []error
	for _, check := range []struct {
		bad bool
		why string
	}{
		{o.Client == nil, "Client is missing: pods are watched through it"},
		{o.Logger == nil, "Logger is missing"},
		{o.Registerer == nil, "Registerer is missing"},
		{o.Retention < 0, "Retention is negative"},
		{o.MaxGone < 0, "MaxGone is negative"},
		{o.MaxGoneBytes < 0, "MaxGoneBytes is negative"},
		{o.Tolerance < 0, "Tolerance is negative"},
	} {
		if check.bad {
			errs = append(errs, errors.New(check.why))
		}
	}
	return errors.Join(errs...)
}

// Resolver says which pod is meant. Its methods may be called from any goroutine.
type Resolver struct {
	opts    Options
	metrics *metrics

	mu      sync.RWMutex
	history *history
	// strangers are the UIDs of callers that were waited for in vain, see Hold.
	strangers map[string]struct{}
	// learned are called with each pod of which more becomes known, under no lock.
	learned []func(uid, hash string)
	foreign foreign
	// resourceVersion is what the watch told last, or an earlier process' did.
	resourceVersion string
	// since is when the watch connected last.
	since time.Time

	unstored    unstored
	storedWatch []byte // of the store loop alone
	storeFailed rate.Sometimes
	labelsCut   rate.Sometimes

	syncOnce sync.Once
	synced   chan struct{}
}

// New makes a Resolver that knows nothing until Run.
func New(opts Options) (*Resolver, error) {
	if err := opts.complete(); err != nil {
		return nil, fmt.Errorf("identity options: %w", err)
	}
	r := &Resolver{
		opts:    opts,
		history: newHistory(opts.Tolerance, opts.Retention, opts.MaxGone, opts.MaxGoneBytes),
		synced:  make(chan struct{}),

		storeFailed: rate.Sometimes{Interval: time.Minute},
		labelsCut:   rate.Sometimes{Interval: time.Minute},
	}
	r.history.shortened = r.noteCut
	if opts.Store != nil {
		r.history.touched = func(uid string) { r.unstored.add(uid) }
	}
	m, err := newMetrics(opts.Registerer, r)
	if err != nil {
		return nil, fmt.Errorf("identity metrics: %w", err)
	}
	r.metrics = m
	return r, nil
}

// Run watches pods until the context ends; then it stores what is left to store, and returns nil.
func (r *Resolver) Run(ctx context.Context) error {
	logger := logr.FromSlogHandler(r.opts.Logger.Handler())
	reflector := cache.NewReflectorWithOptions(r.listerWatcher(), &corev1.Pod{}, watched{r}, cache.ReflectorOptions{
		Name: "identity", Logger: &logger,
	})
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	var storing sync.WaitGroup
	storing.Go(func() { r.storeLoop(watching) })
	var wg sync.WaitGroup
	wg.Go(func() { r.expireLoop(ctx) })
	r.catchUp(ctx)
	reflector.RunWithContext(ctx)
	wg.Wait()
	stop() // Only now, so that the last changes are stored.
	storing.Wait()
	return nil
}

func (r *Resolver) expireLoop(ctx context.Context) {
	tick := time.NewTicker(expireInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.expire()
			if r.opts.Store != nil {
				r.refresh()
			}
		}
	}
}

// SetOffsets tells how far the clocks of API servers are ahead of ours, or may be: the times in
// objects are by one of these clocks. None stands for clocks that agree.
func (r *Resolver) SetOffsets(offsets []time.Duration) {
	if len(offsets) == 0 {
		offsets = []time.Duration{0}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.offsets = slices.Clone(offsets)
}

// Synced reports whether all pods of the cluster have been seen once. Before
// that, whatever the Resolver does not know may well exist.
func (r *Resolver) Synced() bool {
	select {
	case <-r.synced:
		return true
	default:
		return false
	}
}

// WaitSynced waits until Synced, or for the end of the context, whose error it returns.
func (r *Resolver) WaitSynced(ctx context.Context) error {
	select {
	case <-r.synced:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for all pods: %w", ctx.Err())
	}
}

// Pod returns the pod with that UID, living or remembered. The UID in a static
// pod's cgroups finds it as well.
func (r *Resolver) Pod(uid string) (event.Pod, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	found, _ := r.history.inCgroup(uid, "", r.opts.Now())
	if len(found) != 1 {
		return event.Pod{}, false
	}
	return found[0].pod, true
}

// RunsOn reports whether the pod with that UID (of a cgroup or of an API object) is or was on the
// node. It is not known for a pod that is not known or not scheduled yet.
func (r *Resolver) RunsOn(podUID, node string) (runs, known bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, rec := range r.history.byUID(podUID) {
		if rec.pod.Node == node && node != "" {
			return true, true
		}
		known = known || rec.placed(podUID)
	}
	return false, known
}

// Alive reports whether the pod with that UID exists. A pod that is not known
// may never have existed, may be newer than what the watch has told, or may be gone for long. Before
// Synced none is.
func (r *Resolver) Alive(uid string) (alive, known bool) {
	if !r.Synced() {
		return false, false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	rec, ok := r.history.pods[uid]
	return ok && rec.removed.IsZero(), ok
}

// Current returns the living pod of that name, with the confidence ByName. There is none before Synced.
func (r *Resolver) Current(namespace, podName string) (event.Pod, bool) {
	if !r.Synced() {
		return event.Pod{}, false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	rec := r.history.current(namespace, podName)
	if rec == nil {
		return event.Pod{}, false
	}
	pod := rec.pod
	pod.Confidence = event.ByName
	return pod, true
}

// At returns the pod that had the name at the time. The result always has
// namespace and name; its confidence is ByName, Ambiguous or Unknown.
func (r *Resolver) At(namespace, podName string, t time.Time) event.Pod {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.history.at(namespace, podName, t, r.opts.Tolerance)
}

// Owner is the controller of a pod, such as a ReplicaSet; empty for a pod without.
type Owner struct{ Kind, Name string }

// Details is what is known of a pod beyond its identity.
type Details struct {
	Pod         event.Pod
	Owner       Owner
	HostNetwork bool
	Static      bool
	// Created is the creationTimestamp, of the resolution of a second and of an API server's clock. Deleted is
	// the latest moment at which the pod can have lived, zero while it does.
	Created, Deleted time.Time
}

// Details returns what is known of the pod with that UID, living or remembered.
func (r *Resolver) Details(uid string) (Details, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	rec, ok := r.history.pods[uid]
	if !ok {
		return Details{}, false
	}
	return Details{
		Pod: rec.pod, Owner: rec.owner, HostNetwork: rec.hostNetwork, Static: rec.hash != "",
		Created: rec.created, Deleted: r.history.end(rec),
	}, true
}

// noteCut tells that rules see only some of a pod's labels.
func (r *Resolver) noteCut(rec *record) {
	r.metrics.cut.Inc()
	r.labelsCut.Do(func() {
		r.opts.Logger.Warn("a pod has more labels than are kept: rules see those of them that come first by their keys",
			"pod", rec.pod.String(), "podUID", rec.pod.UID, "bytesKept", maxLabels)
	})
}

// onLearned has f called with the UID and the static hash of each pod when it becomes known, and
// when its node or another container of it does.
func (r *Resolver) onLearned(f func(uid, hash string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.learned = append(r.learned, f)
}

func (r *Resolver) announce(added ...*record) {
	r.mu.RLock()
	learned := r.learned
	r.mu.RUnlock()
	for _, rec := range added {
		for _, f := range learned {
			f(rec.pod.UID, rec.hash)
		}
	}
}

func (r *Resolver) expire() {
	r.mu.Lock()
	defer r.mu.Unlock()
	evicted := r.history.expire(r.opts.Now())
	r.metrics.evicted.Add(float64(evicted))
}

func (r *Resolver) put(rec *record) {
	r.mu.Lock()
	learned := r.history.put(rec, r.opts.Now())
	r.mu.Unlock()
	if learned {
		r.announce(rec)
	}
}

func (r *Resolver) remove(uid string) {
	r.mu.Lock()
	r.history.remove(uid, r.opts.Now())
	over := r.history.tooMany()
	r.mu.Unlock()
	if over {
		r.expire()
	}
}

func (r *Resolver) replace(records []*record, resourceVersion string) {
	r.mu.Lock()
	learned := r.history.replace(records, r.opts.Now())
	r.resourceVersion = resourceVersion
	r.mu.Unlock()
	r.expire()
	r.announce(learned...)
	r.syncOnce.Do(func() { close(r.synced) })
}

// heard notes that the watch has told everything up to a resource version.
func (r *Resolver) heard(resourceVersion string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resourceVersion = resourceVersion
	if now := r.opts.Now(); r.isLive(now) {
		r.history.hear(now)
	}
}

// connected notes that a watch begins. What it tells at first may be old.
func (r *Resolver) connected() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = r.opts.Now()
}

// live reports whether the watch tells of what happens now.
func (r *Resolver) live() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.isLive(r.opts.Now())
}

func (r *Resolver) isLive(now time.Time) bool {
	return !r.since.IsZero() && now.Sub(r.since) > watchLag
}
