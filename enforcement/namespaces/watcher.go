package namespaces

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/portcullis-dev/portcullis/enforcement"
)

// Options are what a Watcher needs; all are required.
type Options struct {
	// Client lists and watches namespaces.
	Client metadata.Interface
	Logger *slog.Logger
}

// Watcher knows the namespaces' labels. Its methods may be called from any goroutine.
type Watcher struct {
	opts Options

	mutex  sync.RWMutex
	labels map[string]string // by namespace
	// counts is how many namespaces have a label of that text.
	counts map[string]int

	syncOnce sync.Once
	synced   chan struct{}
}

var _ enforcement.Namespaces = (*Watcher)(nil)

// New makes a Watcher that knows nothing until Run.
func New(opts Options) (*Watcher, error) {
	switch {
	case opts.Client == nil:
		return nil, errors.New("namespaces options: Client is missing")
	case opts.Logger == nil:
		return nil, errors.New("namespaces options: Logger is missing")
	}
	return &Watcher{opts: opts, labels: map[string]string{}, counts: map[string]int{}, synced: make(chan struct{})}, nil
}

// Run watches namespaces until the context ends, and returns nil. A Watcher runs once.
func (w *Watcher) Run(ctx context.Context) error {
	logger := logr.FromSlogHandler(w.opts.Logger.Handler())
	client := w.opts.Client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	lw := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return client.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return client.Watch(ctx, o)
		},
	}, w.opts.Client)
	cache.NewReflectorWithOptions(lw, &metav1.PartialObjectMetadata{}, store{w}, cache.ReflectorOptions{
		Name: "namespaces", Logger: &logger,
	}).RunWithContext(ctx)
	return nil
}

// Label is the text of the namespace's label, empty if it has none. Not known is what does not exist, as far
// as the watch has told.
func (w *Watcher) Label(namespace string) (mode string, known bool) {
	w.mutex.RLock()
	defer w.mutex.RUnlock()
	mode, known = w.labels[namespace]
	return mode, known
}

// Any reports whether the label of any namespace has that text.
func (w *Watcher) Any(mode string) bool {
	w.mutex.RLock()
	defer w.mutex.RUnlock()
	return w.counts[mode] > 0
}

// set changes a namespace's label, nil for one that is gone. The lock is held.
func (w *Watcher) set(namespace string, label *string) {
	if before, known := w.labels[namespace]; known {
		if w.counts[before]--; w.counts[before] == 0 {
			delete(w.counts, before)
		}
		delete(w.labels, namespace)
	}
	if label != nil {
		w.labels[namespace] = *label
		w.counts[*label]++
	}
}

// Synced reports whether all namespaces of the cluster have been seen once.
func (w *Watcher) Synced() bool {
	select {
	case <-w.synced:
		return true
	default:
		return false
	}
}

// WaitSynced waits until Synced, or for the end of the context, whose error it returns.
func (w *Watcher) WaitSynced(ctx context.Context) error {
	select {
	case <-w.synced:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for all namespaces: %w", ctx.Err())
	}
}

// store is the Watcher as the watch's machinery sees it.
type store struct{ watcher *Watcher }

var _ cache.ReflectorStore = store{}

// Add takes over a namespace.
func (s store) Add(obj any) error {
	m, err := decode(obj)
	if err != nil {
		return err
	}
	s.watcher.mutex.Lock()
	defer s.watcher.mutex.Unlock()
	label := m.Labels[enforcement.Label]
	s.watcher.set(m.Name, &label)
	return nil
}

// Update takes over a namespace's new state.
func (s store) Update(obj any) error { return s.Add(obj) }

// Delete takes over that a namespace is gone.
func (s store) Delete(obj any) error {
	m, err := decode(obj)
	if err != nil {
		return err
	}
	s.watcher.mutex.Lock()
	defer s.watcher.mutex.Unlock()
	s.watcher.set(m.Name, nil)
	return nil
}

// Replace takes over a complete list.
func (s store) Replace(list []any, _ string) error {
	labels := make(map[string]string, len(list))
	for _, obj := range list {
		m, err := decode(obj)
		if err != nil {
			return err
		}
		labels[m.Name] = m.Labels[enforcement.Label]
	}
	s.watcher.mutex.Lock()
	s.watcher.labels, s.watcher.counts = map[string]string{}, map[string]int{}
	for name, label := range labels {
		s.watcher.set(name, &label)
	}
	s.watcher.mutex.Unlock()
	s.watcher.syncOnce.Do(func() { close(s.watcher.synced) })
	return nil
}

// Resync has nothing to do.
func (s store) Resync() error { return nil }

func decode(obj any) (*metav1.PartialObjectMetadata, error) {
	m, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return nil, fmt.Errorf("namespaces got a %T, want metadata", obj)
	}
	return m, nil
}
