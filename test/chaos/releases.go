package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
)

// supply is how many pods in quarantine wait to be released.
const supply = 3

// releases has pods that get into quarantine and never do anything again, so that it is certain that a release is the last
// word on them; and it watches that.
type releases struct {
	suite  *suite
	client client.Client
	// ready are such pods.
	ready chan *pod
	count int
	// happening is held while something happens in such a pod.
	happening sync.Mutex

	mu sync.Mutex
	// done are the UIDs of the pods whose quarantine is deleted; suspect those that have an object again, and its
	// UID; back those that have it for a while.
	done, back map[string]bool
	suspect    map[string]types.UID
}

func newReleases(s *suite) (*releases, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	c, err := client.New(s.site.API.Config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("client for quarantines: %w", err)
	}
	return &releases{
		suite: s, client: c, ready: make(chan *pod, supply),
		done: map[string]bool{}, suspect: map[string]types.UID{}, back: map[string]bool{},
	}, nil
}

func makeNamespaces(ctx context.Context, client kubernetes.Interface) error {
	for _, name := range namespaces() {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if _, err := client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create namespace %s: %w", name, err)
		}
	}
	return nil
}

// run provides pods in quarantine until stop is closed, and looks for released ones that are in quarantine again.
func (r *releases) run(ctx context.Context, stop <-chan struct{}) {
	var watching sync.WaitGroup
	watching.Go(func() { r.watch(ctx, stop) })
	defer watching.Wait()
	for {
		p, err := r.provide(ctx)
		if err != nil {
			r.suite.feed.fail(ctx, fmt.Errorf("a pod to be released: %w", err))
			return
		}
		select {
		case r.ready <- p:
		case <-stop:
			return
		}
	}
}

// provide has a new pod get into quarantine. Its telemetry may well be there before the news of the pod.
func (r *releases) provide(ctx context.Context) (*pod, error) {
	r.happening.Lock()
	defer r.happening.Unlock()
	s := r.suite
	r.count++
	p := &pod{namespace: "shop", name: fmt.Sprintf("released-%d", r.count), node: "node-1", era: fmt.Sprintf("r%d", r.count)}
	if err := makePod(ctx, s.site.Client, p, true); err != nil {
		return nil, err
	}
	now := time.Now()
	story := &story{plot: tokenUsed, pod: p, begun: now, mark: p.name}
	story.acts = []act{opened(p, now.Add(-time.Millisecond), p.name+"-open"), requested(p, now.Add(500*time.Millisecond), p.name, false)}
	story.expect(tokenRule)
	s.ledger.add(story)
	s.feed.push(ctx, s.feed.agents[p.node], story.acts[0].telemetry, 0)
	s.feed.deliver(ctx, s.feed.servers[0], []*auditv1.Event{story.acts[1].audit}, now, 500*time.Millisecond)
	for {
		all, err := r.list(ctx)
		switch {
		case err == nil && all[p.uid]:
			return p, nil
		case err == nil && time.Since(now) > readyPatience:
			return nil, fmt.Errorf("%s is not in quarantine", p)
		}
		select {
		case <-time.After(300 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// next is a pod in quarantine, which has nothing else to come.
func (r *releases) next(ctx context.Context) (*pod, error) {
	select {
	case p := <-r.ready:
		return p, nil
	case <-time.After(readyPatience):
		return nil, errors.New("no pod gets into quarantine")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// release deletes a pod's quarantine.
func (r *releases) release(ctx context.Context, p *pod) error {
	q := &v1alpha1.Quarantine{}
	q.Name = "pod-" + p.uid
	if err := r.client.Delete(ctx, q); err != nil {
		return fmt.Errorf("release %s: %w", p, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done[p.uid] = true
	return nil
}

// watch looks for released pods that are in quarantine again, until stop is closed. An object that was being
// written as it was released may be there for a moment.
func (r *releases) watch(ctx context.Context, stop <-chan struct{}) {
	for {
		select {
		case <-time.After(2 * time.Second):
		case <-stop:
			return
		}
		r.look(ctx)
	}
}

func (r *releases) look(ctx context.Context) {
	r.mu.Lock()
	released := maps.Clone(r.done)
	r.mu.Unlock()
	all := &v1alpha1.QuarantineList{}
	if err := r.client.List(ctx, all); err != nil {
		return // The API server is away.
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	suspect := map[string]types.UID{}
	for _, q := range all.Items {
		uid := q.Spec.Subject.UID
		if !released[uid] {
			continue
		}
		suspect[uid] = q.UID
		if r.suspect[uid] == q.UID {
			r.back[uid] = true
		}
	}
	r.suspect = suspect
}

// settle gives the server the time to take back what it would take back, and to write what it would write.
func (r *releases) settle(ctx context.Context) error {
	for range 3 {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
		r.look(ctx)
	}
	return nil
}

// list has the UIDs of the pods in quarantine.
func (r *releases) list(ctx context.Context) (map[string]bool, error) {
	all := &v1alpha1.QuarantineList{}
	if err := r.client.List(ctx, all); err != nil {
		return nil, fmt.Errorf("list quarantines: %w", err)
	}
	out := map[string]bool{}
	for _, q := range all.Items {
		out[q.Spec.Subject.UID] = true
	}
	return out, nil
}

func (r *releases) released() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.done)
}

// returned are the UIDs of those that were in quarantine again.
func (r *releases) returned() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.back)
}
