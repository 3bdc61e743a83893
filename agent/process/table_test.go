package process

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/portcullis-dev/portcullis/agent/bpf"
	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

const (
	uid        = "eae5e586-83e7-4be6-92f8-c28568c3997e"
	id         = "cca62e6c7a03add98a483b816a6733c856b4aa35d1163bdd080581a278b14a45"
	cgroupPath = "/kubepods/besteffort/pod" + uid + "/" + id
)

var booted = time.Date(2026, 11, 21, 17, 0, 0, 0, time.UTC)

func newTable(t testing.TB, maxImageBytes int) *Table {
	t.Helper()
	table, err := New(Options{
		BootID:        "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9",
		Wall:          func(ns uint64) time.Time { return booted.Add(time.Duration(ns)) },
		MaxImageBytes: maxImageBytes,
	})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// execution is the record of a process that executes something.
func execution(pid uint32, at uint64, args ...string) *bpf.Record {
	return &bpf.Record{
		Kind: bpf.KindExec, Time: at, Image: bpf.Image{Time: at, PID: pid}, PID: pid, PPID: 1, Start: at - 5,
		Executable: "/usr/bin/" + args[0], Interpreter: "/usr/bin/" + args[0], Directory: "/", Args: args,
		EntryPID: pid, EntryStart: at - 5, Cgroup: 7, PathCgroup: 7, CgroupPath: cgroupPath,
	}
}

// take hands the table a record and returns the events that came of it.
func take(t *Table, r *bpf.Record) (events []*telemetryv1.Event) {
	t.Take(r, func(e *telemetryv1.Event) { events = append(events, e) })
	return events
}

// one is the only event of a record, nil for none.
func one(tb testing.TB, t *Table, r *bpf.Record) *telemetryv1.Event {
	tb.Helper()
	events := take(t, r)
	if len(events) > 1 {
		tb.Fatalf("one record made %d events: %v", len(events), events)
	}
	if len(events) == 0 {
		return nil
	}
	return events[0]
}

func TestEvent(t *testing.T) {
	table := newTable(t, 0)
	shell := execution(10, 1000, "sh")
	shell.Interactive, shell.EntryTTY, shell.TTY = true, true, 34816
	shell.ParentExe, shell.ParentComm, shell.ParentStart = "/usr/bin/containerd-shim-runc-v2", "containerd-shim", 50
	take(table, shell)

	open := execution(11, 2000, "sh")
	open.Kind, open.Image, open.PPID, open.Start = bpf.KindOpen, shell.Image, 10, 1500
	open.Interactive, open.EntryTTY, open.ParentTTY, open.TTY = true, true, true, 34816
	open.EntryPID, open.EntryStart = shell.PID, shell.Start
	open.ParentImage, open.ParentStart, open.ParentExe = shell.Image, shell.Start, "/usr/bin/sh"
	open.Args = []string{"what the process made of its arguments since"}
	open.UID, open.GID, open.Directory = 7, 8, "/tmp"
	open.File = "/run/secrets/kubernetes.io/serviceaccount/..2026_11_21_17_52_59.2458567487/token"

	at := func(ns int64) *timestamppb.Timestamp { return timestamppb.New(booted.Add(time.Duration(ns))) }
	want := &telemetryv1.Event{
		Time:      at(2000),
		Container: &telemetryv1.Container{Id: id, PodUid: uid},
		Process: &telemetryv1.Process{
			Pid: 11, Ppid: 10, Start: at(1500), EntityId: "0a1b2c3d4e5f6071-11-5dc",
			Name: "sh", Executable: "/usr/bin/sh", Args: []string{"sh"}, WorkingDirectory: "/tmp",
			Uid: 7, Gid: 8, Interactive: true, Tty: 34816,
			Parent: &telemetryv1.Parent{
				Pid: 10, EntityId: "0a1b2c3d4e5f6071-10-3e3", Name: "sh", Executable: "/usr/bin/sh", Args: []string{"sh"}, Interactive: true,
			},
			EntryLeader: &telemetryv1.EntryLeader{
				Pid: 10, Start: at(995), EntityId: "0a1b2c3d4e5f6071-10-3e3", MetaType: "container", Interactive: true,
			},
		},
		What: &telemetryv1.Event_Open{Open: &telemetryv1.FileOpen{
			Path: "/var/run/secrets/kubernetes.io/serviceaccount/token", ResolvedPath: open.File,
		}},
	}
	if diff := cmp.Diff(want, one(t, table, open), protocmp.Transform()); diff != "" {
		t.Errorf("the event differs (-want +got):\n%s", diff)
	}
}

func TestLeaderAndItsParent(t *testing.T) {
	table := newTable(t, 0)
	r := execution(10, 1000, "sh")
	r.ParentExe, r.ParentComm, r.ArgsCut = "/usr/bin/containerd-shim-runc-v2", "containerd-shim", true
	e := one(t, table, r)
	if e.GetExec() == nil || !e.GetProcess().GetEntryLeader().GetSameAsProcess() || !e.GetProcess().GetArgsTruncated() {
		t.Errorf("the first process is %v", e)
	}
	if p := e.GetProcess().GetParent(); p.GetName() != "containerd-shim-runc-v2" || len(p.GetArgs()) > 0 {
		t.Errorf("its parent is %v", p)
	}
}

func TestRecordsThatMakeNoEvent(t *testing.T) {
	table := newTable(t, 0)
	seen := execution(10, 1000, "sh", "-i")
	seen.Kind = bpf.KindSeen
	if e := one(t, table, seen); e != nil {
		t.Errorf("a process that was only seen made the event %v", e)
	}
	child := execution(11, 2000, "id")
	child.ParentImage = seen.Image
	if got := one(t, table, child).GetProcess().GetParent().GetArgs(); !cmp.Equal(got, []string{"sh", "-i"}) {
		t.Errorf("the parent's arguments are %q", got)
	}
	stranger := execution(12, 3000, "id")
	stranger.Cgroup, stranger.PathCgroup, stranger.CgroupPath = 8, 8, "/system.slice/pod1.service/x"
	if e := one(t, table, stranger); e != nil || table.Stats().Strangers != 1 {
		t.Errorf("a process outside all containers made the event %v", e)
	}
}

func TestArgumentsThatComeLater(t *testing.T) {
	table := newTable(t, 0)
	seen := execution(10, 1000, "server")
	seen.Kind, seen.Args, seen.ArgsUnknown = bpf.KindSeen, nil, true
	take(table, seen)
	again := execution(10, 1000, "server", "--flag")
	again.Kind, again.Time = bpf.KindSeen, 1500
	take(table, again)
	changed := execution(10, 1000, "what it made of them since")
	changed.Kind = bpf.KindSeen
	take(table, changed)
	child := execution(11, 2000, "id")
	child.ParentImage = seen.Image
	if got := one(t, table, child).GetProcess().GetParent().GetArgs(); !cmp.Equal(got, again.Args) {
		t.Errorf("the parent's arguments are %q", got)
	}
	if s := table.Stats(); s.ImageBytes != table.images.get(seen.Image).size+table.images.get(child.Image).size {
		t.Errorf("%d bytes are counted", s.ImageBytes)
	}
}

// end is the record of a process' end.
func end(of *bpf.Record, status uint32) *bpf.Record {
	return &bpf.Record{
		Kind: bpf.KindExit, Class: bpf.ClassExit, Time: of.Time + 500, Image: of.Image, PID: of.PID, Start: of.Start, Cgroup: of.Cgroup,
		EntryPID: of.EntryPID, EntryStart: of.EntryStart, Status: status,
	}
}

func TestExit(t *testing.T) {
	table := newTable(t, 0)
	for name, test := range map[string]struct {
		status uint32
		want   *telemetryv1.ProcessExit
	}{
		"well":         {0, &telemetryv1.ProcessExit{}},
		"with a code":  {3 << 8, &telemetryv1.ProcessExit{Code: 3}},
		"by a signal":  {9, &telemetryv1.ProcessExit{Code: 137, Signal: 9}},
		"and a core":   {11 | 0x80, &telemetryv1.ProcessExit{Code: 139, Signal: 11}},
		"largest code": {0xff00, &telemetryv1.ProcessExit{Code: 255}},
	} {
		t.Run(name, func(t *testing.T) {
			shell := execution(10, 1000, "sh", "-c", "id")
			began := one(t, table, shell)
			e := one(t, table, end(shell, test.status))
			if diff := cmp.Diff(test.want, e.GetExit(), protocmp.Transform()); diff != "" {
				t.Errorf("the end differs (-want +got):\n%s", diff)
			}
			if e.GetProcess().GetEntityId() != began.GetProcess().GetEntityId() || e.GetProcess().GetName() != "sh" ||
				e.GetContainer().GetPodUid() != uid || !e.GetProcess().GetEntryLeader().GetSameAsProcess() {
				t.Errorf("the end is of %v", e)
			}
		})
	}
	stranger := end(execution(12, 1000, "id"), 0)
	stranger.Cgroup = 99
	if e := one(t, table, stranger); e != nil {
		t.Errorf("an end in no container made the event %v", e)
	}
}

func TestExceededBudgets(t *testing.T) {
	table := newTable(t, 0)
	first := execution(10, 1000, "true")
	first.Kind, first.Class, first.Suppressed = bpf.KindLimit, bpf.ClassExec, 1
	e := one(t, table, first)
	if e.GetLimit().GetBudget() != "execs" || e.GetLimit().GetSuppressed() != 1 || e.GetProcess().GetName() != "true" {
		t.Errorf("the first that exceeds a budget made the event %v", e)
	}
	rest := execution(11, 2000, "curl")
	rest.Class, rest.Suppressed = bpf.ClassEntry, 7
	events := take(table, rest)
	if len(events) != 2 || events[0].GetLimit().GetBudget() != "entries" || events[0].GetLimit().GetSuppressed() != 7 || events[1].GetExec() == nil {
		t.Errorf("a record that tells of others made the events %v", events)
	}
}

func TestProcessesThatLeftTheirCgroup(t *testing.T) {
	table := newTable(t, 0)
	take(table, execution(10, 1000, "sh"))
	gone := execution(11, 2000, "id")
	gone.PathCgroup, gone.CgroupPath = 1, "/"
	if e := one(t, table, gone); e.GetContainer().GetPodUid() != uid || e.GetContainer().GetId() != id {
		t.Errorf("outside its cgroup the process is said to be of %v", e.GetContainer())
	}
}

func TestImagesLiveAsLongAsTheirProcess(t *testing.T) {
	table := newTable(t, 0)
	parent := execution(10, 1000, "server", "--flag")
	take(table, parent)
	for i := range uint32(5000) {
		short := execution(100+i, uint64(2000+i), "true")
		take(table, short)
		take(table, end(short, 0))
	}
	child := execution(9, 9000, "id")
	child.ParentImage = parent.Image
	if got := one(t, table, child).GetProcess().GetParent().GetArgs(); !cmp.Equal(got, parent.Args) {
		t.Errorf("after many other processes the parent's arguments are %q", got)
	}
	if s := table.Stats(); s.Images > maxEnded+2 || s.Evicted != 0 {
		t.Errorf("%d images are kept, %d were evicted", s.Images, s.Evicted)
	}
}

func TestExecInPlaceEndsTheImageBefore(t *testing.T) {
	table := newTable(t, 0)
	for i := range uint64(5000) {
		take(table, execution(10, 1000+i, "sh", strconv.FormatUint(i, 10)))
	}
	if s := table.Stats(); s.Images > maxEnded+1 {
		t.Errorf("%d images are kept of one process", s.Images)
	}
}

func TestImagesAreBounded(t *testing.T) {
	const limit = 100_000
	table := newTable(t, limit)
	for i := range uint32(1000) {
		take(table, execution(10+i, uint64(1000+i), "sh", strings.Repeat("x", 1000)))
	}
	s := table.Stats()
	if s.ImageBytes > limit || s.Images == 0 || s.Evicted == 0 || s.Images+int(s.Evicted) != 1000 {
		t.Errorf("within %d bytes: %+v", limit, s)
	}
	if len(table.images.byPID) != s.Images {
		t.Errorf("%d processes are remembered for %d images", len(table.images.byPID), s.Images)
	}
}

// The kernel's tables are bounded, and may take a session for the first process of a container that they have forgotten.
func TestAContainerHasOneFirstProcess(t *testing.T) {
	table := newTable(t, 0)
	began := func(at uint64, kind bpf.Kind, as bpf.Began, tty bool) string {
		t.Helper()
		r := execution(uint32(at), at, "sh")
		r.Kind, r.EntryBegan, r.EntryTTY = kind, as, tty
		if e := one(t, table, r); e != nil {
			return e.GetProcess().GetEntryLeader().GetBegan().String()
		}
		return ""
	}
	if got := began(1000, bpf.KindExec, bpf.BeganUnknown, false); got != "BEGAN_UNKNOWN" {
		t.Errorf("one of which nothing is known began as %s", got)
	}
	began(900, bpf.KindSeen, bpf.BeganContainer, false)
	for _, c := range []struct {
		at   uint64
		as   bpf.Began
		tty  bool
		want string
	}{
		{900, bpf.BeganContainer, false, "BEGAN_CONTAINER"},
		{1100, bpf.BeganContainer, true, "BEGAN_SESSION"},
		{1200, bpf.BeganContainer, false, "BEGAN_SESSION_OR_PROBE"},
		{1300, bpf.BeganUnknown, false, "BEGAN_SESSION_OR_PROBE"},
		{1400, bpf.BeganSession, false, "BEGAN_SESSION"},
		{800, bpf.BeganContainer, false, "BEGAN_CONTAINER"}, // It was there before.
	} {
		if got := began(c.at, bpf.KindExec, c.as, c.tty); got != c.want {
			t.Errorf("at %d, as %v: it began as %s, want %s", c.at, c.as, got, c.want)
		}
	}
	if first, known := table.First("4c6b3a4b5ff7b2c1"); known {
		t.Errorf("an unknown container has a first process: %d", first)
	}
}

func TestContainersAreBounded(t *testing.T) {
	table := newTable(t, 0)
	for i := range uint64(3 * maxContainers) {
		table.began(&bpf.Record{EntryBegan: bpf.BeganContainer, EntryStart: 1 + i}, fmt.Sprint(i))
		r := execution(10, 1000+i, "sh")
		r.Cgroup, r.PathCgroup = i, i
		if one(t, table, r) == nil {
			t.Fatalf("container %d was refused", i)
		}
	}
	if n := len(table.containers); n > maxContainers {
		t.Errorf("%d cgroups are remembered", n)
	}
	if n := len(table.firsts); n > maxContainers {
		t.Errorf("the first processes of %d containers are remembered", n)
	}
}

func TestOptions(t *testing.T) {
	wall := func(uint64) time.Time { return booted }
	for want, opts := range map[string]Options{
		"BootID":        {Wall: wall},
		"Wall":          {BootID: "x"},
		"MaxImageBytes": {BootID: "x", Wall: wall, MaxImageBytes: -1},
	} {
		if _, err := New(opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New(%+v) = %v, want an error about %s", opts, err, want)
		}
	}
	if _, err := New(Options{BootID: "x", Wall: wall}); err != nil {
		t.Errorf("a short boot id: %v", err)
	}
}
