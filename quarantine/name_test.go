package quarantine

import (
	"slices"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
)

const sparePodU1 = "portcullis-1-pod-u1"

// squatter is an object that has the name and denies the pod u2.
func squatter(name string) *v1alpha1.Quarantine {
	q := byHand(name, time.Time{})
	q.Spec.Subject = v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: "u2", Namespace: "shop", Name: "web-1"}
	return q
}

func denied(s *state, uid string, now time.Time) bool {
	return s.index.Denied(v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: uid}, v1alpha1.OperationExec, now)
}

func TestOrdinal(t *testing.T) {
	pod := v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: "u1", Namespace: "shop", Name: "web-0"}
	for _, s := range []v1alpha1.Subject{pod, {Kind: v1alpha1.SubjectUser, Name: "alice"}, {Kind: v1alpha1.SubjectPod, UID: "A"}} {
		for n := range 12 {
			if got, ok := ordinal(objectName(s, n), s); !ok || got != n {
				t.Errorf("%s is name %d, %v, of its subject; want %d", objectName(s, n), got, ok, n)
			}
		}
	}
	for _, name := range []string{"", "pod-u2", "portcullis-", "portcullis-1", "portcullis-0-pod-u1", "portcullis--1-pod-u1", "portcullis-1-pod-u2", "portcullis-x-pod-u1", "1-pod-u1"} {
		if _, ok := ordinal(name, pod); ok {
			t.Errorf("%q is taken for the pod's", name)
		}
	}
}

func TestNameTakenByAnotherSubject(t *testing.T) {
	s, a := newState(&Index{}, newMemory()), newAPI()
	a.store(squatter(podU1))
	a.store(squatter(sparePodU1))
	a.tellAll(s, at(0))
	if denied(s, "u1", at(0)) || !denied(s, "u2", at(0)) {
		t.Fatal("an object denies whom its name says and not its subject")
	}
	e, outcome := s.impose(entry(t, "d1", time.Hour, at(1)), at(1))
	if outcome != OutcomeApplied || e.Name != "portcullis-2-pod-u1" || !denied(s, "u1", at(1)) || s.pending != 1 {
		t.Fatalf("a detection of a pod whose names are taken is %v as %+v", outcome, e)
	}
	var fx effects
	s.wrote(s.tracked[e.Name], e, a.store(e.object()), at(0), &fx)
	a.tellAll(s, at(2))
	if _, outcome = s.impose(entry(t, "d1", time.Hour, at(3)), at(3)); outcome != OutcomeRepeated {
		t.Errorf("the same detection again is %v", outcome)
	}

	a.delete(podU1) // which makes its name free
	a.tellAll(s, at(4))
	again, outcome := s.impose(entry(t, "d2", 2*time.Hour, at(5)), at(5))
	if outcome != OutcomeProlonged || again.Name != e.Name || s.index.Len() != 2 {
		t.Errorf("the next detection is %v as %+v, %d entries", outcome, again, s.index.Len())
	}
	s.wrote(s.tracked[e.Name], again, a.store(withUID(again.object(), a.objects[e.Name])), at(0), &fx)
	a.tellAll(s, at(6))

	other := newState(&Index{}, newMemory()) // after a restart
	for _, q := range a.objects {
		other.observed(q, at(6), &fx)
	}
	if got, outcome := other.impose(entry(t, "d3", time.Hour, at(6)), at(6)); outcome != OutcomeProlonged || got.Name != e.Name {
		t.Errorf("another replica has it %v as %+v", outcome, got)
	}

	a.delete(e.Name)
	a.tellAll(s, at(7))
	if denied(s, "u1", at(7)) || !denied(s, "u2", at(7)) {
		t.Error("releasing the object with the spare name did not release its subject alone")
	}
}

func withUID(q, stored *v1alpha1.Quarantine) *v1alpha1.Quarantine {
	q.UID = stored.UID
	return q
}

// TestNameTakenBeforeTheWrite: somebody is faster than the write of what is in force.
func TestNameTakenBeforeTheWrite(t *testing.T) {
	s, a := newState(&Index{}, newMemory()), newAPI()
	e, _ := s.impose(entry(t, "d1", time.Hour, at(0)), at(0))
	began := s.tracked[e.Name]
	a.store(squatter(podU1))
	fx := a.tellAll(s, at(1))
	if !denied(s, "u1", at(1)) || !denied(s, "u2", at(1)) || s.pending != 1 || !slices.Equal(fx.write, []string{sparePodU1}) || len(fx.ended) > 0 {
		t.Fatalf("after somebody took the name: u1 %v, u2 %v, %d pending, %+v", denied(s, "u1", at(1)), denied(s, "u2", at(1)), s.pending, fx)
	}
	// The write that was under way had been first after all, and was deleted since.
	late := e.object()
	late.ResourceVersion, late.UID = "1000", "late"
	fx = effects{}
	s.wrote(began, e, late, at(0), &fx)
	if len(fx.doom) != 1 || fx.doom[0].uid != late.UID || !denied(s, "u1", at(1)) {
		t.Errorf("a late answer about the old name leaves %+v", fx)
	}
	s.deleted(late, at(1), &fx)
	moved := began.entry
	fx = effects{}
	s.wrote(began, moved, a.store(moved.object()), at(0), &fx)
	if fx = a.tellAll(s, at(2)); !denied(s, "u1", at(2)) || s.pending != 0 || len(fx.doom) > 0 {
		t.Errorf("the object with the spare name is in force %v, %d pending, %+v", denied(s, "u1", at(2)), s.pending, fx)
	}
}

// TestNameTakenUnseen: the write finds the object of another subject before the watch tells of it.
func TestNameTakenUnseen(t *testing.T) {
	s := newState(&Index{}, newMemory())
	e, _ := s.impose(entry(t, "d1", time.Hour, at(0)), at(0))
	began := s.tracked[e.Name]
	var fx effects
	s.displaced(began, &fx)
	s.displaced(&tracked{entry: e}, &fx) // of a quarantine that has ended
	if !slices.Equal(fx.write, []string{sparePodU1}) || !denied(s, "u1", at(1)) || s.index.Len() != 1 || s.pending != 1 {
		t.Errorf("%+v, %d entries, %d pending", fx, s.index.Len(), s.pending)
	}
	if got, outcome := s.impose(entry(t, "d2", time.Hour, at(1)), at(1)); outcome != OutcomeProlonged || got.Name != sparePodU1 {
		t.Errorf("the next detection is %v as %+v", outcome, got)
	}
}

// TestReplacedByAnotherSubject: the release and the new object of that name come in one.
func TestReplacedByAnotherSubject(t *testing.T) {
	s, a := newState(&Index{}, newMemory()), newAPI()
	written(t, s, a, "d1", time.Hour, at(0))
	a.delete(podU1)
	q := a.store(squatter(podU1))
	a.log = nil
	var fx effects
	s.observed(q, at(1), &fx)
	if denied(s, "u1", at(1)) || !denied(s, "u2", at(1)) || len(fx.ended) != 1 || fx.ended[0].why != endReleased {
		t.Errorf("u1 %v, u2 %v, %+v", denied(s, "u1", at(1)), denied(s, "u2", at(1)), fx)
	}
}

// TestForgedDetectionReleasesNothing: somebody who may only create refers to a detection of
// a quarantine in force, labels the object like ours, and has it expire.
func TestForgedDetectionReleasesNothing(t *testing.T) {
	for _, name := range []string{"forged", sparePodU1} {
		for _, forge := range []func(string) *v1alpha1.Quarantine{
			squatter,
			func(name string) *v1alpha1.Quarantine { return byHand(name, time.Time{}) },
		} {
			s, a := newState(&Index{}, newMemory()), newAPI()
			written(t, s, a, "d1", time.Hour, at(0))
			q := forge(name)
			q.Labels = map[string]string{managedByLabel: managedByUs}
			q.Spec.Detection = &v1alpha1.DetectionRef{ID: "d1", Rule: "token-theft"}
			q.Spec.ExpiresAt = &metav1.Time{Time: at(1)}
			a.store(q)
			a.tellAll(s, at(0))
			a.delete(name) // as it expired
			a.tellAll(s, at(2))
			fx := effects{}
			s.replaced([]*v1alpha1.Quarantine{a.objects[podU1]}, strconv.FormatUint(a.version, 10), at(3), &fx)
			if !denied(s, "u1", at(3)) || len(fx.doom) > 0 || len(fx.ended) > 0 {
				t.Errorf("%s of %s: in force %v, %+v", name, q.Spec.Subject.UID, denied(s, "u1", at(3)), fx)
			}
		}
	}
}
