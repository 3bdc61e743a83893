package process

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/portcullis-dev/portcullis/agent/bpf"
	"github.com/portcullis-dev/portcullis/agent/container"
	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// Options of New. The zero value of a number means its default.
type Options struct {
	// BootID is the kernel's random boot id; it makes entity ids unique. Required.
	BootID string
	// Wall converts nanoseconds since boot. Required.
	Wall func(sinceBoot uint64) time.Time
	// MaxImageBytes bounds what is kept of running programs. Default 8 MiB.
	MaxImageBytes int
}

// Table knows the processes of containers. It belongs to one goroutine, that
// which reads the records, but for [Table.Container].
type Table struct {
	boot      string
	wall      func(uint64) time.Time
	images    *images
	strangers uint64
	named     [maxNamed]named

	mu         sync.RWMutex     // held to change what follows
	containers map[uint64]found // by cgroup
	// firsts are when the first process of a container began, in nanoseconds since boot, by the container's ID.
	firsts map[string]uint64
}

// found is what a cgroup's path told.
type found struct {
	container container.Container
	message   *telemetryv1.Container // the same for events, nil if it is none
}

// maxContainers bounds the cgroups that are remembered. More than a node's
// worth means that they were made to be many: forgetting costs a new look.
const maxContainers = 8192

// New makes an empty table.
func New(opts Options) (*Table, error) {
	switch {
	case opts.BootID == "":
		return nil, errors.New("options: BootID is required")
	case opts.Wall == nil:
		return nil, errors.New("options: Wall is required")
	case opts.MaxImageBytes < 0:
		return nil, fmt.Errorf("options: MaxImageBytes is %d", opts.MaxImageBytes)
	case opts.MaxImageBytes == 0:
		opts.MaxImageBytes = 8 << 20
	}
	return &Table{
		boot:       boot(opts.BootID),
		wall:       opts.Wall,
		images:     newImages(opts.MaxImageBytes),
		containers: map[uint64]found{},
		firsts:     map[string]uint64{},
	}, nil
}

// Take takes in a record, in the order in which they were read, and hands the
// events that follow from it to push: none if the record is only for the table,
// two if it also tells that its container exceeded a budget. Events share what they have in common: who
// gets one must not change it.
func (t *Table) Take(r *bpf.Record, push func(*telemetryv1.Event)) {
	if r.Kind == bpf.KindExit {
		t.takeExit(r, push)
		return
	}
	c := t.container(r)
	if c == nil {
		t.strangers++
		return
	}
	image := t.images.put(r, c)
	t.tellOfLimit(r, c, image, push)
	switch r.Kind {
	case bpf.KindExec:
		m := t.event(r, c, image)
		m.exec.Exec = &m.nothing
		m.event.What = &m.exec
		push(&m.event)
	case bpf.KindOpen:
		e := &t.event(r, c, image).event
		e.What = &telemetryv1.Event_Open{Open: &telemetryv1.FileOpen{Path: filePath(r), ResolvedPath: r.File}}
		push(e)
	default:
		t.began(r, c.GetId())
	}
}

// takeExit takes in the end of a process. Its record names the cgroup only.
func (t *Table) takeExit(r *bpf.Record, push func(*telemetryv1.Event)) {
	image := t.images.get(r.Image)
	t.images.end(r.Image)
	c := t.containers[r.Cgroup].message
	if image != nil {
		c = image.container
	}
	if c == nil {
		t.strangers++
		return
	}
	t.tellOfLimit(r, c, image, push)
	e := &t.event(r, c, image).event
	e.Process.Args = nil // whoever wants them has them of its start
	e.What = &telemetryv1.Event_Exit{Exit: exit(r.Status)}
	push(e)
}

func (t *Table) tellOfLimit(r *bpf.Record, c *telemetryv1.Container, image *image, push func(*telemetryv1.Event)) {
	if r.Suppressed == 0 {
		return
	}
	e := &t.event(r, c, image).event
	e.What = &telemetryv1.Event_Limit{Limit: &telemetryv1.LimitExceeded{Budget: budget(r.Class), Suppressed: r.Suppressed}}
	push(e)
}

// messages are what an event is made of. They live and go together, and one piece of memory is had sooner
// than ten.
type messages struct {
	event   telemetryv1.Event
	process telemetryv1.Process
	leader  telemetryv1.EntryLeader
	parent  telemetryv1.Parent
	exec    telemetryv1.Event_Exec
	nothing telemetryv1.ProcessExec

	time, start, leaderStart timestamppb.Timestamp
}

func (t *Table) event(r *bpf.Record, c *telemetryv1.Container, image *image) *messages {
	m := &messages{}
	t.stamp(&m.time, r.Time)
	t.fill(m, r, c, image)
	m.event.Time, m.event.Container, m.event.Process = &m.time, c, &m.process
	return m
}

// stamp sets a time of day.
func (t *Table) stamp(s *timestamppb.Timestamp, sinceBoot uint64) {
	at := t.wall(sinceBoot)
	s.Seconds, s.Nanos = at.Unix(), int32(at.Nanosecond()) //nolint:gosec // below a billion
}

// budget names what a container has a budget for.
func budget(c bpf.Class) string {
	switch c {
	case bpf.ClassEntry:
		return "entries"
	case bpf.ClassOpen:
		return "opens"
	case bpf.ClassExit:
		return "exits"
	default:
		return "execs"
	}
}

// exit reads a status as wait(2) gives it.
func exit(status uint32) *telemetryv1.ProcessExit {
	if signal := status & 0x7f; signal != 0 {
		return &telemetryv1.ProcessExit{Code: 128 + signal, Signal: signal}
	}
	return &telemetryv1.ProcessExit{Code: status >> 8 & 0xff}
}

// Stats of a table. The counters only grow.
type Stats struct {
	// Images and ImageBytes are what is kept now.
	Images, ImageBytes int
	// Evicted counts images that went while their process lived: its
	// children's records lack its arguments.
	Evicted uint64
	// Strangers counts records from cgroups that look like a pod's and are not.
	Strangers uint64
}

// Stats may be called by the table's goroutine only.
func (t *Table) Stats() Stats {
	return Stats{
		Images: len(t.images.byID), ImageBytes: t.images.size,
		Evicted: t.images.evicted, Strangers: t.strangers,
	}
}

// container finds the container of a record. Where a process has left the
// cgroup it started in, the path is that of another cgroup, and what the first
// one's path told is remembered.
func (t *Table) container(r *bpf.Record) *telemetryv1.Container {
	if f, ok := t.containers[r.Cgroup]; ok {
		return f.message
	}
	if r.Cgroup != r.PathCgroup {
		return nil
	}
	var f found
	if c, ok := container.Parse(r.CgroupPath); ok {
		f = found{c, &telemetryv1.Container{Id: c.ID, PodUid: c.PodUID}}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.containers) >= maxContainers {
		clear(t.containers)
	}
	t.containers[r.Cgroup] = f
	return f.message
}

// fill writes all that is about the process.
func (t *Table) fill(m *messages, r *bpf.Record, c *telemetryv1.Container, image *image) {
	leader, p := &m.leader, &m.process
	t.stamp(&m.leaderStart, r.EntryStart)
	leader.Pid, leader.Start, leader.EntityId = r.EntryPID, &m.leaderStart, t.entityID(r.EntryPID, r.EntryStart)
	leader.MetaType = "container"
	leader.SameAsProcess = r.EntryPID == r.PID && r.EntryStart == r.Start
	leader.Interactive, leader.Began = r.EntryTTY, telemetryv1.Began(t.began(r, c.GetId()))

	t.stamp(&m.start, r.Start)
	p.Pid, p.Ppid, p.Start, p.EntityId = r.PID, r.PPID, &m.start, t.entityID(r.PID, r.Start)
	p.WorkingDirectory, p.Uid, p.Gid = r.Directory, r.UID, r.GID
	p.Interactive, p.Tty, p.EntryLeader = r.Interactive, r.TTY, leader
	if image != nil {
		p.Name, p.Executable, p.Args, p.ArgsTruncated = image.name, image.executable, image.args, image.argsCut
	}
	if r.Kind != bpf.KindExit {
		t.fillParent(&m.parent, r)
		p.Parent = &m.parent
	}
}

// began says how the record's entry leader began. A container has one first process: of another one the kernel's tables, which
// are bounded, have forgotten that. It came later, as sessions do.
func (t *Table) began(r *bpf.Record, id string) bpf.Began {
	first, known := t.firsts[id] // Only this goroutine changes it.
	switch {
	case r.EntryBegan != bpf.BeganContainer && r.EntryBegan != bpf.BeganUnknown:
	case known && r.EntryStart > first && r.EntryTTY:
		return bpf.BeganSession
	case known && r.EntryStart > first:
		return bpf.BeganSessionOrProbe
	case r.EntryBegan == bpf.BeganContainer && r.EntryStart != first:
		t.mu.Lock()
		defer t.mu.Unlock()
		if len(t.firsts) >= maxContainers {
			clear(t.firsts)
		}
		t.firsts[id] = r.EntryStart
	}
	return r.EntryBegan
}

// First is when a container's first process began, in nanoseconds since boot, if that was seen. It is safe for concurrent use.
func (t *Table) First(id string) (start uint64, known bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	start, known = t.firsts[id]
	return start, known
}

func (t *Table) fillParent(p *telemetryv1.Parent, r *bpf.Record) {
	p.Pid, p.EntityId, p.Interactive = r.PPID, t.entityID(r.PPID, r.ParentStart), r.ParentTTY
	if image := t.images.get(r.ParentImage); image != nil {
		p.Name, p.Executable, p.Args = image.name, image.executable, image.args
	} else {
		p.Name, p.Executable = parentName(r.ParentExe, r.ParentComm), r.ParentExe
	}
}

// Container tells whose a cgroup is, if a record of it was seen. It is safe for concurrent use.
func (t *Table) Container(cgroup uint64) (container.Container, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	f := t.containers[cgroup]
	return f.container, f.message != nil
}
