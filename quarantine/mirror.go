package quarantine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// Mirrors are a second bolt beside the objects: writing them never takes much of the API server.
	mirrorsPerSecond = 20
	// mirrorsPerPass bounds what is done before it is looked anew what there is to do: a release does not wait for long.
	mirrorsPerPass = 20
	// mirrorRetry is how long nothing is tried after something could not be written.
	mirrorRetry = 5 * time.Second
	// mirrorInterval is how often it is made sure that the mirrors are as they were written.
	mirrorInterval = time.Minute
)

// mirror is what the Manager and the goroutine that mirrors share.
type mirror struct {
	changed chan struct{}
	// pending is how much was left to do at last.
	pending atomic.Int64
}

// wake has it looked whether there is anything to mirror. It waits for nobody.
func (m *mirror) wake() {
	select {
	case m.changed <- struct{}{}:
	default: // It is going to look anyway.
	}
}

// wish is what one mirror should be like.
type wish struct {
	entry Entry
	// write: it has to be there, and to say this. Otherwise, it may stay as it is while its object is there.
	write bool
}

// wishes are those of all objects that exist, by UID. What they ask for depends on nothing but the object,
// so that several processes ask for the same.
func (m *Manager) wishes() map[types.UID]wish {
	now := m.opts.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[types.UID]wish, len(m.state.tracked))
	for _, t := range m.state.tracked {
		if t.uid == "" {
			continue
		}
		w := wish{entry: *t.entry, write: !t.dirty && t.ending == "" && t.entry.Active(now)}
		w.entry.UID, w.entry.Node = t.uid, t.status.stored.NodeName
		all[t.uid] = w
	}
	return all
}

// mirrorLoop keeps the mirrors the same as the objects until the context ends.
func (m *Manager) mirrorLoop(ctx context.Context) {
	if m.WaitSynced(ctx) != nil {
		return // Before that, every mirror looks like one whose object is gone.
	}
	limit := rate.NewLimiter(mirrorsPerSecond, mirrorsPerPass)
	repair := time.NewTicker(mirrorInterval)
	defer repair.Stop()
	var shown map[types.UID]wish // by the mirrors; nil if that is not known
	for {
		if all := m.wishes(); shown == nil || !maps.Equal(shown, all) {
			left, err := m.mirrorAll(ctx, limit, all)
			m.mirror.pending.Store(int64(left))
			shown = all
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				m.opts.Logger.Warn("mirrors of quarantines are not up to date: an API server that is restarted now may admit who is in quarantine for half a minute",
					"pending", left, "err", err)
				shown = nil
				if !pause(ctx, mirrorRetry) {
					return
				}
				continue
			case left > 0:
				shown = nil
				continue
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-m.mirror.changed:
		case <-repair.C:
			shown = nil
		}
	}
}

// pause waits, and reports false if the context ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// mirrorAll compares the mirrors that there are with the wishes and does some of what is to do, which is why it returns how much is left.
func (m *Manager) mirrorAll(ctx context.Context, limit *rate.Limiter, all map[types.UID]wish) (left int, err error) {
	var list *corev1.LimitRangeList
	err = m.mirrored(ctx, limit, "list", func(ctx context.Context) (err error) {
		list, err = m.opts.Mirrors.List(ctx, metav1.ListOptions{LabelSelector: mirrorLabel + "=" + mirrorLabelled})
		return err
	})
	if err != nil {
		return len(all), err
	}
	steps := m.mirrorSteps(list.Items, all)
	left = len(steps)
	var errs []error
	for _, step := range steps[:min(left, mirrorsPerPass)] {
		if err := m.mirrored(ctx, limit, step.operation, step.do); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", step.name, err))
			continue
		}
		left--
	}
	return left, errors.Join(errs...)
}

// mirrored makes one request.
func (m *Manager) mirrored(ctx context.Context, limit *rate.Limiter, operation string, do func(context.Context) error) error {
	if err := limit.Wait(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err := do(ctx)
	m.count("mirror-"+operation, err)
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	return nil
}

// step is one thing to do.
type step struct {
	operation, name string
	do              func(context.Context) error
}

// mirrorSteps is what makes the mirrors that there are into what is wished. A release comes first.
func (m *Manager) mirrorSteps(there []corev1.LimitRange, all map[types.UID]wish) []step {
	var ends, others []step
	missing := maps.Clone(all)
	for i := range there {
		c := &there[i]
		id, ours := strings.CutPrefix(c.Name, mirrorPrefix)
		if !ours || c.DeletionTimestamp != nil {
			continue
		}
		uid := types.UID(id)
		delete(missing, uid)
		switch w, known := all[uid]; {
		case !known:
			ends = append(ends, step{"delete", c.Name, func(ctx context.Context) error { return m.dropMirror(ctx, c) }})
		case w.write && !shows(c, w.entry.mirror()):
			others = append(others, step{"update", c.Name, func(ctx context.Context) error { return m.updateMirror(ctx, w.entry.mirror()) }})
		}
	}
	for _, w := range missing {
		if w.write {
			c := w.entry.mirror()
			others = append(others, step{"create", c.Name, func(ctx context.Context) error { return m.createMirror(ctx, c) }})
		}
	}
	return append(ends, others...)
}

// shows reports whether the mirror is as it should be.
func shows(c, want *corev1.LimitRange) bool {
	return len(c.Spec.Limits) == 0 && maps.Equal(c.Annotations, want.Annotations) && equality.Semantic.DeepEqual(c.OwnerReferences, want.OwnerReferences)
}

func (m *Manager) createMirror(ctx context.Context, c *corev1.LimitRange) error {
	_, err := m.opts.Mirrors.Create(ctx, c, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return m.updateMirror(ctx, c) // Without its label, for example.
	}
	return err
}

// updateMirror makes it what it should be, whatever has become of it.
func (m *Manager) updateMirror(ctx context.Context, c *corev1.LimitRange) error {
	_, err := m.opts.Mirrors.Update(ctx, c, metav1.UpdateOptions{})
	return err
}

func (m *Manager) dropMirror(ctx context.Context, c *corev1.LimitRange) error {
	err := m.opts.Mirrors.Delete(ctx, c.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(c.UID))})
	if apierrors.IsNotFound(err) {
		return nil // Garbage collection was faster.
	}
	return err
}
