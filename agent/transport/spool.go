package transport

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"google.golang.org/protobuf/types/known/timestamppb"

	telemetryv1 "github.com/portcullis-dev/portcullis/api/telemetry/v1"
)

// SpoolOptions of NewSpool. Zeros mean the defaults.
type SpoolOptions struct {
	// MaxBytes bounds the memory of all events that the server has not
	// acknowledged, by estimate. Default 16 MiB.
	MaxBytes int
	// BatchBytes and BatchEvents bound one batch, by estimate of what is sent. Defaults 28 KiB and 64: gRPC takes
	// and clears a whole MiB for a message above 32 KiB, at both ends. A
	// single event is sent whatever its size; the agent makes none above 64 KiB.
	BatchBytes, BatchEvents int
	// Window is how many batches may wait for their acknowledgement. Default 256.
	Window int
	// SessionID is that of the greeting. Required with Directory: what was sent and not acknowledged is
	// named by it when another process sends it again.
	SessionID string
	// Directory takes what memory has no room for, if it is set, and what is left
	// as the agent stops. It must exist and be the spool's own: argv may hold
	// secrets. What an earlier spool left there is sent first.
	Directory string
	// DirectoryBytes bounds the files in Directory; the oldest are dropped
	// beyond it. Default 256 MiB.
	DirectoryBytes int
	// Logger is told of files that cannot be written or read. Required with Directory.
	Logger *slog.Logger
}

// Spool holds what the server does not have yet. It is safe for concurrent use.
type Spool struct {
	opts  SpoolOptions
	ready chan struct{} // holds a token when there may be something to send

	mu sync.Mutex
	// Without a number, the oldest first: those in memory, those in files, and
	// those in memory that are to become files. Without a directory there are none but the first.
	pending []item
	disk    *disk
	tail    []item

	tailSize int
	flight   []batch
	size     int
	dropped  uint64
	pushed   uint64
	batches  uint64 // numbers given
	events   uint64
	acked    uint64
	closed   bool
}

type item struct {
	event *telemetryv1.Event
	cost  int
	// place counts events from 1 as they were pushed. It only grows from the oldest to the youngest;
	// those of a file have the first one's, which is 0 if an earlier spool wrote it.
	place uint64
}

type batch struct {
	message *telemetryv1.Batch
	cost    int
}

// NewSpool makes an empty spool.
func NewSpool(opts SpoolOptions) (*Spool, error) {
	for _, o := range []struct {
		name  string
		value *int
		zero  int
	}{
		{"MaxBytes", &opts.MaxBytes, 16 << 20},
		{"BatchBytes", &opts.BatchBytes, 28 << 10},
		{"BatchEvents", &opts.BatchEvents, 64},
		{"Window", &opts.Window, 256},
		{"DirectoryBytes", &opts.DirectoryBytes, 256 << 20},
	} {
		if *o.value < 0 {
			return nil, fmt.Errorf("options: %s is %d", o.name, *o.value)
		}
		if *o.value == 0 {
			*o.value = o.zero
		}
	}
	s := &Spool{opts: opts, ready: make(chan struct{}, 1)}
	if opts.Directory == "" {
		return s, nil
	}
	if opts.Logger == nil || opts.SessionID == "" {
		return nil, errors.New("options: Logger and SessionID are required with Directory")
	}
	var err error
	if s.disk, err = openDisk(opts.Directory, int64(opts.DirectoryBytes)); err != nil {
		return nil, err
	}
	s.signal()
	return s, nil
}

// What an event's structures take beside its strings: in memory, and as sent.
const (
	eventOverhead = 1024
	sentOverhead  = 192
)

// size estimates what is sent of an event.
func (i item) size() int { return i.cost - eventOverhead + sentOverhead }

// cost estimates an event's memory: every argument has a header beside its bytes.
func cost(e *telemetryv1.Event) int {
	p := e.GetProcess()
	parent := p.GetParent()
	n := eventOverhead + len(e.GetContainer().GetId()) + len(e.GetContainer().GetPodUid()) +
		len(p.GetEntityId()) + len(p.GetName()) + len(p.GetExecutable()) + len(p.GetWorkingDirectory()) +
		len(parent.GetEntityId()) + len(parent.GetName()) + len(parent.GetExecutable()) + len(p.GetEntryLeader().GetEntityId()) +
		len(e.GetOpen().GetPath()) + len(e.GetOpen().GetResolvedPath()) + len(e.GetFirst().GetSessionId())
	for _, args := range [...][]string{p.GetArgs(), parent.GetArgs()} {
		for _, arg := range args {
			n += 16 + len(arg)
		}
	}
	return n
}

// Push takes over an event. It never blocks.
func (s *Spool) Push(e *telemetryv1.Event) {
	c := cost(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.dropped++
		return
	}
	s.size += c
	s.pushed++
	it := item{e, c, s.pushed}
	if s.spilling() {
		s.tail = append(s.tail, it)
		s.tailSize += c
		if s.tailSize >= s.chunk() {
			s.disk.signal()
		}
	} else {
		s.pending = append(s.pending, it)
	}
	s.makeRoom()
	s.signal()
}

// Close says that nothing more comes. What is there can still be sent.
func (s *Spool) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.signal()
}

func (s *Spool) signal() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// SpoolStats is a spool's state.
type SpoolStats struct {
	// Pending events have not been sent, Flight batches not been acknowledged.
	Pending, Flight int
	// Bytes is the estimate of what both take.
	Bytes int
	// Files and FileEvents are what the directory holds.
	Files, FileEvents int
	// Dropped counts events that were never sent, since the start.
	Dropped uint64
	// Sent counts batches and Events the events in them, Acked the batches that
	// the server has taken over. A batch that is sent again counts once.
	Sent, Events, Acked uint64
}

// Stats returns the spool's state.
func (s *Spool) Stats() SpoolStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	files, events := s.disk.stats()
	return SpoolStats{
		Files: files, FileEvents: events,
		Pending: len(s.pending) + len(s.tail), Flight: len(s.flight), Bytes: s.size,
		Dropped: s.dropped, Sent: s.batches, Events: s.events, Acked: s.acked,
	}
}

// next makes a batch of pending events and gives it its number. It returns nil
// if there is nothing to send or the window is full; with empty set, a batch
// is made even of no events.
func (s *Spool) next(empty bool) *telemetryv1.Batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flight) >= s.opts.Window || len(s.pending) == 0 && !empty {
		return nil
	}
	b := batch{message: &telemetryv1.Batch{}}
	size := 0
	for len(s.pending) > 0 && len(b.message.Events) < s.opts.BatchEvents {
		it := s.pending[0]
		if len(b.message.Events) > 0 && size+it.size() > s.opts.BatchBytes {
			break
		}
		size += it.size()
		s.pending[0] = item{}
		s.pending = s.pending[1:]
		s.events++
		it.event.Sequence = s.events
		b.message.Events = append(b.message.Events, it.event)
		b.cost += it.cost
	}
	s.batches++
	b.message.Sequence = s.batches
	s.flight = append(s.flight, b)
	return b.message
}

// take is the next batch, of what is in files too.
func (s *Spool) take() *telemetryv1.Batch {
	for {
		if b := s.next(false); b != nil || !s.refill() {
			return b
		}
	}
}

// unacknowledged returns the batches to send again on a new stream.
func (s *Spool) unacknowledged() []*telemetryv1.Batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	batches := make([]*telemetryv1.Batch, 0, len(s.flight))
	for _, b := range s.flight {
		batches = append(batches, b.message)
	}
	return batches
}

var errAck = errors.New("the server acknowledged a batch that was never sent")

// acknowledge forgets all batches up to sequence.
func (s *Spool) acknowledge(sequence uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sequence > s.batches {
		return fmt.Errorf("%w: %d, the last was %d", errAck, sequence, s.batches)
	}
	for len(s.flight) > 0 && s.flight[0].message.GetSequence() <= sequence {
		s.size -= s.flight[0].cost
		s.flight[0] = batch{}
		s.flight = s.flight[1:]
		s.acked++
	}
	s.signal()
	return nil
}

// place is that of the youngest event.
func (s *Spool) place() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pushed
}

// sentUpTo says whether all events up to a place were sent, or dropped. The one who sends may ask.
func (s *Spool) sentUpTo(place uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.pending) > 0:
		return s.pending[0].place > place
	case !s.disk.empty():
		return s.disk.oldest() > place
	case len(s.tail) > 0:
		return s.tail[0].place > place
	}
	return true
}

// inFlight is how many batches wait for their acknowledgement, and drained
// whether the spool is closed and the server has all of it.
func (s *Spool) inFlight() (n int, drained bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.flight), s.closed && len(s.flight) == 0 && len(s.pending) == 0 && len(s.tail) == 0 && s.disk.empty()
}

// full says whether the pending events fill a batch.
func (s *Spool) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending) >= s.opts.BatchEvents
}

// stamp writes what is true as a batch is handed to the stream.
func stamp(b *telemetryv1.Batch, lost *telemetryv1.Lost, now *timestamppb.Timestamp) {
	b.Lost, b.SentAt = lost, now
}
