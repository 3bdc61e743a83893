package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/quarantine"
	"github.com/portcullis-dev/portcullis/test/apiserver"
	"github.com/portcullis-dev/portcullis/test/serverprocess"
	"github.com/portcullis-dev/portcullis/test/standalone"
)

const (
	// person is who execs, one of people, who may.
	person, people = "person", "people"
	// account is the pods' service account.
	account = "web"
	// patience bounds what a loaded machine may take for one step.
	patience = 2 * time.Minute
)

func typed(t standalone.TB, server *apiserver.Server) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(server.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func create(t standalone.TB, c client.Client, obj client.Object) {
	t.Helper()
	if err := c.Create(t.Context(), obj); err != nil {
		t.Fatalf("create %T %s: %v", obj, obj.GetName(), err)
	}
}

func namespace(t standalone.TB, c client.Client, name string) {
	t.Helper()
	create(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	create(t, c, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: account}})
}

// unscheduled is a pod that no node runs.
func unscheduled(namespace, name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.PodSpec{ServiceAccountName: account, Containers: []corev1.Container{{Name: "main", Image: "shell:1"}}},
	}
}

// permit lets people and pods do everything.
func permit(t standalone.TB, c client.Client) {
	t.Helper()
	create(t, c, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: people},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{
			{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: people},
			{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "system:serviceaccounts"},
		},
	})
}

// quarantineOf is one that people made.
func quarantineOf(subject v1alpha1.Subject, name string) *v1alpha1.Quarantine {
	return &v1alpha1.Quarantine{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.QuarantineSpec{Subject: subject, Reason: "a benchmark"}}
}

// mirrorOf is its mirror, as Portcullis would write it.
func mirrorOf(q *v1alpha1.Quarantine) *corev1.LimitRange {
	m := quarantine.MirrorOf(q)
	m.Namespace = serverprocess.Namespace
	return m
}

// fill creates quarantines from one number to another, of subjects that the benchmark never meets: most are pods, half of
// them in a namespace that it does meet. Portcullis writes the mirrors where it runs.
func fill(t standalone.TB, c client.Client, from, to int, mirrors bool) {
	t.Helper()
	work := make(chan int)
	var makers sync.WaitGroup
	for range 8 {
		makers.Go(func() {
			for i := range work {
				q := quarantineOf(stranger(i), fmt.Sprintf("stranger-%d", i))
				create(t, c, q)
				if mirrors {
					create(t, c, mirrorOf(q))
				}
			}
		})
	}
	for i := from; i < to; i++ {
		work <- i
	}
	close(work)
	makers.Wait()
}

func stranger(i int) v1alpha1.Subject {
	name := fmt.Sprintf("stranger-%d", i)
	switch i % 10 {
	case 0:
		return v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: name}
	case 1:
		return v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "shop", Name: name}
	case 2:
		return v1alpha1.Subject{Kind: v1alpha1.SubjectCredential, Name: "JTI=" + name}
	case 3:
		return v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: name}
	case 4, 5, 6:
		return v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: name, Namespace: "bank", Name: name, NodeName: "node-1"}
	default:
		return v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: name, Namespace: "shop", Name: name, NodeName: "node-1"}
	}
}

// eventually waits until f has no error.
func eventually(t standalone.TB, what string, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("it never came that %s: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// caller asks an API server as somebody.
type caller struct {
	http *http.Client
	host string
}

func newCaller(t standalone.TB, config *rest.Config) *caller {
	t.Helper()
	h, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.CloseIdleConnections)
	return &caller{http: h, host: config.Host}
}

// get returns the status and the body.
func (w *caller) get(ctx context.Context, path string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.host+path, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := w.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// exec tries to get into a pod that no node runs, which an API server says to whom it admits.
func (w *caller) exec(ctx context.Context, namespace, pod string) (admitted bool, message []byte, err error) {
	code, body, err := w.get(ctx, "/api/v1/namespaces/"+namespace+"/pods/"+pod+"/exec?command=id&container=main&stdout=true")
	switch {
	case err != nil:
		return false, nil, err
	case code == http.StatusForbidden:
		return false, body, nil
	case code == http.StatusBadRequest:
		return true, body, nil
	default:
		return false, nil, fmt.Errorf("an exec into %s/%s: %d %.300s", namespace, pod, code, body)
	}
}
