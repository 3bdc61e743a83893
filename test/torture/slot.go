package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// pod is one identity, and what it does in its life.
type pod struct {
	namespace, name, node string
	// uid and container are known once it is made.
	uid, container string
	// made is when the API server had made it, at the latest; asked when it was asked to, gone when it was asked
	// to delete it.
	asked, made, gone time.Time
	acts              []act
}

// slot is a place in the cluster that always has a pod of the same namespace and name.
type slot struct {
	pod *pod
	// busyUntil is until when the pod must live: what it did names it by name only.
	busyUntil time.Time
}

// population makes and deletes pods.
type population struct {
	client *kubernetes.Clientset
	nodes  []string
	// statuses is the share of pods whose containers the API server gets to know.
	statuses float64
}

// make makes the pod of a slot.
func (p *population) make(ctx context.Context, namespace, name string, r *rand.Rand) (*pod, error) {
	made := &pod{
		namespace: namespace, name: name, node: p.nodes[r.IntN(len(p.nodes))],
		container: fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64()), asked: time.Now(),
	}
	hasStatus := r.Float64() < p.statuses
	object, err := p.client.CoreV1().Pods(namespace).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": strings.TrimRight(name, "-0123456789")}},
		Spec:       corev1.PodSpec{NodeName: made.node, Containers: []corev1.Container{{Name: "main", Image: "localhost/shell:1"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("create pod %s/%s: %w", namespace, name, err)
	}
	made.made, made.uid = time.Now(), string(object.UID)
	if !hasStatus {
		return made, nil
	}
	object.Status.Phase = corev1.PodRunning
	object.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "main", Image: "localhost/shell:1", ContainerID: "containerd://" + made.container,
	}}
	if _, err := p.client.CoreV1().Pods(namespace).UpdateStatus(ctx, object, metav1.UpdateOptions{}); err != nil {
		return nil, fmt.Errorf("status of pod %s/%s: %w", namespace, name, err)
	}
	return made, nil
}

// replace makes the slot's pod anew.
func (p *population) replace(ctx context.Context, old *pod, r *rand.Rand) (*pod, error) {
	old.gone = time.Now()
	now := int64(0)
	err := p.client.CoreV1().Pods(old.namespace).Delete(ctx, old.name, metav1.DeleteOptions{GracePeriodSeconds: &now})
	if err != nil {
		return nil, fmt.Errorf("delete pod %s/%s: %w", old.namespace, old.name, err)
	}
	return p.make(ctx, old.namespace, old.name, r)
}
