package auditsink

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// DefaultMaxRejectBytes is how much disk Rejects use where the options do not say.
const DefaultMaxRejectBytes = 64 << 20

// maxRejectFiles bounds the number of files, which small ones could exhaust
// long before the bytes.
const maxRejectFiles = 4096

// WholeBody is the Index of a body that was no list of events, or was too large to be read.
const WholeBody = -1

const rejectSuffix = ".jsonl"

// RejectsOptions are Rejects' dependencies and settings.
type RejectsOptions struct {
	// Dir is the folder to keep files in. It is made if it is missing, readable
	// to its owner only: audit events may hold what requests held.
	Dir string
	// MaxBytes bounds the files together; zero means the default.
	MaxBytes int64
	// Told, if not nil, is told of each delivery that had events which could not be read, kept or
	// not; events is 0 where nobody can count them, as in a body that is no list. It must not block.
	Told       func(from Delivery, events int)
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Rejects keeps events that could not be read in a folder, for people to look
// at: one file per delivery, one JSON object (a RejectedEvent) per line. When the
// folder is full the oldest files go.
type Rejects struct {
	opts    RejectsOptions
	bytes   prometheus.Gauge
	evicted prometheus.Counter

	mu     sync.Mutex
	files  []rejectFile // oldest first
	size   int64
	next   uint64
	newest RejectedEvent // without its Event
}

type rejectFile struct {
	name  string
	size  int64
	count int
}

// RejectedEvent is a line of a file of Rejects.
type RejectedEvent struct {
	APIServer string    `json:"apiServer"`
	Received  time.Time `json:"received"`
	// Index is the event's place in the delivered list, or WholeBody.
	Index  int    `json:"index"`
	Reason string `json:"reason"`
	// Event is the item as it was delivered; of a whole body a string with its bytes in base64.
	Event json.RawMessage `json:"event"`
}

// OpenRejects opens a folder, with what an earlier process left in it.
func OpenRejects(opts RejectsOptions) (*Rejects, error) {
	switch {
	case opts.Dir == "":
		return nil, errors.New("auditsink: RejectsOptions.Dir is empty")
	case opts.MaxBytes < 0:
		return nil, errors.New("auditsink: RejectsOptions.MaxBytes must not be negative")
	case opts.Logger == nil:
		return nil, errors.New("auditsink: RejectsOptions.Logger is nil")
	case opts.Registerer == nil:
		return nil, errors.New("auditsink: RejectsOptions.Registerer is nil")
	}
	setDefault(&opts.MaxBytes, DefaultMaxRejectBytes)
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for rejected events: %w", err)
	}
	auto := promauto.With(opts.Registerer)
	r := &Rejects{
		opts: opts,
		bytes: auto.NewGauge(prometheus.GaugeOpts{
			Name: "portcullis_auditsink_rejects_bytes",
			Help: "Size of the events that are kept aside because they could not be read.",
		}),
		evicted: auto.NewCounter(prometheus.CounterOpts{
			Name: "portcullis_auditsink_rejects_evicted_total",
			Help: "Events that were kept aside and had to make room for newer ones.",
		}),
	}
	if err := r.load(); err != nil {
		return nil, fmt.Errorf("read the folder for rejected events: %w", err)
	}
	r.makeRoom(0)
	r.newest = r.readNewest()
	return r, nil
}

func (r *Rejects) load() error {
	entries, err := os.ReadDir(r.opts.Dir) // sorted by name, and so by age
	if err != nil {
		return err
	}
	for _, entry := range entries {
		number, count, ok := parseRejectName(entry.Name())
		if !ok {
			continue // not ours
		}
		info, err := entry.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // somebody tidies up
		}
		if err != nil {
			return err
		}
		r.files = append(r.files, rejectFile{name: entry.Name(), size: info.Size(), count: count})
		r.size += info.Size()
		r.next = max(r.next, number+1)
	}
	return nil
}

// Keep writes rejected events to a file of their own, and returns how many it
// kept: fewer than all where the disk refuses or the folder's limit is too small
// for them.
func (r *Rejects) Keep(from Delivery, rejected []Rejected) (kept int, err error) {
	r.note(from, rejected)
	text, kept, err := r.encode(from, rejected)
	if err != nil || kept == 0 {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.makeRoom(int64(len(text)))
	file := rejectFile{name: rejectName(r.next, kept), size: int64(len(text)), count: kept}
	r.next++
	path := filepath.Join(r.opts.Dir, file.name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		_ = os.Remove(path) // half a file helps nobody, and takes room on a full disk
		return 0, fmt.Errorf("keep rejected events: %w", err)
	}
	r.files = append(r.files, file)
	r.size += file.size
	r.bytes.Set(float64(r.size))
	return kept, nil
}

// note remembers the newest event, and tells of all.
func (r *Rejects) note(from Delivery, rejected []Rejected) {
	if len(rejected) == 0 {
		return
	}
	last := rejected[len(rejected)-1]
	r.mu.Lock()
	r.newest = RejectedEvent{APIServer: from.APIServer, Received: from.Received, Index: last.Index, Reason: last.Reason.Error()}
	r.mu.Unlock()
	if r.opts.Told == nil {
		return
	}
	events := len(rejected)
	if last.Index == WholeBody {
		events = 0
	}
	r.opts.Told(from, events)
}

// RejectsStatus is what Rejects have.
type RejectsStatus struct {
	// Events is how many are kept.
	Events int
	// Newest is the one that came last, kept or not, without the event itself. It is zero if there was none.
	Newest RejectedEvent
}

// Status returns what is kept, for people to be told.
func (r *Rejects) Status() RejectsStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := RejectsStatus{Newest: r.newest}
	for _, file := range r.files {
		s.Events += file.count
	}
	return s
}

// readNewest reads what an earlier process kept last. It returns the zero RejectedEvent if that cannot be read.
func (r *Rejects) readNewest() (newest RejectedEvent) {
	if len(r.files) == 0 {
		return newest
	}
	file, err := os.Open(filepath.Join(r.opts.Dir, r.files[len(r.files)-1].name))
	if err != nil {
		return RejectedEvent{}
	}
	defer file.Close()
	// What is told of an event stands in front of it, and is short; the event is not.
	text := make([]byte, 8<<10)
	n, _ := io.ReadFull(file, text)
	head, _, found := bytes.Cut(text[:n], []byte(`,"event":`))
	if !found || json.Unmarshal(append(head, '}'), &newest) != nil {
		return RejectedEvent{}
	}
	return newest
}

func (r *Rejects) encode(from Delivery, rejected []Rejected) ([]byte, int, error) {
	var text bytes.Buffer
	kept := 0
	for _, item := range rejected {
		line, err := json.Marshal(RejectedEvent{
			APIServer: from.APIServer, Received: from.Received,
			Index: item.Index, Reason: item.Reason.Error(), Event: item.Raw,
		})
		if err != nil {
			return nil, 0, fmt.Errorf("encode rejected event %d: %w", item.Index, err)
		}
		if int64(text.Len()+len(line)+1) > r.opts.MaxBytes {
			continue // a smaller one may still fit
		}
		text.Write(line)
		text.WriteByte('\n')
		kept++
	}
	return text.Bytes(), kept, nil
}

// makeRoom removes the oldest files until there is room for one of that size.
func (r *Rejects) makeRoom(size int64) {
	gone := 0
	for ; gone < len(r.files) && (r.size+size > r.opts.MaxBytes || len(r.files)-gone >= maxRejectFiles); gone++ {
		file := r.files[gone]
		err := os.Remove(filepath.Join(r.opts.Dir, file.name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			r.opts.Logger.Error("rejected events could not be removed", "file", file.name, "error", err)
		}
		r.size -= file.size
		r.evicted.Add(float64(file.count))
	}
	r.files = slices.Delete(r.files, 0, gone)
	r.bytes.Set(float64(r.size))
}

func rejectName(number uint64, count int) string {
	return fmt.Sprintf("%020d-%d%s", number, count, rejectSuffix)
}

func parseRejectName(name string) (number uint64, count int, ok bool) {
	if !strings.HasSuffix(name, rejectSuffix) {
		return 0, 0, false
	}
	_, err := fmt.Sscanf(name, "%020d-%d"+rejectSuffix, &number, &count)
	return number, count, err == nil && rejectName(number, count) == name
}
