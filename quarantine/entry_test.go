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
	user := func(name string) v1alpha1.Subject { return v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: name} }
	if got := ObjectName(pod("3f9c-1a")); got != "pod-3f9c-1a" {
		t.Errorf("a plain UID makes %s", got)
	}
	seen := map[string]v1alpha1.Subject{}
	for _, s := range []v1alpha1.Subject{
		pod("3f9c-1a"), pod("../../etc"), pod("A"), pod("a-"), pod("a"), pod(""),
		user("alice"), user("Alice"), user("a"), user("system:serviceaccount:shop:web"), user(strings.Repeat("x", 1000)),
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
		{"something else", "Cluster", func(*event.Detection) {}, false},
	} {
		d := detection("d1")
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
	for _, spec := range []Spec{podSpec(1500 * time.Millisecond), podSpec(0), {Subject: v1alpha1.SubjectUser, TTL: time.Hour}} {
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
