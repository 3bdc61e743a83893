package identity

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
)

// store is the Resolver as the watch's machinery sees it. Feeding the history
// directly, without an informer's own store between, halves the memory, and tells
// of a new list as one step: whoever is not on it is gone.
type store struct{ resolver *Resolver }

var _ cache.TransformingStore = store{}

// Add takes over a pod.
func (s store) Add(obj any) error {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("identity got a %T, want a pod", obj)
	}
	s.resolver.put(newRecord(pod))
	return nil
}

// Update takes over a pod's new state.
func (s store) Update(obj any) error { return s.Add(obj) }

// Delete notes that a pod is gone.
func (s store) Delete(obj any) error {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("identity got a %T, want a pod", obj)
	}
	s.resolver.remove(string(pod.UID))
	return nil
}

// Replace takes over a complete list.
func (s store) Replace(list []any, _ string) error {
	records := make([]*record, 0, len(list))
	for _, obj := range list {
		pod, ok := obj.(*corev1.Pod)
		if !ok {
			return fmt.Errorf("identity got a %T, want a pod", obj)
		}
		records = append(records, newRecord(pod))
	}
	s.resolver.replace(records)
	return nil
}

// Resync has nothing to do: the history does not forget living pods.
func (s store) Resync() error { return nil }

// Transformer trims pods as they arrive.
func (s store) Transformer() cache.TransformFunc { return trim }
