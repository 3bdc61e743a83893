package quarantine

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/validation"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/event"
)

func TestObjectName(t *testing.T) {
	pod := func(uid string) v1alpha1.Subject { return v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: uid} }
	of := func(kind v1alpha1.SubjectKind, name string) v1alpha1.Subject {
		return v1alpha1.Subject{Kind: kind, Name: name}
	}
	user := func(name string) v1alpha1.Subject { return of(v1alpha1.SubjectUser, name) }
	account := func(namespace, name string) v1alpha1.Subject {
		return v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: namespace, Name: name}
	}
	for want, s := range map[string]v1alpha1.Subject{
		"pod-3f9c-1a": pod("3f9c-1a"), "node-ip-10-0-0-1.ec2.internal": of(v1alpha1.SubjectNode, "ip-10-0-0-1.ec2.internal"),
		"namespace-shop": of(v1alpha1.SubjectNamespace, "shop"), "serviceaccount-shop.web": account("shop", "web"),
	} {
		if got := ObjectName(s); got != want {
			t.Errorf("%+v makes %s, want %s", s, got, want)
		}
	}
	seen := map[string]v1alpha1.Subject{}
	for _, s := range []v1alpha1.Subject{
		pod("3f9c-1a"), pod("../../etc"), pod("A"), pod("a-"), pod("a"), pod(""),
		user("alice"), user("Alice"), user("a"), user("system:serviceaccount:shop:web"), user(strings.Repeat("x", 1000)),
		of(v1alpha1.SubjectGroup, "alice"), of(v1alpha1.SubjectCredential, "alice"),
		of(v1alpha1.SubjectNode, "a"), of(v1alpha1.SubjectNode, strings.Repeat("a", 250)), of(v1alpha1.SubjectNode, "A"),
		of(v1alpha1.SubjectNamespace, "a"), of(v1alpha1.SubjectNamespace, "../a"),
		account("a", "b.c"), account("a.b", "c"), account("a", "b"), account("a-b", "c"), account("a", "b-c"),
		account(strings.Repeat("a", 63), strings.Repeat("b", 253)), account("shop", "Web"),
	} {
		name := ObjectName(s)
		if errs := validation.NameIsDNSSubdomain(name, false); len(errs) > 0 {
			t.Errorf("%+v makes %q, which is no object's name: %v", s, name, errs)
		}
		if other, ok := seen[name]; ok {
			t.Errorf("%+v and %+v share the name %s", s, other, name)
		}
		seen[name] = s
		if name != ObjectName(s) {
			t.Errorf("%+v has two names", s)
		}
	}
}

func requestWith(credentials ...string) *event.Event {
	return &event.Event{Audit: &event.Audit{User: event.AuditUser{
		Username: "system:serviceaccount:shop:web", Extra: map[string][]string{event.ExtraCredentialID: credentials},
	}}}
}

func TestSubjectsOfARuleHaveNames(t *testing.T) {
	for _, s := range subjects() {
		kind, ok := KindOf(strings.ToLower(string(s.Kind)))
		if ok != (s.Kind != v1alpha1.SubjectGroup) || ok && kind != s.Kind {
			t.Errorf("%s is called %q, %v", s.Kind, kind, ok)
		}
	}
	if kind, ok := KindOf("Pod"); ok {
		t.Errorf("Pod is %s", kind)
	}
}

// TestMergeGoesAsFarAsEither merges what denies different operations for different times.
func TestMergeGoesAsFarAsEither(t *testing.T) {
	exec, attach := OperationsOf(v1alpha1.OperationExec), OperationsOf(v1alpha1.OperationAttach)
	hand := &Entry{Name: "q", UID: "o1", Subject: subjects()[0], Operations: exec, Reason: "case 1", Node: "node-1"}
	d := entry(t, "d1", time.Hour, at(0))
	d.Operations = exec
	if got := hand.merge(d); got != hand {
		t.Errorf("what people made and goes as far is %+v", got)
	}
	d.Operations, d.Node = attach, ""
	got := hand.merge(d)
	if got.Operations != exec.union(attach) || !got.Expires.IsZero() || got.UID != hand.UID || got.Node != "node-1" || got.Detection != "d1" {
		t.Errorf("merged it is %+v", got)
	}
	d.Operations = 0
	if got = hand.merge(d); got.Operations != 0 {
		t.Errorf("all and some are %v", got.Operations)
	}
}

func TestWhoCanBeQuarantined(t *testing.T) {
	pod := v1alpha1.SubjectPod
	for _, tt := range []struct {
		name   string
		kind   v1alpha1.SubjectKind
		change func(*event.Detection)
		ok     bool
	}{
		{"a pod by its cgroup or token", pod, func(*event.Detection) {}, true},
		{"a pod by its name", pod, func(d *event.Detection) { d.Pod.Confidence = event.ByName }, true},
		{"one of several pods", pod, func(d *event.Detection) { d.Pod.Confidence = event.Ambiguous }, false},
		{"a pod of which nothing is known", pod, func(d *event.Detection) { d.Pod.Confidence = event.Unknown }, false},
		{"a pod without UID", pod, func(d *event.Detection) { d.Pod.UID = "" }, false},
		{"a pod without name", pod, func(d *event.Detection) { d.Pod.Name = "" }, false},
		{"a UID that no object can hold", pod, func(d *event.Detection) { d.Pod.UID = strings.Repeat("x", 65) }, false},
		{"a user", v1alpha1.SubjectUser, func(*event.Detection) {}, true},
		{"nobody", v1alpha1.SubjectUser, func(d *event.Detection) { d.User = "" }, false},
		{"a user name that no object can hold", v1alpha1.SubjectUser, func(d *event.Detection) { d.User = strings.Repeat("x", 1025) }, false},
		{"a service account", v1alpha1.SubjectServiceAccount, func(*event.Detection) {}, true},
		{"a service account, by a person in a pod's shell", v1alpha1.SubjectServiceAccount, func(d *event.Detection) { d.User = "alice" }, true},
		{"a user who is none", v1alpha1.SubjectServiceAccount, func(d *event.Detection) {
			for _, e := range d.Events[1:] {
				e.Audit.User.Username = "alice"
			}
		}, false},
		{"two service accounts", v1alpha1.SubjectServiceAccount, func(d *event.Detection) { d.Events[2].Audit.User.Username += "2" }, false},
		{"a credential", v1alpha1.SubjectCredential, func(*event.Detection) {}, true},
		{"a request that does not say with which", v1alpha1.SubjectCredential, func(d *event.Detection) { d.Events = append(d.Events, requestWith()) }, false},
		{"two credentials", v1alpha1.SubjectCredential, func(d *event.Detection) { d.Events = append(d.Events, requestWith("JTI=2")) }, false},
		{"no request", v1alpha1.SubjectCredential, func(d *event.Detection) { d.Events = nil }, false},
		{"a node", v1alpha1.SubjectNode, func(*event.Detection) {}, true},
		{"the node of one of several pods", v1alpha1.SubjectNode, func(d *event.Detection) { d.Pod.Confidence = event.Ambiguous }, false},
		{"a pod that is not scheduled", v1alpha1.SubjectNode, func(d *event.Detection) { d.Pod.Node = "" }, false},
		{"a namespace", v1alpha1.SubjectNamespace, func(d *event.Detection) { d.Pod.Confidence = event.Ambiguous }, true},
		{"a group", v1alpha1.SubjectGroup, func(*event.Detection) {}, false},
		{"something else", "Cluster", func(*event.Detection) {}, false},
	} {
		d := detection("d1")
		d.Events = []*event.Event{{}, requestWith("JTI=1"), requestWith("JTI=1")}
		tt.change(d)
		_, err := Subjects(d, Spec{Subject: tt.kind})
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrSubject) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestEntryAndObjectAreTheSame(t *testing.T) {
	d := detection("d1")
	d.Rule.Title = strings.Repeat("ä", 2000)
	for _, spec := range []Spec{podSpec(1500 * time.Millisecond), podSpec(0), {Subject: v1alpha1.SubjectUser, TTL: time.Hour, Operations: OperationsOf("exec", "proxy")}} {
		e := entryFor(t, d, spec, at(0).Add(time.Millisecond))
		if diff := cmp.Diff(e, entryOf(e.object())); diff != "" {
			t.Errorf("the object means something else (-entry +object):\n%s", diff)
		}
		if len(e.Reason) > maxReason || !strings.HasPrefix(d.Rule.Title, e.Reason) {
			t.Errorf("the reason has %d bytes", len(e.Reason))
		}
		if spec.TTL > 0 && e.Expires.Sub(at(0)) < spec.TTL {
			t.Errorf("rounding ends it early: %v for %v", e.Expires.Sub(at(0)), spec.TTL)
		}
	}
}
