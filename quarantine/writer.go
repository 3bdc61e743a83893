package quarantine

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
)

// task is one entry of the write queue: a quarantine to write, by name, or an
// object to delete.
type task struct {
	name   string
	doomed doomed
}

// errInTheWay says that an object of the same name is being deleted.
var errInTheWay = errors.New("an earlier object of that name is still being deleted")

// errTaken says that an object of the same name has another subject.
var errTaken = errors.New("an object of that name has another subject")

func (m *Manager) writeLoop(ctx context.Context) {
	for {
		t, stop := m.queue.Get()
		if stop {
			return
		}
		m.work(ctx, t)
		m.queue.Done(t)
	}
}

// work does the task, or has it done later.
func (m *Manager) work(ctx context.Context, t task) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var err error
	if t.name != "" {
		err = m.write(ctx, t.name)
	} else {
		err = m.delete(ctx, t.doomed)
	}
	if err == nil {
		m.queue.Forget(t)
		return
	}
	m.opts.Logger.Warn("quarantine object is not written yet", "name", t.name+t.doomed.name, "err", err)
	m.queue.AddRateLimited(t)
}

// write makes the object say what is in force.
func (m *Manager) write(ctx context.Context, name string) error {
	m.mu.Lock()
	t := m.state.tracked[name]
	if t == nil || !t.dirty {
		m.mu.Unlock()
		return nil // released, or written already
	}
	e, uid, since := t.entry, t.uid, t.since
	m.mu.Unlock()

	var (
		q       *v1alpha1.Quarantine
		created bool
		err     error
	)
	if uid == "" {
		q, created, err = m.create(ctx, e)
	} else {
		q, err = m.update(ctx, e, uid)
	}
	switch {
	case errors.Is(err, errTaken):
		m.opts.Logger.Warn("the name of a quarantine object belongs to another subject's: another name is used", "name", name)
		m.change(func(s *state, fx *effects) {
			if t.entry.Name == name {
				s.displaced(t, fx)
			}
		})
		return nil
	case apierrors.IsNotFound(err) && uid != "":
		m.change(func(s *state, fx *effects) { s.vanished(t, uid, m.opts.Now(), fx) })
		return nil
	case err != nil:
		return err
	}
	m.metrics.writeDelay.Observe(m.opts.Now().Sub(since).Seconds())
	m.change(func(s *state, fx *effects) { s.wrote(t, e, q, m.opts.Now(), fx) })
	if created {
		m.opts.Announcer.Created(entryOf(q))
	}
	return nil
}

// create creates the object, or changes the one that is there, by whoever it was made.
func (m *Manager) create(ctx context.Context, e *Entry) (q *v1alpha1.Quarantine, created bool, err error) {
	q = e.object()
	err = m.opts.Client.Create(ctx, q)
	m.count("create", err)
	switch {
	case err == nil:
		return q, true, nil
	case !apierrors.IsAlreadyExists(err):
		return nil, false, fmt.Errorf("create: %w", err)
	}
	q, err = m.update(ctx, e, "")
	return q, false, err
}

// update changes the object to the entry on top of what people made of it. An
// empty uid takes whichever object has the name.
func (m *Manager) update(ctx context.Context, e *Entry, uid types.UID) (*v1alpha1.Quarantine, error) {
	q := &v1alpha1.Quarantine{}
	err := m.opts.Client.Get(ctx, client.ObjectKey{Name: e.Name}, q)
	m.count("get", err)
	switch {
	case err != nil:
		return nil, fmt.Errorf("get: %w", err)
	case uid != "" && q.UID != uid:
		return nil, fmt.Errorf("get: %w", apierrors.NewNotFound(schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "quarantines"}, e.Name))
	case q.DeletionTimestamp != nil:
		return nil, errInTheWay
	case m.stale(q):
		return nil, errors.Join(errInTheWay, m.delete(ctx, doomed{name: q.Name, uid: q.UID}))
	}
	before := entryOf(q)
	if !sameSubject(before.Subject, e.Subject) {
		return nil, errTaken
	}
	merged := *before.merge(e)
	merged.Node = before.Node // which the spec does not say
	if merged == *before {
		return q, nil
	}
	q.Spec = merged.spec()
	err = m.opts.Client.Update(ctx, q)
	m.count("update", err)
	if err != nil {
		return nil, fmt.Errorf("update: %w", err)
	}
	return q, nil
}

// stale reports whether the object is one of ours whose quarantine was released.
func (m *Manager) stale(q *v1alpha1.Quarantine) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.revenant(q)
}

// delete deletes the object if it is still the one that was seen. If it is not,
// somebody else has changed or deleted it, and that stands.
func (m *Manager) delete(ctx context.Context, d doomed) error {
	pre := client.Preconditions{UID: &d.uid}
	if d.version != "" {
		pre.ResourceVersion = &d.version
	}
	q := &v1alpha1.Quarantine{}
	q.Name = d.name
	err := m.opts.Client.Delete(ctx, q, pre)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		err = nil
	}
	m.count("delete", err)
	if err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	return nil
}

func (m *Manager) count(operation string, err error) {
	result := "ok"
	switch {
	case err == nil:
	case apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err), apierrors.IsConflict(err):
		result = "conflict"
	default:
		result = "error"
	}
	m.metrics.writes.WithLabelValues(operation, result).Inc()
}
