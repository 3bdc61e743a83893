package quarantine

import (
	"fmt"

	"k8s.io/client-go/tools/cache"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
)

// store is the Manager as the watch's machinery sees it.
type store struct{ manager *Manager }

var _ cache.ReflectorStore = store{}

// Add takes over an object.
func (s store) Add(obj any) error {
	q, err := s.decode(obj)
	if err != nil {
		return err
	}
	m := s.manager
	m.change(func(st *state, fx *effects) { st.observed(q, m.opts.Now(), fx) })
	return nil
}

// Update takes over an object's new state.
func (s store) Update(obj any) error { return s.Add(obj) }

// Delete takes over that an object is gone.
func (s store) Delete(obj any) error {
	q, err := s.decode(obj)
	if err != nil {
		return err
	}
	m := s.manager
	m.change(func(st *state, fx *effects) { st.deleted(q, m.opts.Now(), fx) })
	return nil
}

// Replace takes over a complete list.
func (s store) Replace(list []any, version string) error {
	all := make([]*v1alpha1.Quarantine, 0, len(list))
	for _, obj := range list {
		q, err := s.decode(obj)
		if err != nil {
			return err
		}
		all = append(all, q)
	}
	m := s.manager
	m.change(func(st *state, fx *effects) { st.replaced(all, version, m.opts.Now(), fx) })
	m.syncOnce.Do(func() { close(m.synced) })
	return nil
}

// Resync has nothing to do.
func (s store) Resync() error { return nil }

func (s store) decode(obj any) (*v1alpha1.Quarantine, error) {
	q, ok := obj.(*v1alpha1.Quarantine)
	if !ok {
		s.manager.metrics.undecodable.Inc()
		return nil, fmt.Errorf("quarantine got a %T, want a Quarantine", obj)
	}
	return q, nil
}
