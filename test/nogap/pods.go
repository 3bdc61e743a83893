package main

import (
	"context"
	"crypto/sha256"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/quarantine"
	"github.com/portcullis-dev/portcullis/test/serverprocess"
	"github.com/portcullis-dev/portcullis/test/standalone"
)

const (
	// inside is the namespace of the pods.
	inside = "nogap"
	// account is the pods' service account, where they have none of their own.
	account = "web"
	// person is who execs, one of people.
	person, people = "person", "people"
)

// pod is one that is tried.
type pod struct {
	*corev1.Pod
	container, token string
}

// cluster makes pods.
type cluster struct{ site *serverprocess.Site }

// prepare makes the namespace, and lets people and pods list config maps and get into pods.
func (c cluster) prepare(t standalone.TB) {
	t.Helper()
	for _, obj := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: inside}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: inside, Name: account}},
		&rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Namespace: inside, Name: people},
			Rules: []rbacv1.PolicyRule{
				{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"list"}},
				{APIGroups: []string{""}, Resources: []string{"pods/exec"}, Verbs: []string{"get", "create"}},
			},
		},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: inside, Name: people},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: people},
			Subjects: []rbacv1.Subject{
				{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: people},
				{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "system:serviceaccounts:" + inside},
			},
		},
	} {
		if err := c.site.Objects.Create(t.Context(), obj); err != nil {
			t.Fatalf("create %T %s: %v", obj, obj.GetName(), err)
		}
	}
}

// account makes a service account.
func (c cluster) account(ctx context.Context, name string) error {
	return c.site.Objects.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: inside, Name: name}})
}

// make makes a pod that runs on a node, with its token.
func (c cluster) make(ctx context.Context, node, name, account string, named bool) (*pod, error) {
	p := &pod{Pod: &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: inside, Name: name},
		Spec:       corev1.PodSpec{NodeName: node, ServiceAccountName: account, Containers: []corev1.Container{{Name: "main", Image: "shell:1"}}},
	}}
	if err := c.site.Objects.Create(ctx, p.Pod); err != nil {
		return nil, fmt.Errorf("create pod %s: %w", name, err)
	}
	p.container = fmt.Sprintf("%x", sha256.Sum256([]byte(p.UID)))
	if named {
		if err := c.name(ctx, p); err != nil {
			return nil, err
		}
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: name, UID: p.UID},
	}}
	owner := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: inside, Name: account}}
	if err := c.site.Objects.SubResource("token").Create(ctx, owner, request); err != nil {
		return nil, fmt.Errorf("token of pod %s: %w", name, err)
	}
	p.token = request.Status.Token
	return p, nil
}

// name has the pod's status name its container, as a kubelet does.
func (c cluster) name(ctx context.Context, p *pod) error {
	running := p.DeepCopy()
	running.Status = corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
		Name: "main", Image: "shell:1", ContainerID: "containerd://" + p.container, Ready: true,
	}}}
	if err := c.site.Objects.Status().Update(ctx, running); err != nil {
		return fmt.Errorf("status of pod %s: %w", p.Name, err)
	}
	return nil
}

// remove deletes the pod; the server deletes its quarantine then.
func (c cluster) remove(ctx context.Context, p *pod) error {
	if err := c.site.Objects.Delete(ctx, p.Pod, client.GracePeriodSeconds(0)); err != nil {
		return fmt.Errorf("delete pod %s: %w", p.Name, err)
	}
	return nil
}

// release deletes the quarantine of a service account's user, as people do.
func (c cluster) release(ctx context.Context, account string) error {
	q := &unstructured.Unstructured{}
	q.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Quarantine"))
	q.SetName(quarantine.ObjectName(v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "system:serviceaccount:" + inside + ":" + account}))
	if err := c.site.Objects.Delete(ctx, q); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("release service account %s: %w", account, err)
	}
	return nil
}
