package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// namespaces are where pods are: each name is there twice.
func namespaces() []string { return []string{"shop", "staging"} }

// pod is a real object in the API server. What happens in it is made up.
type pod struct {
	namespace, name, node string
	uid, container        string
	// era is in which stretch of time it is used: between two jumps of the server's clock.
	era string
}

// makePod makes one, also while the API server comes and goes. Where the API server does not hear of its container,
// the server waits for that a while with what the container does.
func makePod(ctx context.Context, client kubernetes.Interface, p *pod, running bool) error {
	for {
		err := tryPod(ctx, client.CoreV1().Pods(p.namespace), p, running)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("create pod %s/%s: %w", p.namespace, p.name, err)
		}
	}
}

func tryPod(ctx context.Context, client typedcorev1.PodInterface, p *pod, running bool) error {
	object, err := client.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: p.name},
		Spec:       corev1.PodSpec{NodeName: p.node, Containers: []corev1.Container{{Name: "main", Image: "localhost/shell:1"}}},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) { // The answer to the creation was lost.
		object, err = client.Get(ctx, p.name, metav1.GetOptions{})
	}
	if err != nil {
		return err
	}
	p.uid, p.container = string(object.UID), fmt.Sprintf("%x", object.UID)
	if !running {
		return nil
	}
	object.Status.Phase = corev1.PodRunning
	object.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", Image: "localhost/shell:1", ContainerID: "containerd://" + p.container}}
	_, err = client.UpdateStatus(ctx, object, metav1.UpdateOptions{})
	return err
}

// cast are the pods that play one plot.
type cast struct {
	// pairs have a pod and another of the same name.
	pairs []*pair
	next  int
}

type pair struct {
	pod, other *pod
	// free is when it may play again.
	free time.Time
}

// casting is all pods of an era.
type casting struct {
	mu     sync.Mutex
	byPlot map[plot]*cast
}

// newCasting makes the pods of an era: so many for each plot.
func newCasting(ctx context.Context, client kubernetes.Interface, nodes []string, era string, sizes map[plot]int) (*casting, error) {
	c := &casting{byPlot: map[plot]*cast{}}
	plots := make([]plot, 0, len(sizes))
	for p := range sizes {
		plots = append(plots, p)
	}
	slices.Sort(plots)
	for number, p := range plots {
		c.byPlot[p] = &cast{}
		for i := range sizes[p] {
			x := &pair{}
			for j, to := range []**pod{&x.pod, &x.other} {
				*to = &pod{
					namespace: namespaces()[j], name: fmt.Sprintf("web-%s-%d-%d", era, number, i), node: nodes[(i+j)%len(nodes)], era: era,
				}
				if err := makePod(ctx, client, *to, i%4 > 0); err != nil {
					return nil, err
				}
			}
			c.byPlot[p].pairs = append(c.byPlot[p].pairs, x)
		}
	}
	return c, nil
}

// pick returns a pair that is free for a plot, nil if there is none.
func (c *casting) pick(p plot, now time.Time) *pair {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.byPlot[p]
	if k == nil || len(k.pairs) == 0 {
		return nil
	}
	x := k.pairs[k.next%len(k.pairs)]
	if now.Before(x.free) {
		return nil
	}
	k.next++
	x.free = now.Add(p.rest())
	return x
}
