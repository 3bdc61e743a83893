package identity

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

const (
	// catchUpTimeout bounds how long a start looks for what it has missed.
	catchUpTimeout = 10 * time.Second
	// catchUpWatch is how long that watch asks to last: two seconds before the end of one an API server
	// says up to where it has told everything, which it otherwise does once a minute.
	catchUpWatch = 3 * time.Second
)

// watched is the Resolver as the watch's machinery sees it. Feeding the history
// directly, without an informer's own store between, halves the memory, and tells
// of a new list as one step: whoever is not on it is gone.
type watched struct{ resolver *Resolver }

var (
	_ cache.TransformingStore      = watched{}
	_ cache.ResourceVersionUpdater = watched{}
)

// Add takes over a pod.
func (w watched) Add(obj any) error {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("identity got a %T, want a pod", obj)
	}
	rec := newRecord(pod)
	rec.fresh = w.resolver.live()
	w.resolver.put(rec)
	return nil
}

// Update takes over a pod's new state.
func (w watched) Update(obj any) error { return w.Add(obj) }

// Delete notes that a pod is gone.
func (w watched) Delete(obj any) error {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("identity got a %T, want a pod", obj)
	}
	w.resolver.remove(string(pod.UID))
	return nil
}

// Replace takes over a complete list.
func (w watched) Replace(list []any, resourceVersion string) error {
	records := make([]*record, 0, len(list))
	for _, obj := range list {
		pod, ok := obj.(*corev1.Pod)
		if !ok {
			return fmt.Errorf("identity got a %T, want a pod", obj)
		}
		records = append(records, newRecord(pod))
	}
	w.resolver.replace(records, resourceVersion)
	return nil
}

// UpdateResourceVersion notes up to where the watch has told everything.
func (w watched) UpdateResourceVersion(resourceVersion string) { w.resolver.heard(resourceVersion) }

// Resync has nothing to do: the history does not forget living pods.
func (w watched) Resync() error { return nil }

// Transformer trims pods as they arrive.
func (w watched) Transformer() cache.TransformFunc { return trim }

// listerWatcher lists and watches all pods.
func (r *Resolver) listerWatcher() cache.ListerWatcher {
	pods := r.opts.Client.CoreV1().Pods(metav1.NamespaceAll)
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return pods.List(ctx, r.notOlder(o))
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			w, err := pods.Watch(ctx, o)
			if err == nil {
				r.connected()
			}
			return w, err
		},
	}, r.opts.Client)
}

// notOlder keeps an API server whose memory is behind from answering the first list with a state older than the
// stored one: pods would seem to be gone that are not.
func (r *Resolver) notOlder(o metav1.ListOptions) metav1.ListOptions {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if o.ResourceVersion == "0" && r.resourceVersion != "" {
		o.ResourceVersion, o.ResourceVersionMatch = r.resourceVersion, metav1.ResourceVersionMatchNotOlderThan
	}
	return o
}

// catchUp watches from where an earlier process stopped, and so hears of the pods that came and
// went in between, if that is not so long ago that the API server has forgotten. It only adds
// to what the list says that follows; if it fails there is a gap in the history, which is known.
func (r *Resolver) catchUp(ctx context.Context) {
	r.mu.RLock()
	from, told := r.resourceVersion, r.history.told
	r.mu.RUnlock()
	if from == "" {
		return
	}
	begin := r.opts.Now()
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	changes, err := r.missed(ctx, from)
	if err != nil {
		r.opts.Logger.Info("what happened to pods while nobody watched is not all known", "since", told, "changes", changes, "error", err)
		return
	}
	r.opts.Logger.Info("pods' history was continued", "since", told, "changes", changes, "took", r.opts.Now().Sub(begin))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.told = begin.Add(-r.opts.Tolerance)
}

// missed takes over what happened from a resource version until now.
func (r *Resolver) missed(ctx context.Context, from string) (changes int, err error) {
	pods := r.opts.Client.CoreV1().Pods(metav1.NamespaceAll)
	// A list without a resource version is of the present, whatever the API server's memory has come to.
	list, err := pods.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return 0, fmt.Errorf("ask for the present: %w", err)
	}
	until, err := strconv.ParseUint(list.ResourceVersion, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the present is not a number: %w", err)
	}
	if list.ResourceVersion == from {
		return 0, nil // Nothing has happened in all of the cluster, and a watch says nothing of what it is told already.
	}
	w, err := pods.Watch(ctx, metav1.ListOptions{
		ResourceVersion: from, AllowWatchBookmarks: true, TimeoutSeconds: new(int64(catchUpWatch / time.Second)),
	})
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	for ; ; changes++ {
		select {
		case <-ctx.Done():
			return changes, ctx.Err()
		case e, ok := <-w.ResultChan():
			switch {
			case !ok:
				return changes, errors.New("the API server did not say that it had told everything")
			case e.Type == watch.Error:
				return changes, apierrors.FromObject(e.Object)
			}
			if r.change(e); reached(e, until) {
				return changes, nil
			}
		}
	}
}

// reached reports whether a watch has told everything up to a resource version.
func reached(e watch.Event, until uint64) bool {
	object, err := meta.Accessor(e.Object)
	if err != nil {
		return false
	}
	at, err := strconv.ParseUint(object.GetResourceVersion(), 10, 64)
	return err == nil && at >= until
}

func (r *Resolver) change(e watch.Event) {
	pod, ok := e.Object.(*corev1.Pod)
	if !ok {
		return
	}
	switch e.Type {
	case watch.Added, watch.Modified:
		r.put(newRecord(pod))
	case watch.Deleted:
		// It may have come and gone since, and then this is all there is to know of it.
		r.put(newRecord(pod))
		r.remove(string(pod.UID))
	case watch.Bookmark, watch.Error:
	}
}
