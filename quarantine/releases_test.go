package quarantine

import (
	"fmt"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
)

func by(s *state, detection string) string {
	m, _ := s.record.(*memory)
	return m.fates[[2]string{detection, podU1}].by
}

// TestWhoReleasedIt joins the two halves of a release in either order.
func TestWhoReleasedIt(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, s *state, a *api, fx *effects)
		by   string
		told int
	}{
		{"the watch first", func(_ *testing.T, s *state, a *api, fx *effects) {
			a.delete(podU1)
			a.tell(s, at(1), fx)
			s.release(podU1, "carol", at(1), at(30), fx)
		}, "carol", 1},
		{"the audit event first", func(_ *testing.T, s *state, a *api, fx *effects) {
			s.release(podU1, "carol", at(1), at(1), fx)
			a.delete(podU1)
			a.tell(s, at(2), fx)
		}, "carol", 1},
		{"the audit event twice", func(_ *testing.T, s *state, a *api, fx *effects) {
			a.delete(podU1)
			a.tell(s, at(1), fx)
			s.release(podU1, "carol", at(1), at(30), fx)
			s.release(podU1, "mallory", at(1), at(31), fx)
		}, "carol", 1},
		{"far too late", func(_ *testing.T, s *state, a *api, fx *effects) {
			a.delete(podU1)
			a.tell(s, at(1), fx)
			s.release(podU1, "carol", at(1), at(4000), fx)
		}, "", 0},
		{"a claim that is old", func(_ *testing.T, s *state, a *api, fx *effects) {
			s.release(podU1, "carol", at(1), at(1), fx)
			a.delete(podU1)
			a.tell(s, at(1000), fx)
		}, "", 0},
		{"expired", func(_ *testing.T, s *state, a *api, fx *effects) {
			s.end(at(3600), func(string) bool { return false }, fx)
			a.delete(podU1)
			a.tell(s, at(3601), fx)
			s.release(podU1, "system:serviceaccount:portcullis:portcullis", at(3600), at(3630), fx)
		}, byUs, 0},
		{"of another object", func(_ *testing.T, s *state, a *api, fx *effects) {
			a.delete(podU1)
			a.tell(s, at(1), fx)
			s.release("pod-u2", "carol", at(1), at(2), fx)
		}, "", 0},
		{"released, then applied again, and released by another", func(t *testing.T, s *state, a *api, fx *effects) {
			a.delete(podU1)
			a.tell(s, at(1), fx)
			written(t, s, a, "d2", time.Hour, at(2))
			a.log = nil
			s.release(podU1, "carol", at(1), at(30), fx)
			a.delete(podU1)
			a.tell(s, at(31), fx)
			s.release(podU1, "dave", at(31), at(60), fx)
			if by(s, "d2") != "dave" {
				t.Errorf("the second is said to be released by %q", by(s, "d2"))
			}
		}, "carol", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, a := newState(&Index{}, newMemory()), newAPI()
			written(t, s, a, "d1", time.Hour, at(0))
			a.log = nil
			told := 0
			var fx effects
			tt.run(t, s, a, &fx)
			for _, r := range fx.released {
				told++
				if r.entry.UID == "" || r.entry.Subject.UID != "u1" {
					t.Errorf("it is told of %+v", r.entry)
				}
			}
			if by(s, "d1") != tt.by {
				t.Errorf("it is said to be released by %q, want %q", by(s, "d1"), tt.by)
			}
			// Effects of one change tell once of one object; here several changes share them.
			if want := min(tt.told, 1); told != want {
				t.Errorf("told %d times, want %d", told, want)
			}
		})
	}
}

func TestWhoReleasedItWhileNobodyWatched(t *testing.T) {
	s, a := newState(&Index{}, newMemory()), newAPI()
	written(t, s, a, "d1", time.Hour, at(0))
	a.delete(podU1)
	s = restarted(s)
	a.list(s, at(2))
	var fx effects
	s.release(podU1, "carol", at(1), at(3), &fx)
	if by(s, "d1") != "carol" || len(fx.released) != 1 {
		t.Errorf("it is said to be released by %q, told %+v", by(s, "d1"), fx.released)
	}
}

func TestReleasesAreBounded(t *testing.T) {
	s := newState(&Index{}, newMemory())
	var fx effects
	for i := range 3 * maxReleases {
		s.release(fmt.Sprint("nothing-", i), "mallory", at(0), at(0), &fx)
		s.departed(departure{entry: &Entry{Name: fmt.Sprint("gone-", i), Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: "x"}}, why: endReleased, at: at(0)}, &fx)
	}
	if len(s.releases.claims) > maxReleases || len(s.releases.departed) > maxReleases {
		t.Errorf("%d claims, %d departures", len(s.releases.claims), len(s.releases.departed))
	}
}
