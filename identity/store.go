package identity

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// Store is where the history outlives the process. It may forget what was not written for as long as
// StoreTTL. What Put and Delete have returned nil for is there after a crash.
type Store interface {
	Put(ctx context.Context, key string, value []byte) error
	// Delete removes a value. That there is none is no error.
	Delete(ctx context.Context, key string) error
	// Range calls visit with each value, and when it was written, until visit returns an error, which it returns.
	Range(ctx context.Context, visit func(key string, value []byte, at time.Time) error) error
}

// StoreTTL is how long a Store has to keep at least what is not written again.
const StoreTTL = 24 * time.Hour

const (
	// podKey begins the keys of pods, before the UID.
	podKey = "pod/"
	// watchKey is the key of what is known of the watch.
	watchKey = "watch"
	// maxStored bounds one pod's value: what makes it longer is left out. A small one is not larger than it must be.
	maxStored   = 256 << 10
	smallStored = 8 << 10
	// maxFailures is after how many the Store itself is at fault, and not what is stored.
	maxFailures = 8
	// storeInterval is how often what has changed is stored, each pod once however often it did.
	storeInterval = time.Second
	// refreshInterval is how long a value that does not change is left alone.
	refreshInterval = StoreTTL / 4
	// stopTimeout bounds storing what is left when the Resolver ends.
	stopTimeout = 3 * time.Second
)

// The outcomes of storing, as the metrics name them.
const (
	storedWell     = "stored"
	storedFailed   = "failed"
	storedTooLarge = "too-large"
)

// storedPod is a record as the Store has it. Fields may be added; none may change its meaning.
type storedPod struct {
	UID         string            `json:"uid"`
	Namespace   string            `json:"namespace"`
	Name        string            `json:"name"`
	Node        string            `json:"node,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Hash        string            `json:"hash,omitempty"`
	OwnerKind   string            `json:"ownerKind,omitempty"`
	OwnerName   string            `json:"ownerName,omitempty"`
	HostNetwork bool              `json:"hostNetwork,omitempty"`
	Created     time.Time         `json:"created"`
	Learned     time.Time         `json:"learned"`
	Fresh       bool              `json:"fresh,omitempty"`
	Deleted     time.Time         `json:"deleted,omitzero"`
	Sure        time.Time         `json:"sure,omitzero"`
	Removed     time.Time         `json:"removed,omitzero"`
	Claimed     time.Time         `json:"claimed,omitzero"`
	Released    time.Time         `json:"released,omitzero"`
	// Containers are oldest first.
	Containers []storedContainer `json:"containers,omitempty"`
}

type storedContainer struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Image      string `json:"image,omitempty"`
	Privileged *bool  `json:"privileged,omitempty"`
}

// storedWatch is up to where everything is stored.
type storedWatch struct {
	// ResourceVersion is what the watch told last.
	ResourceVersion string       `json:"resourceVersion"`
	Told            time.Time    `json:"told"`
	Begin           time.Time    `json:"begin,omitzero"`
	Gaps            []storedSpan `json:"gaps,omitempty"`
}

type storedSpan struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

func (r *record) toStore() storedPod {
	s := storedPod{
		UID: r.pod.UID, Namespace: r.pod.Namespace, Name: r.pod.Name, Node: r.pod.Node, Labels: r.pod.Labels,
		Hash: r.hash, OwnerKind: r.owner.Kind, OwnerName: r.owner.Name, HostNetwork: r.hostNetwork,
		Created: r.created, Learned: r.learned, Fresh: r.fresh, Deleted: r.deleted, Sure: r.sure, Removed: r.removed,
		Claimed: r.claimed, Released: r.released,
	}
	for _, id := range r.seen {
		c := r.containers[id]
		s.Containers = append(s.Containers, storedContainer{ID: id, Name: c.name, Image: c.image, Privileged: c.privileged})
	}
	return s
}

func (s *storedPod) record() *record {
	labels, cut := cutLabels(s.Labels) // An earlier version may have kept more.
	r := &record{
		pod: event.Pod{
			UID: s.UID, Namespace: s.Namespace, Name: s.Name, Node: s.Node, Labels: labels, Confidence: event.Exact,
		},
		hash: s.Hash, owner: Owner{Kind: s.OwnerKind, Name: s.OwnerName}, hostNetwork: s.HostNetwork,
		created: s.Created, learned: s.Learned, fresh: s.Fresh, deleted: s.Deleted, sure: s.Sure, removed: s.Removed,
		claimed: s.Claimed, released: s.Released, cut: cut,
		containers: map[string]container{},
	}
	for _, c := range s.Containers {
		r.addContainer(c.ID, container{name: c.Name, image: c.Image, privileged: c.Privileged})
	}
	return r
}

// unstored are the UIDs of the pods of which something is to be stored, and how often that has failed.
type unstored struct {
	mu   sync.Mutex
	uids map[string]int
}

func (u *unstored) add(uids ...string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, uid := range uids {
		u.note(uid, 0)
	}
}

// failed puts back what could not be stored.
func (u *unstored) failed(uid string, before int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.note(uid, before)
}

func (u *unstored) note(uid string, failures int) {
	if u.uids == nil {
		u.uids = make(map[string]int)
	}
	u.uids[uid] = max(failures, u.uids[uid])
}

// take takes out all, with their failures.
func (u *unstored) take() map[string]int {
	u.mu.Lock()
	defer u.mu.Unlock()
	taken := u.uids
	u.uids = nil
	return taken
}

func (u *unstored) size() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.uids)
}

// Load takes over the history of an earlier process. Call it once, before Run and before the first event
// arrives. Values that cannot be read are left out; what they told counts as never heard.
func (r *Resolver) Load(ctx context.Context) error {
	if r.opts.Store == nil {
		return nil
	}
	now := r.opts.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	var unreadable []error
	err := r.opts.Store.Range(ctx, func(key string, value []byte, at time.Time) error {
		if err := r.load(key, value, at); err != nil {
			unreadable = append(unreadable, fmt.Errorf("%q: %w", key, err))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the pods' history: %w", err)
	}
	if n := len(unreadable); n > 0 {
		r.opts.Logger.Error("a part of the pods' history cannot be read", "values", n, "first", unreadable[0])
		r.history.begin = r.history.told // who was there before is not all known
	}
	r.history.restore(now)
	alive := r.history.alive
	r.opts.Logger.Info("pods' history was read", "pods", alive, "deletedPods", len(r.history.pods)-alive,
		"told", r.history.told)
	return nil
}

func (r *Resolver) load(key string, value []byte, at time.Time) error {
	if key == watchKey {
		var s storedWatch
		if err := json.Unmarshal(value, &s); err != nil {
			return err
		}
		r.resourceVersion = s.ResourceVersion
		r.history.told, r.history.begin = s.Told, s.Begin
		for _, g := range s.Gaps {
			r.history.gaps = append(r.history.gaps, span{g.From, g.To})
		}
		return nil
	}
	uid, ok := strings.CutPrefix(key, podKey)
	if !ok {
		return nil // not ours
	}
	var s storedPod
	if err := json.Unmarshal(value, &s); err != nil {
		return err
	}
	if s.UID != uid || s.Name == "" || s.Namespace == "" || s.Learned.IsZero() {
		return errors.New("it is not a pod's")
	}
	rec := s.record()
	rec.stored = at
	r.history.link(rec)
	return nil
}

// restore makes a history of the records that were linked.
func (h *history) restore(now time.Time) {
	for uid, r := range h.pods {
		if r.removed.IsZero() {
			h.alive++
			continue
		}
		h.gone = append(h.gone, departure{uid, r.removed})
		r.bytes = r.size()
		h.goneBytes += r.bytes
	}
	slices.SortFunc(h.gone, func(a, b departure) int { return a.removed.Compare(b.removed) })
	h.expire(now)
}

func (r *Resolver) storeLoop(ctx context.Context) {
	if r.opts.Store == nil {
		return
	}
	tick := time.NewTicker(storeInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			r.store(last)
			return
		case <-tick.C:
			r.store(ctx)
		}
	}
}

// store writes what has changed: first the pods, then up to where the watch had told when it
// began. So the pods are never behind what that says, whenever the process dies. While one of them cannot be
// written, the others are, but the mark stays: a successor hears everything again since then, or knows of a gap.
func (r *Resolver) store(ctx context.Context) {
	// In this order: a change that comes in between is stored too early, which does no harm.
	watch := r.watchToStore()
	if !r.storePods(ctx) || watch == nil || string(watch) == string(r.storedWatch) {
		return
	}
	if err := r.opts.Store.Put(ctx, watchKey, watch); err != nil {
		r.metrics.stored.WithLabelValues(storedFailed).Inc()
		return // The next one says more anyway.
	}
	r.storedWatch = watch
}

// storePods writes the pods that have changed, and reports whether all are stored now.
func (r *Resolver) storePods(ctx context.Context) (all bool) {
	changed := r.unstored.take()
	failures := 0
	for _, uid := range r.storeOrder(changed) {
		if failures < maxFailures {
			err := r.storePod(ctx, uid)
			if err == nil {
				continue
			}
			failures++
			changed[uid]++
			r.metrics.stored.WithLabelValues(storedFailed).Inc()
			r.storeFailed.Do(func() {
				r.opts.Logger.Error("a part of the pods' history could not be stored, it is tried again",
					"podUID", uid, "waiting", len(changed), "error", err)
			})
		}
		r.unstored.failed(uid, changed[uid])
	}
	return failures == 0
}

// storeOrder puts first what is to be removed, which makes room, and last what has failed most often.
func (r *Resolver) storeOrder(changed map[string]int) []string {
	order := slices.Sorted(maps.Keys(changed))
	known := make(map[string]int, len(order))
	r.mu.RLock()
	for _, uid := range order {
		if _, ok := r.history.pods[uid]; ok {
			known[uid] = 1
		}
	}
	r.mu.RUnlock()
	slices.SortStableFunc(order, func(a, b string) int {
		return cmp.Or(cmp.Compare(changed[a], changed[b]), cmp.Compare(known[a], known[b]))
	})
	return order
}

func (r *Resolver) watchToStore() []byte {
	r.mu.RLock()
	s := storedWatch{ResourceVersion: r.resourceVersion, Told: r.history.told, Begin: r.history.begin}
	for _, g := range r.history.gaps {
		s.Gaps = append(s.Gaps, storedSpan{g.from, g.to})
	}
	r.mu.RUnlock()
	text, err := json.Marshal(s)
	if err != nil {
		return nil
	}
	return text
}

// storePod writes what is known of one pod, or removes it if nothing is.
func (r *Resolver) storePod(ctx context.Context, uid string) error {
	s, known := r.podToStore(uid)
	var err error
	if known {
		err = r.putPod(ctx, s)
	} else {
		err = r.opts.Store.Delete(ctx, podKey+uid)
	}
	if err == nil {
		r.metrics.stored.WithLabelValues(storedWell).Inc()
	}
	return err
}

// putPod writes a pod, and if that is too large, or fails where it may be, the pod's identity alone.
func (r *Resolver) putPod(ctx context.Context, s storedPod) error {
	value, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if len(value) <= maxStored {
		if err = r.opts.Store.Put(ctx, podKey+s.UID, value); err == nil || len(value) <= smallStored {
			return err
		}
	}
	s.Labels, s.Containers = nil, nil
	if value, err = json.Marshal(s); err != nil {
		return err
	}
	if err = r.opts.Store.Put(ctx, podKey+s.UID, value); err == nil {
		r.metrics.stored.WithLabelValues(storedTooLarge).Inc()
	}
	return err
}

func (r *Resolver) podToStore(uid string) (s storedPod, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec, known := r.history.pods[uid]
	if known {
		rec.stored = r.opts.Now()
		s = rec.toStore()
	}
	return s, known
}

// refresh has values stored again before the Store forgets them.
func (r *Resolver) refresh() {
	now := r.opts.Now()
	r.mu.RLock()
	defer r.mu.RUnlock()
	for uid, rec := range r.history.pods {
		if now.Sub(rec.stored) > refreshInterval {
			r.unstored.add(uid)
		}
	}
}
