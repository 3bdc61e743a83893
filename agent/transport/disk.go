package transport

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"

	"google.golang.org/protobuf/proto"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// disk is what a spool has in files. Its fields are guarded by the spool's lock,
// which is never held while a file is written or read. A nil disk holds nothing.
//
// A file is named "<number>-<events>.events", numbers rising with age falling. It
// holds a CRC-32 of all that follows, and the events, each after its length.
type disk struct {
	dir     string
	limit   int64
	files   []file // the oldest first
	size    int64
	next    uint64
	writing file          // one that is not among files yet; its number is 0 if there is none
	spill   chan struct{} // holds a token when there may be something to write
}

type file struct {
	number uint64
	events int
	size   int64
	place  uint64 // of its first event
}

func (f file) name() string { return fmt.Sprintf("%016x-%d.events", f.number, f.events) }

// firstNumber leaves room below for what is older than all files.
const firstNumber = 1 << 32

// openDisk finds what an earlier spool left.
func openDisk(dir string, limit int64) (*disk, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open the spool's directory: %w", err)
	}
	d := &disk{dir: dir, limit: limit, next: firstNumber, spill: make(chan struct{}, 1)}
	for _, entry := range entries {
		var f file
		if n, err := fmt.Sscanf(entry.Name(), "%016x-%d.events", &f.number, &f.events); n != 2 || err != nil || f.events <= 0 || f.name() != entry.Name() {
			continue // not ours
		}
		info, err := entry.Info()
		if err != nil {
			return nil, fmt.Errorf("open the spool's directory: %w", err)
		}
		f.size = info.Size()
		d.files = append(d.files, f)
		d.size += f.size
		d.next = max(d.next, f.number+1)
	}
	slices.SortFunc(d.files, func(a, b file) int { return cmp.Compare(a.number, b.number) })
	return d, nil
}

func (d *disk) stats() (files, events int) {
	if d == nil {
		return 0, 0
	}
	for _, f := range d.files {
		events += f.events
	}
	return len(d.files), events
}

func (d *disk) empty() bool { return d == nil || len(d.files) == 0 && d.writing.number == 0 }

// oldest is the place of the oldest event, if there is any.
func (d *disk) oldest() uint64 {
	if len(d.files) > 0 {
		return d.files[0].place
	}
	return d.writing.place
}

func (d *disk) signal() {
	select {
	case d.spill <- struct{}{}:
	default:
	}
}

// spilling says whether a new event must wait behind what is in files, or is to
// become one: memory is half full.
func (s *Spool) spilling() bool {
	return s.disk != nil && (!s.disk.empty() || len(s.tail) > 0 || s.size > s.opts.MaxBytes/2)
}

// chunk is the size of one file's events.
func (s *Spool) chunk() int { return max(1, s.opts.MaxBytes/8) }

// startDisk begins to write files; ctx carries values only. The function that it returns ends that, writes
// what is left in memory, and reports whether nothing of it is lost thereby.
func (s *Spool) startDisk(ctx context.Context) (stop func() bool) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.runDisk(ctx)
	}()
	return func() bool {
		cancel()
		<-done
		return s.save()
	}
}

// runDisk writes files until ctx ends.
func (s *Spool) runDisk(ctx context.Context) {
	if s.disk == nil {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.disk.spill:
			for s.writeTail(s.chunk()) {
				if ctx.Err() != nil {
					return
				}
			}
		}
	}
}

// writeTail makes a file of the tail, if it is as large as that.
func (s *Spool) writeTail(least int) bool {
	s.mu.Lock()
	if s.tailSize < least || len(s.tail) == 0 {
		s.mu.Unlock()
		return false
	}
	items := s.tail
	s.tail, s.tailSize = nil, 0
	f := file{number: s.disk.next, place: items[0].place}
	s.disk.next++
	s.disk.writing = f
	s.mu.Unlock()
	s.write(f, items, func(f file) { s.disk.files = append(s.disk.files, f) })
	return true
}

// write makes a file of items, and has add put it among the others.
func (s *Spool) write(f file, items []item, add func(file)) {
	f.events = len(items)
	content := encode(items)
	f.size = int64(len(content))
	err := os.WriteFile(filepath.Join(s.disk.dir, f.name()), content, 0o600)

	s.mu.Lock()
	for _, it := range items {
		s.size -= it.cost
	}
	s.disk.writing = file{}
	if err != nil {
		s.dropped += uint64(f.events) //nolint:gosec // a length
	} else {
		s.disk.size += f.size
		add(f)
	}
	var gone []file
	for s.disk.size > s.disk.limit && len(s.disk.files) > 0 {
		oldest := s.disk.files[0]
		gone, s.disk.files = append(gone, oldest), s.disk.files[1:]
		s.disk.size -= oldest.size
		s.dropped += uint64(oldest.events) //nolint:gosec // of a file that we wrote, or a name of such form
	}
	s.signal()
	s.mu.Unlock()
	if err != nil {
		s.opts.Logger.Error("events are lost: their file cannot be written", "events", f.events, "error", err)
		gone = append(gone, f)
	}
	for _, f := range gone {
		s.remove(f)
	}
}

func (s *Spool) remove(f file) {
	if err := os.Remove(filepath.Join(s.disk.dir, f.name())); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.opts.Logger.Error("file of the spool cannot be removed", "error", err)
	}
}

// refill takes the oldest file into memory, once there is nothing older, or else
// what waited to become one. It reports whether there is more to send.
func (s *Spool) refill() bool {
	s.mu.Lock()
	switch {
	case s.disk == nil || len(s.pending) > 0:
		s.mu.Unlock()
		return false
	case len(s.disk.files) == 0:
		defer s.mu.Unlock()
		if s.disk.writing.number != 0 || len(s.tail) == 0 {
			return false
		}
		s.pending, s.tail, s.tailSize = s.tail, nil, 0
		return true
	}
	f := s.disk.files[0]
	s.disk.files = s.disk.files[1:]
	s.disk.size -= f.size
	s.mu.Unlock()
	items, err := s.read(f)
	s.remove(f)

	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.opts.Logger.Error("events are lost: their file cannot be read", "file", f.name(), "error", err)
	}
	s.dropped += uint64(max(0, f.events-len(items)))
	for i := range items {
		items[i].place = f.place
		s.size += items[i].cost
	}
	s.pending = items
	return true
}

func (s *Spool) read(f file) ([]item, error) {
	if f.size > s.disk.limit {
		return nil, fmt.Errorf("it is larger than %d bytes", s.disk.limit)
	}
	content, err := os.ReadFile(filepath.Join(s.disk.dir, f.name()))
	if err != nil {
		return nil, err
	}
	return decode(content)
}

// save makes files of all that is in memory, as the agent stops. What was sent and not
// acknowledged is sent again by the next agent, under another number: it says which the first one
// was, so that the server knows it again.
func (s *Spool) save() bool {
	if s.disk == nil {
		return false
	}
	s.mu.Lock()
	dropped := s.dropped
	var items []item
	for _, b := range s.flight {
		for _, e := range b.message.GetEvents() {
			if e.First == nil {
				e.First = &telemetryv1.Sent{SessionId: s.opts.SessionID, Sequence: e.GetSequence()}
			}
			items = append(items, item{event: e, cost: cost(e)})
		}
	}
	items = append(items, s.pending...)
	f := file{number: firstNumber - 1}
	if len(s.disk.files) > 0 {
		f.number = s.disk.files[0].number - 1
	}
	s.flight, s.pending = nil, nil
	s.mu.Unlock()
	if len(items) > 0 {
		s.write(f, items, func(f file) { s.disk.files = slices.Insert(s.disk.files, 0, f) })
	}
	s.writeTail(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped == dropped
}

// encode makes a file's content of events.
func encode(items []item) []byte {
	content := make([]byte, crc32.Size)
	for _, it := range items {
		event, err := proto.Marshal(it.event)
		if err != nil {
			continue // it is not valid, and never was
		}
		content = binary.AppendUvarint(content, uint64(len(event)))
		content = append(content, event...)
	}
	binary.BigEndian.PutUint32(content, crc32.ChecksumIEEE(content[crc32.Size:]))
	return content
}

var errFile = errors.New("it is not what was written")

// decode reads a file's content.
func decode(content []byte) ([]item, error) {
	if len(content) < crc32.Size || binary.BigEndian.Uint32(content) != crc32.ChecksumIEEE(content[crc32.Size:]) {
		return nil, errFile
	}
	var items []item
	for rest := content[crc32.Size:]; len(rest) > 0; {
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) { //nolint:gosec // n is at most the length
			return items, errFile
		}
		e := &telemetryv1.Event{}
		if err := proto.Unmarshal(rest[n:n+int(size)], e); err != nil { //nolint:gosec // size is at most the length
			return items, err
		}
		e.Sequence = 0 // it gets another
		items = append(items, item{event: e, cost: cost(e)})
		rest = rest[n+int(size):] //nolint:gosec // size is at most the length
	}
	return items, nil
}
