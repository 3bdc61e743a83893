package quarantine_test

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/quarantine"
)

func testCRD(t *testing.T, c *cluster) {
	pod := v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: "u7", Namespace: "shop", Name: "web-0"}
	for name, q := range map[string]v1alpha1.QuarantineSpec{
		"a pod without uid":      {Reason: "r", Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectPod, Namespace: "shop", Name: "web-0"}},
		"a user with uid":        {Reason: "r", Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, UID: "x", Name: "alice"}},
		"a user without name":    {Reason: "r", Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser}},
		"an unknown kind":        {Reason: "r", Subject: v1alpha1.Subject{Kind: "Cluster", Name: "x"}},
		"a user in a namespace":  {Reason: "r", Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Namespace: "shop", Name: "alice"}},
		"a node of a node":       {Reason: "r", Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectNode, Name: "node-1", NodeName: "node-1"}},
		"a namespace in one":     {Reason: "r", Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectNamespace, Namespace: "shop", Name: "shop"}},
		"a long namespace":       {Reason: "r", Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectNamespace, Name: strings.Repeat("x", 64)}},
		"an account of nowhere":  {Reason: "r", Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Name: "web"}},
		"a group without name":   {Reason: "r", Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectGroup}},
		"an unknown operation":   {Reason: "r", Subject: pod, Operations: []v1alpha1.Operation{"logs"}},
		"an operation twice":     {Reason: "r", Subject: pod, Operations: []v1alpha1.Operation{"exec", "exec"}},
		"no reason":              {Subject: pod},
		"a reason without bound": {Subject: pod, Reason: strings.Repeat("x", 1025)},
	} {
		obj := &v1alpha1.Quarantine{ObjectMeta: metav1.ObjectMeta{Name: "nonsense"}, Spec: q}
		if err := c.client.Create(t.Context(), obj); !apierrors.IsInvalid(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	q := &v1alpha1.Quarantine{ObjectMeta: metav1.ObjectMeta{Name: "fixed"}, Spec: v1alpha1.QuarantineSpec{Subject: pod, Reason: "r"}}
	if err := c.client.Create(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	for _, change := range []func(*v1alpha1.Subject){
		func(s *v1alpha1.Subject) { s.UID = "u8" }, func(s *v1alpha1.Subject) { s.NodeName = "node-1" },
	} {
		changed := q.DeepCopy()
		change(&changed.Spec.Subject)
		if err := c.client.Update(t.Context(), changed); !apierrors.IsInvalid(err) {
			t.Errorf("the subject can be changed: %v", err)
		}
	}
	q.Spec.Operations = []v1alpha1.Operation{v1alpha1.OperationExec, v1alpha1.OperationProxy}
	if err := c.client.Update(t.Context(), q); err != nil {
		t.Errorf("the operations cannot be changed: %v", err)
	}
}

func testNames(t *testing.T, c *cluster) {
	pod := v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: "n1", Namespace: "shop", Name: "web-0"}
	user := v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "n1"}
	odd := pod
	odd.UID = "Odd"
	for _, tt := range []struct {
		name    string
		subject v1alpha1.Subject
		ok      bool
	}{
		{"pod-n1", pod, true},
		{"pod-n2", pod, false},
		{"pod-n1-2", pod, false},
		{"pod-", pod, false},
		{"pod-n1", user, false},
		{"user-n1", user, true},
		{"user-n2", pod, false},
		{quarantine.ObjectName(user), user, true},
		{quarantine.ObjectName(odd), odd, true},
		{"portcullis-1-pod-n1", pod, true},
		{"group-x", v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: "devs"}, true},
		{"group-x", user, false},
		{"credential-x", v1alpha1.Subject{Kind: v1alpha1.SubjectCredential, Name: "JTI=1"}, true},
		{"credential-x", user, false},
		{"serviceaccount-shop.web", v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "shop", Name: "web"}, true},
		{"serviceaccount-shop.web", v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "shop", Name: "db"}, false},
		{"serviceaccount-shop.web", user, false},
		{"node-node-1", v1alpha1.Subject{Kind: v1alpha1.SubjectNode, Name: "node-1"}, true},
		{"node-node-2", v1alpha1.Subject{Kind: v1alpha1.SubjectNode, Name: "node-1"}, false},
		{"node-node-1", user, false},
		{"namespace-shop", v1alpha1.Subject{Kind: v1alpha1.SubjectNamespace, Name: "shop"}, true},
		{"namespace-shop", v1alpha1.Subject{Kind: v1alpha1.SubjectNamespace, Name: "shop2"}, false},
		{"namespace-shop", pod, false},
		{"case-1", pod, true},
		{"case-2", user, true},
		{"podium", user, true},
	} {
		q := &v1alpha1.Quarantine{ObjectMeta: metav1.ObjectMeta{Name: tt.name}, Spec: v1alpha1.QuarantineSpec{Subject: tt.subject, Reason: "r"}}
		err := c.client.Create(t.Context(), q)
		if tt.ok && err != nil || !tt.ok && !apierrors.IsInvalid(err) {
			t.Errorf("%s for %+v: %v", tt.name, tt.subject, err)
		}
		if err == nil {
			c.delete(t, tt.name)
		}
	}
}

// testTakenName has somebody give the name of a user's quarantine to another user, which
// the CRD cannot see: before the detection, and between it and the write.
func testTakenName(t *testing.T, c *cluster) {
	squat := func(user string) error {
		name := quarantine.ObjectName(v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: user})
		q := &v1alpha1.Quarantine{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.QuarantineSpec{
			Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "not-" + user}, Reason: "r",
		}}
		return c.client.Create(context.Background(), q)
	}
	var once sync.Once
	written := make(chan struct{}) // until then the watch does not tell of the first squatter
	r := c.run(t, interceptor.Funcs{
		Watch: func(ctx context.Context, cl client.WithWatch, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
			w, err := cl.Watch(ctx, list, opts...)
			if err != nil {
				return nil, err
			}
			return drained{watch.Filter(w, func(e watch.Event) (watch.Event, bool) {
				if q, ok := e.Object.(*v1alpha1.Quarantine); ok && q.Spec.Subject.Name == "not-late" {
					<-written
				}
				return e, true
			})}, nil
		},
		Create: func(ctx context.Context, cl client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			once.Do(func() {
				if err := squat("late"); err != nil {
					t.Errorf("take the name: %v", err)
				}
			})
			return cl.Create(ctx, obj, opts...)
		},
	})
	denied := r.deniesUser
	detect := func(user string) {
		t.Helper()
		d := detect("taken-"+user, "u10")
		d.User = user
		if o, err := r.Quarantine(t.Context(), d, quarantine.Spec{Subject: v1alpha1.SubjectUser, TTL: time.Hour}); err != nil || o != quarantine.OutcomeApplied {
			t.Fatalf("%s: %v, %v", user, o, err)
		}
		spare := "portcullis-1-" + quarantine.ObjectName(v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: user})
		eventually(t, user+"'s own object exists", func() bool {
			if !denied(user) {
				t.Errorf("%s is not denied", user)
				return true
			}
			q, ok := c.get(t, spare)
			return ok && q.Spec.Subject.Name == user
		})
	}
	detect("late")
	close(written)
	eventually(t, "the object that took the name is in force", func() bool { return denied("not-late") })
	if err := squat("early"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the object that took the name is in force", func() bool { return denied("not-early") })
	detect("early")
}

// testKinds has detections put a subject of each kind into quarantine, and people as well.
func testKinds(t *testing.T, c *cluster) {
	r := c.run(t, interceptor.Funcs{})
	audit := &event.Audit{User: event.AuditUser{
		Username: "system:serviceaccount:kinds:web", Extra: map[string][]string{event.ExtraCredentialID: {"JTI=k1"}},
	}}
	for kind, name := range map[v1alpha1.SubjectKind]string{
		v1alpha1.SubjectPod: "pod-k1", v1alpha1.SubjectUser: "", v1alpha1.SubjectServiceAccount: "serviceaccount-kinds.web",
		v1alpha1.SubjectCredential: "", v1alpha1.SubjectNode: "node-kinds-node", v1alpha1.SubjectNamespace: "namespace-kinds",
	} {
		d := detect("kinds-"+string(kind), "k1")
		d.Pod.Namespace, d.Pod.Node, d.User = "kinds", "kinds-node", "system:serviceaccount:kinds:web"
		d.Events = []*event.Event{{Audit: audit}}
		spec := quarantine.Spec{Subject: kind, TTL: time.Hour, Operations: quarantine.OperationsOf(v1alpha1.OperationExec)}
		if o, err := r.Quarantine(t.Context(), d, spec); err != nil || o != quarantine.OutcomeApplied {
			t.Fatalf("%s: %v, %v", kind, o, err)
		}
		subjects, err := quarantine.Subjects(d, spec)
		if err != nil {
			t.Fatal(err)
		}
		name = cmp.Or(name, quarantine.ObjectName(subjects[0]))
		eventually(t, name+" exists", func() bool { _, ok := c.get(t, name); return ok })
		q, _ := c.get(t, name)
		if q.Spec.Subject != subjects[0] || !slices.Equal(q.Spec.Operations, []v1alpha1.Operation{v1alpha1.OperationExec}) {
			t.Errorf("%s says %+v", name, q.Spec)
		}
		if !r.deniesSubject(subjects[0]) || r.index.Denied(subjects[0], v1alpha1.OperationAttach, time.Now()) {
			t.Errorf("%s: exec is denied %v", name, r.deniesSubject(subjects[0]))
		}
		c.delete(t, name)
		eventually(t, name+" is released", func() bool { return !r.deniesSubject(subjects[0]) })
	}
	group := v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: "interns"}
	c.create(t, "by-hand-group", v1alpha1.QuarantineSpec{Subject: group, Reason: "r"})
	eventually(t, "the group is denied", func() bool { return r.deniesSubject(group) })
	c.delete(t, "by-hand-group")
}
