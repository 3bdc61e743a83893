package quarantine

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/event"
)

// restarted is a state of another process with the same memory and the same API server.
func restarted(s *state) *state { return newState(&Index{}, s.record) }

// list tells the state what a complete list has.
func (a *api) list(s *state, now time.Time) (fx effects) {
	a.log = nil
	all := make([]*v1alpha1.Quarantine, 0, len(a.objects))
	for _, q := range a.objects {
		all = append(all, q)
	}
	s.replaced(all, strconv.FormatUint(a.version, 10), now, &fx)
	return fx
}

func TestReleaseOutlivesTheProcess(t *testing.T) {
	s, a := newState(&Index{}, newMemory()), newAPI()
	written(t, s, a, "d1", time.Hour, at(0))
	a.delete(podU1)
	a.tellAll(s, at(1))

	s = restarted(s)
	for range 2 {
		if _, outcome := s.impose(entry(t, "d1", time.Hour, at(2)), at(2)); outcome != OutcomeReleased || inForce(s, at(2)) {
			t.Errorf("a detection that was released is %v after a restart", outcome)
		}
		a.list(s, at(3))
	}
	if _, outcome := s.impose(entry(t, "d2", time.Hour, at(4)), at(4)); outcome != OutcomeApplied {
		t.Errorf("a new detection is %v", outcome)
	}
}

func TestReleasedWhileNobodyWatched(t *testing.T) {
	for _, replayFirst := range []bool{true, false} {
		t.Run(fmt.Sprint("the replay comes first: ", replayFirst), func(t *testing.T) {
			s, a := newState(&Index{}, newMemory()), newAPI()
			written(t, s, a, "d1", time.Hour, at(0))
			a.delete(podU1)

			s = restarted(s)
			replay := func(want Outcome) {
				t.Helper()
				if _, outcome := s.impose(entry(t, "d1", time.Hour, at(1)), at(1)); outcome != want || inForce(s, at(1)) || s.pending != 0 {
					t.Errorf("it is %v, in force %v, want %v", outcome, inForce(s, at(1)), want)
				}
			}
			if replayFirst {
				replay(OutcomeRepeated) // Whether it is still there, nobody knows yet.
			}
			fx := a.list(s, at(2))
			if len(fx.ended) != 1 || fx.ended[0].why != endReleased || !over(s, "d1") {
				t.Errorf("the list tells of %+v", fx.ended)
			}
			replay(OutcomeReleased)
			if fx = a.list(s, at(3)); len(fx.ended) > 0 {
				t.Errorf("the next list tells of it again: %+v", fx.ended)
			}
		})
	}
}

func TestWhatIsThereAfterARestartIsNotReleased(t *testing.T) {
	s, a := newState(&Index{}, newMemory()), newAPI()
	written(t, s, a, "d1", time.Hour, at(0))
	s = restarted(s)
	if _, outcome := s.impose(entry(t, "d1", time.Hour, at(1)), at(1)); outcome != OutcomeRepeated {
		t.Errorf("before the list it is %v", outcome)
	}
	if fx := a.list(s, at(1)); len(fx.ended) > 0 || !inForce(s, at(1)) || over(s, "d1") {
		t.Errorf("the list ends it: %+v", fx)
	}
	if _, outcome := s.impose(entry(t, "d1", time.Hour, at(1)), at(1)); outcome != OutcomeRepeated {
		t.Errorf("after the list it is %v", outcome)
	}
}

// The process is killed after the object was made, and before that was recorded.
func TestObjectThatIsFoundIsNotMadeAnew(t *testing.T) {
	s, a := newState(&Index{}, newMemory()), newAPI()
	e, _ := s.impose(entry(t, "d1", time.Hour, at(0)), at(0))
	a.store(e.object())
	s = restarted(s)
	a.list(s, at(1))
	if written, _ := s.record.Fate("d1", podU1); !written {
		t.Error("it is not recorded that it is there")
	}
	if _, outcome := s.impose(entry(t, "d1", time.Hour, at(1)), at(1)); outcome != OutcomeRepeated || s.pending != 0 {
		t.Errorf("it is %v, %d to be written", outcome, s.pending)
	}
}

func TestFoundAgainAfterItsTime(t *testing.T) {
	s := newState(&Index{}, newMemory())
	spec := podSpec(time.Hour)
	spec.Since = at(0)
	if _, outcome := s.impose(entryFor(t, detection("d1"), spec, at(1800)), at(1800)); outcome != OutcomeApplied || !inForce(s, at(3599)) || inForce(s, at(3600)) {
		t.Errorf("half an hour later it is %v, in force until another time than before", outcome)
	}
	s = newState(&Index{}, newMemory())
	if _, outcome := s.impose(entryFor(t, detection("d1"), spec, at(3600)), at(3600)); outcome != OutcomeReleased || !over(s, "d1") || len(s.tracked) > 0 {
		t.Errorf("after its time it is %v", outcome)
	}
}

// What people made lasts as long: there is nothing to write, and so it is done.
func TestNothingToWriteIsWritten(t *testing.T) {
	s, a := newState(&Index{}, newMemory()), newAPI()
	a.store(byHand(podU1, time.Time{}))
	a.tellAll(s, at(0))
	s.impose(entry(t, "d1", time.Hour, at(1)), at(1))
	if written, _ := s.record.Fate("d1", podU1); !written {
		t.Error("it waits for a write that never comes")
	}
}

// Far more detections than are remembered of one quarantine come before its object is written.
func TestFloodOfDetectionsOfOneSubject(t *testing.T) {
	s, a := newState(&Index{}, newMemory()), newAPI()
	const n = 2 * maxDetections
	var e *Entry
	for i := range n {
		e, _ = s.impose(entry(t, fmt.Sprint("d", i), time.Hour, at(0)), at(0))
	}
	var fx effects
	s.wrote(s.tracked[e.Name], e, a.store(e.object()), at(0), &fx)
	a.delete(podU1)
	a.tellAll(s, at(1))
	s = restarted(s)
	a.list(s, at(2))
	for i := range n {
		if _, outcome := s.impose(entry(t, fmt.Sprint("d", i), time.Hour, at(3)), at(3)); outcome != OutcomeReleased {
			t.Fatalf("d%d undoes the release: %v", i, outcome)
		}
	}
}

func TestCandidates(t *testing.T) {
	d := detection("d1")
	d.Pod.UID, d.Pod.Confidence, d.Pod.Candidates = "", event.Ambiguous, []string{"u2", "u1", "u2"}
	spec := Spec{Subject: v1alpha1.SubjectPod, Ambiguous: true}
	got, err := Subjects(d, spec)
	if err != nil {
		t.Fatal(err)
	}
	want := []v1alpha1.Subject{
		{Kind: v1alpha1.SubjectPod, UID: "u1", Namespace: "shop", Name: "web-0"}, {Kind: v1alpha1.SubjectPod, UID: "u2", Namespace: "shop", Name: "web-0"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, change := range map[string]func(){
		"the rule does not allow it": func() { spec.Ambiguous = false },
		"nobody":                     func() { d.Pod.Candidates = nil },
		"a candidate without UID":    func() { d.Pod.Candidates = []string{"", "u1"} },
		"an impossible UID":          func() { d.Pod.Candidates = []string{strings.Repeat("x", 65)} },
		"half the cluster": func() {
			for i := range maxCandidates + 1 {
				d.Pod.Candidates = append(d.Pod.Candidates, fmt.Sprint("u", i))
			}
		},
	} {
		pod, before := d.Pod, spec
		change()
		if got, err := Subjects(d, spec); !errors.Is(err, ErrSubject) || got != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		d.Pod, spec = pod, before
	}
}
