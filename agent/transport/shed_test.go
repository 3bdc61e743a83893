package transport

import (
	"strconv"
	"testing"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

func execOf(container, executable string, pid uint32) *telemetryv1.Event {
	return &telemetryv1.Event{
		Container: &telemetryv1.Container{Id: container},
		Process:   &telemetryv1.Process{Pid: pid, Executable: executable},
		What:      &telemetryv1.Event_Exec{Exec: &telemetryv1.ProcessExec{}},
	}
}

// left are the events of a spool that will be sent, as "container executable".
func left(s *Spool) map[string]int {
	n := map[string]int{}
	for b := s.next(false); b != nil; b = s.next(false) {
		for _, e := range b.GetEvents() {
			what := e.GetContainer().GetId() + " " + e.GetProcess().GetExecutable()
			if e.GetOpen() != nil {
				what += " open"
			}
			n[what]++
		}
	}
	return n
}

func TestAFloodDropsItsOwnEventsOnly(t *testing.T) {
	one := cost(execOf("noisy", "/flood", 1))
	for what, flood := range map[string]func(i int) string{
		"of one program": func(int) string { return "/flood" },
		"of many names":  strconv.Itoa,
	} {
		t.Run(what, func(t *testing.T) {
			s := newSpool(t, SpoolOptions{MaxBytes: 200 * one})
			for i := range 50 {
				s.Push(execOf("quiet", "/work", uint32(i)))
			}
			for i := range 2000 {
				s.Push(execOf("noisy", flood(i), uint32(i)))
			}
			if n := left(s)["quiet /work"]; n != 50 {
				t.Errorf("%d of 50 events of another container are left", n)
			}
			if stats := s.Stats(); stats.Dropped+stats.Events != 2050 {
				t.Errorf("%d were dropped and %d sent, of 2050", stats.Dropped, stats.Events)
			}
		})
	}
}

func TestAFloodDoesNotDropItsContainersOtherEvents(t *testing.T) {
	one := cost(execOf("noisy", "/flood", 1))
	s := newSpool(t, SpoolOptions{MaxBytes: 200 * one})
	open := execOf("noisy", "/flood", 1)
	open.What = &telemetryv1.Event_Open{Open: &telemetryv1.FileOpen{}}
	s.Push(open)
	s.Push(execOf("noisy", "/usr/bin/curl", 2))
	for i := range 2000 {
		s.Push(execOf("noisy", "/flood", uint32(i)))
	}
	if n := left(s); n["noisy /usr/bin/curl"] != 1 || n["noisy /flood open"] != 1 || n["noisy /flood"] < 100 {
		t.Errorf("what is left is %v", n)
	}
}
