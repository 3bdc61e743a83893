package collector

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
	"github.com/portcullis-dev/portcullis/event"
)

var here = origin{node: "node-1", session: "s-1", received: happened.Add(time.Second)}

func full() *telemetryv1.Event {
	e := exec(3, "u-1")
	e.Process = &telemetryv1.Process{
		Pid: 7, Ppid: 6, Start: timestamppb.New(happened.Add(-time.Minute)), EntityId: "e7",
		Name: "sh", Executable: "/bin/sh", Args: []string{"sh", "-c", "id"}, ArgsTruncated: true,
		WorkingDirectory: "/tmp", Uid: 1000, Gid: 1001, Interactive: true, Tty: 34816,
		Parent: &telemetryv1.Parent{Pid: 6, EntityId: "e6", Name: "runc", Executable: "/bin/runc", Args: []string{"runc"}, Interactive: true},
		EntryLeader: &telemetryv1.EntryLeader{
			Pid: 5, Start: timestamppb.New(happened.Add(-time.Hour)), EntityId: "e5", MetaType: "container",
			SameAsProcess: true, Interactive: true,
			Began: telemetryv1.Began_BEGAN_SESSION,
		},
	}
	return e
}

func TestConvertExec(t *testing.T) {
	got, why := convert(full(), here)
	if why != refusedNone {
		t.Fatalf("refused: %s", why)
	}
	want := &event.Event{
		ID: got.ID, Request: got.ID, Kind: event.KindProcess, Source: "agent/node-1",
		Time: happened, StageTime: happened, Received: here.received,
		Category: []string{"process"}, Type: []string{"start"}, Action: []string{"exec"}, Dataset: "portcullis.process",
		Pod:       event.Pod{UID: "u-1", Node: "node-1", Confidence: event.Exact},
		Container: &event.Container{ID: "c1"},
		Process: &event.Process{
			PID: 7, PPID: 6, EntityID: "e7", Name: "sh", Executable: "/bin/sh", Args: []string{"sh", "-c", "id"},
			ArgsTruncated: true, WorkingDirectory: "/tmp", UID: 1000, GID: 1001, Start: happened.Add(-time.Minute),
			Interactive: true, TTY: 34816,
			Parent:      &event.ProcessRef{PID: 6, EntityID: "e6", Name: "runc", Executable: "/bin/runc", Args: []string{"runc"}, Interactive: true},
			EntryLeader: &event.EntryLeader{PID: 5, EntityID: "e5", Start: happened.Add(-time.Hour), MetaType: "container", SameAsProcess: true, Interactive: true, Began: event.BeganSession},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
}

func TestConvertExit(t *testing.T) {
	in := exec(3, "u-1")
	in.What = &telemetryv1.Event_Exit{Exit: &telemetryv1.ProcessExit{Code: 137, Signal: 9}}
	got, why := convert(in, here)
	if why != refusedNone || got.Kind != event.KindProcess || !slices.Equal(got.Type, []string{"end"}) || !slices.Equal(got.Action, []string{"end"}) {
		t.Fatalf("refused %q: %+v", why, got)
	}
	if diff := cmp.Diff(&event.ProcessExit{Code: 137, Signal: 9}, got.Process.Exit); diff != "" {
		t.Errorf("the end (-want +got):\n%s", diff)
	}
}

func TestConvertLimit(t *testing.T) {
	for budget, want := range map[string]string{"execs": "execs", "entries": "entries", "opens": "opens", "exits": "exits", "\x1b[31m": "other"} {
		in := exec(3, "u-1")
		in.What = &telemetryv1.Event_Limit{Limit: &telemetryv1.LimitExceeded{Budget: budget, Suppressed: 5}}
		got, why := convert(in, here)
		if why != refusedNone || !slices.Equal(got.Action, []string{ActionLimit}) || got.Pod.UID != "u-1" {
			t.Fatalf("refused %q: %+v", why, got)
		}
		if diff := cmp.Diff(&event.Limit{Budget: want, Suppressed: 5}, got.Limit); diff != "" {
			t.Errorf("the limit (-want +got):\n%s", diff)
		}
	}
}

func TestConvertCorrectsTheClock(t *testing.T) {
	from := here
	from.clock = event.Clock{Offset: time.Hour, Tolerance: time.Millisecond, Measured: true}
	got, why := convert(full(), from)
	if why != refusedNone || !got.Time.Equal(happened.Add(-time.Hour)) || !got.StageTime.Equal(got.Time) || got.Clock != from.clock {
		t.Errorf("refused %q: %v, %+v", why, got.Time, got.Clock)
	}
	p := got.Process
	if !p.Start.Equal(happened.Add(-time.Minute-time.Hour)) || !p.EntryLeader.Start.Equal(happened.Add(-2*time.Hour)) {
		t.Errorf("the process started at %v, its entry leader at %v", p.Start, p.EntryLeader.Start)
	}
	in := exec(1, "u-1")
	in.Time = timestamppb.New(here.received.Add(maxAhead + time.Minute))
	if _, why := convert(in, from); why != refusedNone {
		t.Errorf("the event of a clock that is known to be ahead was refused: %s", why)
	}
}

func TestConvertOpen(t *testing.T) {
	in := exec(3, "u-1")
	in.What = &telemetryv1.Event_Open{Open: &telemetryv1.FileOpen{Path: "/var/run/x", ResolvedPath: "/run/..1/x"}}
	got, why := convert(in, here)
	if why != refusedNone {
		t.Fatalf("refused: %s", why)
	}
	want := &event.Event{
		ID: got.ID, Request: got.ID, Kind: event.KindFile, Source: "agent/node-1",
		Time: happened, StageTime: happened, Received: here.received,
		Category: []string{"file"}, Type: []string{"change"}, Action: []string{"open"}, Dataset: "portcullis.file",
		Pod:       event.Pod{UID: "u-1", Node: "node-1", Confidence: event.Exact},
		Container: &event.Container{ID: "c1"},
		Process:   &event.Process{PID: 7, Name: "sh"},
		File:      &event.File{Path: "/var/run/x", ResolvedPath: "/run/..1/x"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
}

func TestIDsStayAndDiffer(t *testing.T) {
	id := func(sequence uint64, from origin) string {
		return eventID(from, &telemetryv1.Event{Sequence: sequence})
	}
	base := id(1, here)
	resent := here
	resent.received = resent.received.Add(time.Hour)
	if id(1, resent) != base {
		t.Error("an event that is sent again has another ID")
	}
	saved := &telemetryv1.Event{Sequence: 7, First: &telemetryv1.Sent{SessionId: here.session, Sequence: 1}}
	if eventID(origin{node: here.node, session: "s-9"}, saved) != base {
		t.Error("an event that the next process of the agent sends again has another ID")
	}
	for name, other := range map[string]string{
		"number":  id(2, here),
		"session": id(1, origin{node: "node-1", session: "s-2"}),
		"node":    id(1, origin{node: "node-2", session: "s-1"}),
		"border":  id(1, origin{node: "node-1s", session: "-1"}),
	} {
		if other == base {
			t.Errorf("another %s has the same ID", name)
		}
	}
}

func TestConvertRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*telemetryv1.Event)
		want   refusal
	}{
		"nothing wrong":         {func(*telemetryv1.Event) {}, refusedNone},
		"sent before by nobody": {func(e *telemetryv1.Event) { e.First = &telemetryv1.Sent{Sequence: 1} }, refusedNoSequence},
		"sent before as none":   {func(e *telemetryv1.Event) { e.First = &telemetryv1.Sent{SessionId: "s-0"} }, refusedNoSequence},
		"a static pod":          {func(e *telemetryv1.Event) { e.Container.PodUid = "0123456789abcdef0123456789abcdef" }, refusedNone},
		"no number":             {func(e *telemetryv1.Event) { e.Sequence = 0 }, refusedNoSequence},
		"no time":               {func(e *telemetryv1.Event) { e.Time = nil }, refusedTime},
		"time zero":             {func(e *telemetryv1.Event) { e.Time = &timestamppb.Timestamp{} }, refusedTime},
		"before 1970":           {func(e *telemetryv1.Event) { e.Time = &timestamppb.Timestamp{Seconds: -1} }, refusedTime},
		"broken time":           {func(e *telemetryv1.Event) { e.Time = &timestamppb.Timestamp{Seconds: 1, Nanos: -1} }, refusedTime},
		"beyond all calendars":  {func(e *telemetryv1.Event) { e.Time = &timestamppb.Timestamp{Seconds: 1 << 62} }, refusedTime},
		"in two days":           {func(e *telemetryv1.Event) { e.Time = timestamppb.New(happened.Add(48 * time.Hour)) }, refusedTime},
		"no container":          {func(e *telemetryv1.Event) { e.Container = nil }, refusedNoContainer},
		"no pod":                {func(e *telemetryv1.Event) { e.Container.PodUid = "" }, refusedNoContainer},
		"no container id":       {func(e *telemetryv1.Event) { e.Container.Id = "" }, refusedNoContainer},
		"pod with a newline":    {func(e *telemetryv1.Event) { e.Container.PodUid = "a\nb" }, refusedNoContainer},
		"a pod's novel":         {func(e *telemetryv1.Event) { e.Container.PodUid = strings.Repeat("a", 129) }, refusedNoContainer},
		"no process":            {func(e *telemetryv1.Event) { e.Process = nil }, refusedNoProcess},
		"no kind":               {func(e *telemetryv1.Event) { e.What = nil }, refusedUnknownKind},
		"enormous":              {func(e *telemetryv1.Event) { e.Process.Args = []string{strings.Repeat("x", maxEvent)} }, refusedTooLarge},
	} {
		in := full()
		tc.change(in)
		got, why := convert(in, here)
		if why != tc.want || (got == nil) != (why != refusedNone) {
			t.Errorf("%s: refused as %q, want %q (event %v)", name, why, tc.want, got)
		}
	}
	if _, why := convert(nil, here); why != refusedNoSequence {
		t.Errorf("nil: %q", why)
	}
}

func FuzzConvert(f *testing.F) {
	for _, e := range []*telemetryv1.Event{full(), exec(1, "u"), {}} {
		text, err := proto.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var in telemetryv1.Event
		if proto.Unmarshal(text, &in) != nil {
			return
		}
		e, why := convert(&in, here)
		if (e == nil) != (why != refusedNone) {
			t.Fatalf("event %v with refusal %q", e, why)
		}
		if e == nil {
			return
		}
		if e.ID == "" || e.Pod.UID == "" || e.Pod.Node != "node-1" || e.Process == nil || e.Kind == event.KindUnknown {
			t.Fatalf("incomplete event %+v", e)
		}
		if e.Time.IsZero() || e.Time.Sub(here.received) > maxAhead {
			t.Fatalf("event at %s", e.Time)
		}
	})
}
