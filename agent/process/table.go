package process

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
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
// which reads the records.
type Table struct {
	boot       string
	wall       func(uint64) time.Time
	images     *images
	containers map[uint64]found // by cgroup
	strangers  uint64
}

// found is what a cgroup's path told.
type found struct {
	container container.Container
	ok        bool
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
		boot:       strings.ReplaceAll(opts.BootID, "-", ""),
		wall:       opts.Wall,
		images:     newImages(opts.MaxImageBytes),
		containers: map[uint64]found{},
	}, nil
}

// Event takes in a record, in the order in which they were read, and returns
// the event to send, nil if the record is only for the table.
func (t *Table) Event(r *bpf.Record) *telemetryv1.Event {
	if r.Kind == bpf.KindExit {
		t.images.end(r.Image)
		return nil
	}
	c, ok := t.container(r)
	if !ok {
		t.strangers++
		return nil
	}
	image := t.images.put(r)
	if r.Kind == bpf.KindSeen {
		return nil
	}
	e := &telemetryv1.Event{
		Time:      timestamppb.New(t.wall(r.Time)),
		Container: &telemetryv1.Container{Id: c.ID, PodUid: c.PodUID},
		Process:   t.process(r, image),
	}
	if r.Kind == bpf.KindOpen {
		e.What = &telemetryv1.Event_Open{Open: &telemetryv1.FileOpen{Path: filePath(r.File), ResolvedPath: r.File}}
	} else {
		e.What = &telemetryv1.Event_Exec{Exec: &telemetryv1.ProcessExec{}}
	}
	return e
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
func (t *Table) container(r *bpf.Record) (container.Container, bool) {
	if f, ok := t.containers[r.Cgroup]; ok {
		return f.container, f.ok
	}
	if r.Cgroup != r.PathCgroup {
		return container.Container{}, false
	}
	if len(t.containers) >= maxContainers {
		clear(t.containers)
	}
	c, ok := container.Parse(r.CgroupPath)
	t.containers[r.Cgroup] = found{c, ok}
	return c, ok
}

func (t *Table) process(r *bpf.Record, image *image) *telemetryv1.Process {
	return &telemetryv1.Process{
		Pid:              r.PID,
		Ppid:             r.PPID,
		Start:            timestamppb.New(t.wall(r.Start)),
		EntityId:         t.entityID(r.PID, r.Start),
		Name:             image.name,
		Executable:       image.executable,
		Args:             image.args,
		ArgsTruncated:    image.argsCut,
		WorkingDirectory: r.Directory,
		Uid:              r.UID,
		Gid:              r.GID,
		Interactive:      r.Interactive,
		Tty:              r.TTY,
		Parent:           t.parent(r),
		EntryLeader: &telemetryv1.EntryLeader{
			Pid:           r.EntryPID,
			Start:         timestamppb.New(t.wall(r.EntryStart)),
			EntityId:      t.entityID(r.EntryPID, r.EntryStart),
			MetaType:      "container",
			SameAsProcess: r.EntryPID == r.PID && r.EntryStart == r.Start,
			Interactive:   r.EntryTTY,
		},
	}
}

func (t *Table) parent(r *bpf.Record) *telemetryv1.Parent {
	p := &telemetryv1.Parent{
		Pid:         r.PPID,
		EntityId:    t.entityID(r.PPID, r.ParentStart),
		Executable:  r.ParentExe,
		Interactive: r.ParentTTY,
	}
	if image := t.images.get(r.ParentImage); image != nil {
		p.Name, p.Executable, p.Args = image.name, image.executable, image.args
	} else {
		p.Name = parentName(r.ParentExe, r.ParentComm)
	}
	return p
}

// entityID names a process for ever: by the node's boot, PID and start.
func (t *Table) entityID(pid uint32, start uint64) string {
	var b [64]byte
	id := append(b[:0], t.boot[:min(16, len(t.boot))]...)
	id = append(id, '-')
	id = strconv.AppendUint(id, uint64(pid), 10)
	id = append(id, '-')
	return string(strconv.AppendUint(id, start, 16))
}
