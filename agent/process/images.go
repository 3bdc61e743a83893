package process

import (
	"container/list"

	"github.com/portcullis-dev/portcullis/agent/bpf"
	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// image is a program as a process runs it.
type image struct {
	id         bpf.Image
	container  *telemetryv1.Container
	name       string
	executable string
	args       []string
	argsCut    bool
	argsToCome bool // they could not be read yet
	size       int
	ended      bool // the process that executed it is gone, or runs something else
	place      *list.Element
}

// imageOverhead is what an image takes beside its strings.
const imageOverhead = 256

// images keeps programs within a number of bytes. Of those that must go, the
// ones whose process has ended go first: they are kept at all because children
// that were forked without an exec may still refer to them.
type images struct {
	limit, size int
	byID        map[bpf.Image]*image
	byPID       map[uint32]bpf.Image
	live, ended *list.List // of *image, the oldest first
	evicted     uint64     // live ones that had to go
}

func newImages(limit int) *images {
	return &images{
		limit: limit,
		byID:  map[bpf.Image]*image{},
		byPID: map[uint32]bpf.Image{},
		live:  list.New(),
		ended: list.New(),
	}
}

// get returns nil for an image that is not known.
func (s *images) get(id bpf.Image) *image {
	if id.IsZero() {
		return nil
	}
	return s.byID[id]
}

// put adds what a record shows of its process.
func (s *images) put(r *bpf.Record, c *telemetryv1.Container) *image {
	if known := s.get(r.Image); known != nil {
		if known.argsToCome && !r.ArgsUnknown {
			s.complete(known, r)
		}
		return known
	}
	if before, ok := s.byPID[r.Image.PID]; ok {
		s.end(before) // the process became another program
	}
	i := &image{
		id:         r.Image,
		container:  c,
		name:       name(r),
		executable: r.Executable,
		args:       r.Args,
		argsCut:    r.ArgsCut,
		argsToCome: r.ArgsUnknown,
	}
	i.measure()
	i.place = s.live.PushBack(i)
	s.byID[i.id], s.byPID[i.id.PID] = i, i.id
	s.size += i.size
	s.trim()
	return i
}

func (i *image) measure() {
	i.size = imageOverhead + len(i.name) + len(i.executable)
	for _, arg := range i.args {
		i.size += len(arg) + 16
	}
}

// complete adds the arguments, now that the process has done something.
func (s *images) complete(i *image, r *bpf.Record) {
	s.size -= i.size
	i.name, i.args, i.argsCut, i.argsToCome = name(r), r.Args, r.ArgsCut, false
	i.measure()
	s.size += i.size
	s.trim()
}

// end notes that the process which executed the image runs it no more.
func (s *images) end(id bpf.Image) {
	i := s.byID[id]
	if i == nil || i.ended {
		return
	}
	if s.byPID[id.PID] == id {
		delete(s.byPID, id.PID)
	}
	s.live.Remove(i.place)
	i.ended, i.place = true, s.ended.PushBack(i)
	s.trim()
}

// maxEnded bounds how many ended images are kept for the sake of children.
const maxEnded = 1024

func (s *images) trim() {
	for s.ended.Len() > maxEnded || s.size > s.limit && s.ended.Len() > 0 {
		s.remove(s.ended)
	}
	for s.size > s.limit && s.live.Len() > 1 {
		s.remove(s.live)
		s.evicted++
	}
}

func (s *images) remove(from *list.List) {
	i, ok := from.Remove(from.Front()).(*image)
	if !ok {
		return
	}
	delete(s.byID, i.id)
	if s.byPID[i.id.PID] == i.id {
		delete(s.byPID, i.id.PID)
	}
	s.size -= i.size
}
