package policy_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
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
	"github.com/portcullis-dev/portcullis/webhook/policy"
)

// people is the group of those who may do everything that is not denied.
const people = "people"

// patience bounds what a loaded machine may take for one step.
const patience = time.Minute

// cluster is a real API server with policies that the chart renders, and no Portcullis at all.
type cluster struct {
	server  *apiserver.Server
	objects client.Client
	// policies are the names of those that are installed.
	policies []string
	// installed are they and their bindings.
	installed []client.Object
}

// eachPolicy runs the test with either policy alone: they say the same.
func eachPolicy(t *testing.T, test func(t *testing.T, name string)) {
	for _, name := range []string{policy.Name, policy.MirrorName} {
		t.Run(name, func(t *testing.T) { test(t, name) })
	}
}

// startCluster installs the policies of these names with these values.
func startCluster(t *testing.T, values string, policies ...string) *cluster {
	t.Helper()
	c := &cluster{server: apiserver.Start(t, apiserver.Options{}), policies: policies}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if c.objects, err = client.New(c.server.Config, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	for _, obj := range serverprocess.Render(t, values) {
		if strings.HasPrefix(obj.GetObjectKind().GroupVersionKind().Kind, "ValidatingAdmissionPolicy") && slices.Contains(policies, obj.GetName()) {
			c.create(t, obj)
			c.installed = append(c.installed, obj)
		}
	}
	if len(c.installed) != 2*len(policies) {
		t.Fatalf("the chart has %d objects of %v, want of each the policy and its binding", len(c.installed), policies)
	}
	c.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: serverprocess.Namespace}})
	c.create(t, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: people},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{
			{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: people},
			{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "system:serviceaccounts"},
		},
	})
	return c
}

func (c *cluster) create(t *testing.T, obj client.Object) {
	t.Helper()
	if err := c.objects.Create(t.Context(), obj); err != nil {
		t.Fatalf("create %T %s: %v", obj, obj.GetName(), err)
	}
}

// pod creates one that no node runs: who is admitted into it hears so.
func (c *cluster) pod(t *testing.T, namespace, name string) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.PodSpec{ServiceAccountName: "web", Containers: []corev1.Container{{Name: "main", Image: "shell:1"}}},
	}
	c.create(t, pod)
	return pod
}

func (c *cluster) namespaces(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		c.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		c.create(t, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "web"}})
	}
}

// quarantine creates the object by hand, as people do, and its mirror as Portcullis does, if anything goes by that.
func (c *cluster) quarantine(t *testing.T, name string, subject v1alpha1.Subject, change ...func(*v1alpha1.Quarantine)) *v1alpha1.Quarantine {
	t.Helper()
	q := &v1alpha1.Quarantine{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.QuarantineSpec{Subject: subject, Reason: "a shell"},
	}
	for _, f := range change {
		f(q)
	}
	status := q.Status.DeepCopy()
	c.create(t, q)
	if status.NodeName != "" {
		q.Status = *status
		if err := c.objects.Status().Update(t.Context(), q); err != nil {
			t.Fatalf("status of %s: %v", name, err)
		}
	}
	if slices.Contains(c.policies, policy.MirrorName) {
		c.create(t, mirrorOf(q))
	}
	return q
}

func mirrorOf(q *v1alpha1.Quarantine) *corev1.LimitRange {
	m := quarantine.MirrorOf(q)
	m.Namespace = serverprocess.Namespace
	return m
}

// release deletes the object, and its mirror as Portcullis does.
func (c *cluster) release(t *testing.T, q *v1alpha1.Quarantine) {
	t.Helper()
	for _, obj := range []client.Object{q, mirrorOf(q)} {
		if err := client.IgnoreNotFound(c.objects.Delete(t.Context(), obj)); err != nil {
			t.Fatal(err)
		}
	}
}

// settle waits until API servers know all that was created before. They hear of it in order.
func (c *cluster) settle(t *testing.T, name string) {
	t.Helper()
	q := c.quarantine(t, name, v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: name})
	c.await(t, c.as(t, name), get("/api/v1/namespaces/default/pods/x/exec"), name)
	c.release(t, q)
}

// await waits until the caller is refused by the quarantine of that name, or until he is admitted if it is empty.
func (c *cluster) await(t *testing.T, who *caller, r request, by string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		got := who.ask(ctx, t, r)
		if got.by == by && (got.code == http.StatusForbidden) == (by != "") {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %+v; want it to become %q", r, got, by)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// caller makes requests as somebody.
type caller struct {
	http *http.Client
	host string
	head http.Header
}

// as is somebody with a client certificate, who is one of people.
func (c *cluster) as(t *testing.T, user string, groups ...string) *caller {
	t.Helper()
	return newCaller(t, c.server.UserConfig(t, user, append(groups, people)...))
}

// withToken is whose token it is.
func (c *cluster) withToken(t *testing.T, token string) *caller {
	t.Helper()
	config := rest.AnonymousClientConfig(c.server.Config)
	config.BearerToken = token
	return newCaller(t, config)
}

func newCaller(t *testing.T, config *rest.Config) *caller {
	t.Helper()
	h, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.CloseIdleConnections)
	return &caller{http: h, host: config.Host}
}

// with adds header fields, such as those of impersonation.
func (w *caller) with(head http.Header) *caller {
	return &caller{http: w.http, host: w.host, head: head}
}

type request struct{ method, path, body string }

func (r request) String() string {
	if len(r.path) > 200 {
		r.path = r.path[:200] + "…"
	}
	return r.method + " " + r.path
}

func get(path string) request  { return request{method: http.MethodGet, path: path} }
func post(path string) request { return request{method: http.MethodPost, path: path} }

// answer is the API server's.
type answer struct {
	code    int
	message string
	// by is the quarantine that refused it, empty if none did.
	by string
}

// do makes the request. It fails the test if anything else than a quarantine forbids it.
func (w *caller) do(ctx context.Context, t *testing.T, r request) answer {
	t.Helper()
	got := w.ask(ctx, t, r)
	if (got.code == http.StatusForbidden) != (got.by != "") {
		t.Fatalf("%s: %d %s: forbidden by something else", r, got.code, got.message)
	}
	return got
}

// ask makes the request.
func (w *caller) ask(ctx context.Context, t *testing.T, r request) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, r.method, w.host+r.path, strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	if w.head != nil {
		req.Header = w.head.Clone()
	}
	if r.body != "" {
		req.Header.Set("Content-Type", "application/strategic-merge-patch+json")
	}
	resp, err := w.http.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", r, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", r, err)
	}
	var status metav1.Status
	_ = json.Unmarshal(text, &status) // what was admitted may answer anything
	by, _ := policy.Parse(status.Message)
	return answer{code: resp.StatusCode, message: status.Message, by: by}
}
