package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Kind says what a record is about.
type Kind uint16

// The kinds of records, as record.h numbers them.
const (
	// KindExec: a process became another program.
	KindExec Kind = 1
	// KindSeen: a process is there that was not seen to start.
	KindSeen Kind = 2
	// KindOpen: a process opened a file.
	KindOpen Kind = 3
	// KindExit: a process ended. It has neither paths nor arguments nor a parent but its PID.
	KindExit Kind = 4
	// KindLimit: a process did something that its container has no budget for
	// any more, of Class. Few of those are told of: see Suppressed.
	KindLimit Kind = 5
)

// Class is what a container has a budget for.
type Class uint16

// The classes of records, as record.h numbers them.
const (
	ClassEntry Class = 0 // the first process of a container or session
	ClassOpen  Class = 1
	ClassExec  Class = 2
	ClassExit  Class = 3
)

// Began says how an entry leader came into its container.
type Began uint8

// The ways in which an entry leader begins. What a runtime is asked for by a
// probe or a hook looks like an exec session that has no input: only the audit log tells them apart.
const (
	// BeganUnknown: the agent was not there, or has forgotten.
	BeganUnknown Began = iota
	// BeganContainer: it is the container's first process.
	BeganContainer
	// BeganSession: it came later, with an input or a terminal: an exec session.
	BeganSession
	// BeganSessionOrProbe: it came later, without an input.
	BeganSessionOrProbe
)

// Image names a program as one process runs it: from an exec to the next, and
// in all children that were forked in between.
type Image struct {
	// Time is when it was executed (or first seen), in nanoseconds since boot.
	Time uint64
	// PID is the process that executed it.
	PID uint32
}

// IsZero reports whether the image is not known.
func (i Image) IsZero() bool { return i.Time == 0 }

// Record is what a program saw. All times are nanoseconds since boot, all PIDs
// are the host's. Every string is valid UTF-8: the bytes that were not are
// replaced. Texts and Args stay as they are, whatever becomes of the Record.
type Record struct {
	Kind  Kind
	Time  uint64
	Image Image

	PID, PPID   uint32
	Start       uint64
	UID, GID    uint32 // effective, as the process' user namespace numbers them
	TTY         uint32 // as stat(2) writes device numbers
	Interactive bool
	Learned     bool // read from a process that already ran, not as it started
	Comm        string
	Executable  string
	Interpreter string // as the exec named it, or as a script's first line does
	Directory   string
	Args        []string
	ArgsCut     bool
	PathsCut    bool
	File        string
	KnownFile   string // by which path the pod knows it, where that can be told
	AccountFile bool   // of a volume that is mounted where rules look for a service account's
	EntryPID    uint32
	EntryStart  uint64
	EntryTTY    bool // the entry leader is interactive
	EntryBegan  Began
	Cgroup      uint64
	CgroupPath  string
	PathCgroup  uint64 // the cgroup that CgroupPath belongs to
	ParentImage Image
	ParentStart uint64
	ParentComm  string
	ParentExe   string
	ParentTTY   bool // the parent is interactive
	ArgsUnknown bool
	// Status is how a process ended, as wait(2) gives it.
	Status uint32
	// Class and Suppressed: of how many records of that class of the container
	// nothing else is told, since the last that said so.
	Class        Class
	Suppressed   uint64
	sizeInKernel int
}

// Size is the number of bytes that the record took in the ring buffer.
func (r *Record) Size() int { return r.sizeInKernel }

// The layout of record.h.
const (
	headerSize = 168
	endSize    = 88
	classes    = 5

	classEntry = 0
	classOpen  = 1
	classExec  = 2
	classExit  = 3
	classRare  = 4 // of execs, in the kernel only

	flagInteractive       = 1 << 0
	flagEntryInteractive  = 1 << 1
	flagParentInteractive = 1 << 2
	flagArgsTruncated     = 1 << 3
	flagPathTruncated     = 1 << 4
	flagLearned           = 1 << 5
	flagEntryInput        = 1 << 6
	flagEntryMain         = 1 << 7
	flagEntryJoined       = 1 << 8
	flagAccountVolume     = 1 << 9
	flagArgsUnknown       = 1 << 10
)

// maxArgs bounds the number of arguments of one record. The kernel side bounds
// their bytes, but twenty thousand empty strings would fit into those.
const maxArgs = 4096

var errShort = errors.New("record is shorter than it says")

// Decode reads a record as it comes from the ring buffer.
func Decode(raw []byte) (*Record, error) { return (&decoder{}).record(raw) }

// decoder decodes one record after another. It remembers texts: those of one container's processes
// are mostly the same.
type decoder struct {
	texts map[string]string // by what is in the record; nil remembers nothing
	paths map[string]string
	last  Record
}

// What a decoder remembers at most: so many texts, none longer than this. A container that
// makes up new ones gains nothing but that the others are made anew.
const (
	maxTexts = 512
	maxText  = 256
)

func newDecoder() *decoder {
	return &decoder{texts: map[string]string{}, paths: map[string]string{}}
}

// remembered is what read makes of b, made once for all that are the same.
func remembered(known map[string]string, b []byte, read func([]byte) string) string {
	if known == nil || len(b) > maxText {
		return read(b)
	}
	if s, ok := known[string(b)]; ok {
		return s
	}
	if len(known) >= maxTexts {
		clear(known)
	}
	s := read(b)
	known[string(b)] = s
	return s
}

func (d *decoder) text(b []byte) string { return remembered(d.texts, b, text) }
func (d *decoder) path(b []byte) string { return remembered(d.paths, b, path) }

// record reads one. It is overwritten by the next.
func (d *decoder) record(raw []byte) (*Record, error) {
	r := &d.last
	*r = Record{sizeInKernel: len(raw)}
	if len(raw) == endSize {
		return decodeEnd(r, raw)
	}
	if len(raw) < headerSize {
		return nil, fmt.Errorf("%w: %d bytes", errShort, len(raw))
	}
	le := binary.LittleEndian
	r.Time, r.Start = le.Uint64(raw), le.Uint64(raw[8:])
	r.ParentStart, r.EntryStart = le.Uint64(raw[16:]), le.Uint64(raw[24:])
	r.Image = Image{Time: le.Uint64(raw[32:]), PID: le.Uint32(raw[76:])}
	r.ParentImage = Image{Time: le.Uint64(raw[40:]), PID: le.Uint32(raw[80:])}
	r.Cgroup, r.PathCgroup = le.Uint64(raw[48:]), le.Uint64(raw[56:])
	r.PID, r.PPID, r.EntryPID = le.Uint32(raw[64:]), le.Uint32(raw[68:]), le.Uint32(raw[72:])
	r.UID, r.GID, r.TTY = le.Uint32(raw[84:]), le.Uint32(raw[88:]), le.Uint32(raw[92:])
	r.setFlags(le.Uint32(raw[96:]))
	r.Kind = Kind(le.Uint16(raw[104:]))
	if r.Kind < KindExec || r.Kind == KindExit || r.Kind > KindLimit {
		return nil, fmt.Errorf("record of unknown kind %d", r.Kind)
	}
	r.Class, r.Suppressed = Class(le.Uint16(raw[122:])), le.Uint64(raw[128:])
	r.Comm, r.ParentComm = d.text(raw[136:152]), d.text(raw[152:168])
	if err := d.data(r, raw); err != nil {
		return nil, err
	}
	return r, nil
}

func decodeEnd(r *Record, raw []byte) (*Record, error) {
	le := binary.LittleEndian
	r.Kind, r.Class = Kind(le.Uint16(raw[84:])), ClassExit
	if r.Kind != KindExit {
		return nil, fmt.Errorf("short record of kind %d", r.Kind)
	}
	r.Time, r.Start, r.EntryStart = le.Uint64(raw), le.Uint64(raw[8:]), le.Uint64(raw[16:])
	r.Image = Image{Time: le.Uint64(raw[24:]), PID: le.Uint32(raw[48:])}
	r.Cgroup, r.Suppressed = le.Uint64(raw[32:]), le.Uint64(raw[40:])
	r.PID, r.PPID, r.EntryPID = le.Uint32(raw[52:]), le.Uint32(raw[56:]), le.Uint32(raw[60:])
	r.UID, r.GID, r.TTY = le.Uint32(raw[64:]), le.Uint32(raw[68:]), le.Uint32(raw[72:])
	r.setFlags(le.Uint32(raw[76:]))
	r.Status = le.Uint32(raw[80:])
	return r, nil
}

func (r *Record) setFlags(flags uint32) {
	r.Interactive = flags&flagInteractive != 0
	r.EntryTTY = flags&flagEntryInteractive != 0
	r.ParentTTY = flags&flagParentInteractive != 0
	r.ArgsCut = flags&flagArgsTruncated != 0
	r.PathsCut = flags&flagPathTruncated != 0
	r.Learned = flags&flagLearned != 0
	r.AccountFile = flags&flagAccountVolume != 0
	r.ArgsUnknown = flags&flagArgsUnknown != 0
	switch {
	case flags&flagEntryMain != 0:
		r.EntryBegan = BeganContainer
	case flags&flagEntryJoined == 0:
		r.EntryBegan = BeganUnknown
	case flags&(flagEntryInput|flagEntryInteractive) != 0:
		r.EntryBegan = BeganSession
	default:
		r.EntryBegan = BeganSessionOrProbe
	}
}

// data reads what follows the header: the paths in the order of their
// lengths, then the arguments.
func (d *decoder) data(r *Record, raw []byte) error {
	le := binary.LittleEndian
	data := raw[headerSize:]
	var parts [7][]byte
	for i := range parts {
		n := int(le.Uint16(raw[108+2*i:]))
		if n > len(data) {
			return errShort
		}
		parts[i], data = data[:n], data[n:]
	}
	args := int(le.Uint32(raw[100:]))
	if args > len(data) {
		return errShort
	}
	r.File, r.KnownFile, r.CgroupPath = d.path(parts[0]), d.path(parts[1]), d.path(parts[2])
	r.Executable, r.Directory = d.path(parts[3]), d.path(parts[4])
	if r.Directory == "" {
		r.Directory = "/" // the root is a path of no names
	}
	r.ParentExe, r.Interpreter = d.path(parts[5]), d.text(parts[6])
	r.splitArgs(data[:args])
	return nil
}

// path turns names, each ended by a NUL and the last one first, into a path.
func path(names []byte) string {
	var b strings.Builder
	b.Grow(len(names) + 1)
	for end := len(names) - 1; end >= 0; {
		start := end
		for start > 0 && names[start-1] != 0 {
			start--
		}
		b.WriteByte('/')
		b.Write(names[start:end])
		end = start - 1
	}
	return valid(b.String())
}

func (r *Record) splitArgs(data []byte) {
	s := valid(string(data))
	if !r.ArgsCut {
		s = strings.TrimSuffix(s, "\x00")
	}
	if len(data) == 0 {
		return
	}
	n := strings.Count(s, "\x00") + 1
	if n > maxArgs {
		n, r.ArgsCut = maxArgs, true
	}
	r.Args = make([]string, 0, n)
	for range n {
		arg, rest, _ := strings.Cut(s, "\x00")
		r.Args = append(r.Args, arg)
		s = rest
	}
}

// text is a C string.
func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return valid(s)
}

// valid replaces what is not UTF-8: the protocol carries nothing else, and a
// file name may be any bytes.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
