package record

import (
	"bytes"
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/backlog"
)

// The defaults of Options.
const (
	// DefaultMaxBytes leaves a store of 64 MiB room for what it needs besides.
	DefaultMaxBytes = 48 << 20
	DefaultKeep     = 7 * 24 * time.Hour
)

const (
	// overhead is what a record takes besides its ID and its value, in memory or in the store.
	overhead = 160
	// minMaxBytes is the least bound that makes sense.
	minMaxBytes = 1 << 20
	// sweepInterval is how often old records are looked for.
	sweepInterval = time.Hour
)

// Store is where records outlive the process, once Put has returned nil. It may
// forget what was not written for as long as Options.Keep.
type Store interface {
	Put(ctx context.Context, key string, value []byte) error
	// Delete removes a value. That there is none is no error.
	Delete(ctx context.Context, key string) error
	// Range calls visit with each value, in the order in which they were written, until visit
	// returns an error, which it returns.
	Range(ctx context.Context, visit func(key string, value []byte, at time.Time) error) error
}

// Options are what a Book needs.
type Options struct {
	// Store is nil where nothing is to outlive the process.
	Store Store
	// MaxBytes bounds the records; DefaultMaxBytes if zero.
	MaxBytes int64
	// Keep is how long a record is kept after it was last written; DefaultKeep if zero.
	Keep time.Duration
	// Timeout is how long Change may wait for the store; backlog.DefaultTimeout if zero.
	Timeout time.Duration
	// Clock tells the wall time. Required.
	Clock func() time.Time
	// Logger and Registerer are required.
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (o *Options) complete() error {
	o.MaxBytes = cmp.Or(o.MaxBytes, DefaultMaxBytes)
	o.Keep = cmp.Or(o.Keep, DefaultKeep)
	switch {
	case o.Clock == nil:
		return errors.New("the Clock is missing")
	case o.Logger == nil:
		return errors.New("the Logger is missing")
	case o.Registerer == nil:
		return errors.New("the Registerer is missing")
	case o.MaxBytes < minMaxBytes:
		return fmt.Errorf("the bound MaxBytes is %d, must be at least %d", o.MaxBytes, minMaxBytes)
	case o.Keep < 0:
		return fmt.Errorf("negative Keep %s", o.Keep)
	}
	return nil
}

// Book has the records. Its methods may be called from any goroutine.
type Book struct {
	opts    Options
	codec   *codec
	backlog *backlog.Backlog
	metrics *metrics

	mu      sync.Mutex
	entries map[string]*entry
	// plain and quarantined have the IDs by when they were last written, the longest ago first.
	plain, quarantined *list.List
	size               int64
}

// entry is a record as it is stored.
type entry struct {
	value []byte
	// at is when it was last written.
	at    time.Time
	place *list.Element
	on    *list.List
}

func (e *entry) size() int64 { return int64(len(e.value)+len(idAt(e.place))) + overhead }

// New makes a Book and reads what the store has. It stores nothing later until Run.
func New(ctx context.Context, opts Options) (*Book, error) {
	if err := opts.complete(); err != nil {
		return nil, fmt.Errorf("record options: %w", err)
	}
	b := &Book{opts: opts, entries: map[string]*entry{}, plain: list.New(), quarantined: list.New()}
	var err error
	if b.codec, err = newCodec(); err != nil {
		return nil, err
	}
	writing := backlog.Options{Name: "record", Timeout: opts.Timeout, Logger: opts.Logger, Registerer: opts.Registerer}
	if opts.Store != nil {
		writing.Store = opts.Store
	}
	if b.backlog, err = backlog.New(writing); err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	if b.metrics, err = newMetrics(opts.Registerer, b); err != nil {
		return nil, fmt.Errorf("record metrics: %w", err)
	}
	if opts.Store == nil {
		return b, nil
	}
	if err = opts.Store.Range(ctx, b.load); err != nil {
		return nil, fmt.Errorf("read the records of earlier detections: %w", err)
	}
	return b, nil
}

// load takes over a record from the store.
func (b *Book) load(id string, value []byte, _ time.Time) error {
	r, err := b.codec.unmarshal(value)
	if err != nil {
		// It stays where it is: a later version may read it.
		b.metrics.undecodable.Inc()
		b.opts.Logger.Warn("record of a detection cannot be read, it may be dealt with again", "detection", id, "error", err)
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.put(id, value, len(r.Quarantines) > 0)
	return nil
}

// Known reports whether everything was done about the detection of that ID.
func (b *Book) Known(id string) bool {
	r, ok := b.Get(id)
	return ok && r.Phase() == Done
}

// Get returns the record of that ID, if there is one.
func (b *Book) Get(id string) (Record, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.get(id)
}

func (b *Book) get(id string) (Record, bool) {
	e := b.entries[id]
	if e == nil {
		return Record{}, false
	}
	r, err := b.codec.unmarshal(e.value)
	if err != nil {
		panic(err) // It was read when it was taken over, or made here.
	}
	return *r, true
}

// Change changes a record, or the empty one if there is none, and returns what it is then. It is
// stored when Change returns, if the store allows. The function is called once, and must not use the Book.
func (b *Book) Change(ctx context.Context, id string, change func(*Record)) Record {
	r := b.Note(id, change)
	// A failure is told and counted there, and what matters goes on.
	_ = b.backlog.Flush(ctx, id)
	return r
}

// Note is Change for what may be stored a little later.
func (b *Book) Note(id string, change func(*Record)) Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.note(id, change)
}

// noteKnown is Note for a record that exists.
func (b *Book) noteKnown(id string, change func(*Record)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.entries[id] != nil {
		b.note(id, change)
	}
}

func (b *Book) note(id string, change func(*Record)) Record {
	r, _ := b.get(id)
	change(&r)
	value, err := b.codec.marshal(&r)
	if err != nil {
		panic(err) // Its types are known.
	}
	if e := b.entries[id]; e == nil || !bytes.Equal(e.value, value) {
		b.put(id, value, len(r.Quarantines) > 0)
		b.backlog.PutLater(id, value) // in the order of the changes, so with the lock held
	}
	r, _ = b.get(id)
	return r
}

// put takes over a value, and makes room for it.
func (b *Book) put(id string, value []byte, quarantined bool) {
	b.remove(id)
	on := b.plain
	if quarantined {
		on = b.quarantined
	}
	// Age goes by the process' own clock: if the wall clock jumps, records must not go
	// before what the join is given again.
	e := &entry{value: value, at: b.opts.Clock(), place: on.PushBack(id), on: on}
	b.entries[id] = e
	b.size += e.size()
	for b.size > b.opts.MaxBytes {
		b.forget(b.oldest(e.place), forgottenForRoom)
	}
}

// oldest is the record to be forgotten first, which is not the given one.
func (b *Book) oldest(but *list.Element) *list.Element {
	for _, l := range []*list.List{b.plain, b.quarantined} {
		if at := l.Front(); at != nil && at != but {
			return at
		}
	}
	return but
}

func (b *Book) remove(id string) {
	e := b.entries[id]
	if e == nil {
		return
	}
	b.size -= e.size()
	e.on.Remove(e.place)
	delete(b.entries, id)
}

func (b *Book) forget(place *list.Element, why string) {
	id := idAt(place)
	b.remove(id)
	b.backlog.DeleteLater(id)
	b.metrics.forgotten.WithLabelValues(why).Inc()
}

// Run stores what could not be stored at once, and forgets what is old, until the context ends.
// It returns nil. A Book runs once.
func (b *Book) Run(ctx context.Context) error {
	var storing sync.WaitGroup
	storing.Go(func() { _ = b.backlog.Run(ctx) }) // it returns nil
	defer storing.Wait()
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			b.sweep()
		case <-ctx.Done():
			return nil
		}
	}
}

// sweep forgets what was written too long ago.
func (b *Book) sweep() {
	b.mu.Lock()
	defer b.mu.Unlock()
	end := b.opts.Clock().Add(-b.opts.Keep)
	for _, l := range []*list.List{b.plain, b.quarantined} {
		for l.Len() > 0 {
			place := l.Front()
			if !b.entries[idAt(place)].at.Before(end) {
				break
			}
			b.forget(place, forgottenOld)
		}
	}
}

// Len is how many records there are.
func (b *Book) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.entries)
}

// Fate says what became of the quarantine of that name that the detection led to: whether
// it was written to the cluster, and whether it has ended since.
func (b *Book) Fate(detection, object string) (written, ended bool) {
	r, _ := b.Get(detection)
	q := r.quarantine(object)
	return q != nil && q.Written, q != nil && q.Ended != nil
}

// Written notes that the quarantine that the detections led to is in the cluster. Of
// detections that are not recorded nothing is noted.
func (b *Book) Written(object string, detections ...string) {
	for _, id := range detections {
		b.noteKnown(id, func(r *Record) {
			if q := r.quarantine(object); q != nil {
				q.Written = true
			}
		})
	}
}

// Ended notes that the quarantine that the detections led to is over, by whom if that is known. What is
// noted first stays.
func (b *Book) Ended(object, why, by string, detections ...string) {
	at := b.opts.Clock()
	for _, id := range detections {
		b.Note(id, func(r *Record) {
			if q := r.led(object); q != nil && q.Ended == nil {
				q.Ended = &End{Why: why, By: by, At: at}
			}
		})
	}
}

// EndedBy notes who has released the quarantine that the detections led to, and when, where it was noted to be
// over, as released, by nobody known.
func (b *Book) EndedBy(object, by string, at time.Time, detections ...string) {
	for _, id := range detections {
		b.noteKnown(id, func(r *Record) {
			if q := r.quarantine(object); q != nil && q.Ended != nil && q.Ended.By == "" {
				end := *q.Ended
				end.By, end.At = by, at
				q.Ended = &end
			}
		})
	}
}

// led is the quarantine of that object. If nothing is known of the detection there
// is one from now on; what is recorded of it is not extended by others.
func (r *Record) led(object string) *Quarantine {
	if r.Begun.IsZero() && len(r.Quarantines) == 0 {
		r.Quarantines = []Quarantine{{Object: object}}
	}
	return r.quarantine(object)
}

// Standing calls visit for each quarantine that was written and has not ended as far as is known, with
// the detection that led to it and when it expires. The function may use the Book.
func (b *Book) Standing(visit func(detection, object string, expires time.Time)) {
	for _, id := range b.withQuarantines() {
		r, _ := b.Get(id)
		for _, q := range r.Quarantines {
			if q.Written && q.Ended == nil {
				visit(id, q.Object, q.Expires)
			}
		}
	}
}

// Since calls visit for each record of a detection that was first recorded at that time or later and led to
// quarantines. The function may use the Book.
func (b *Book) Since(begun time.Time, visit func(id string, r Record)) {
	for _, id := range b.withQuarantines() {
		if r, _ := b.Get(id); !r.Begun.IsZero() && !r.Begun.Before(begun) {
			visit(id, r)
		}
	}
}

func (b *Book) withQuarantines() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	ids := make([]string, 0, b.quarantined.Len())
	for at := b.quarantined.Front(); at != nil; at = at.Next() {
		ids = append(ids, idAt(at))
	}
	return ids
}

func idAt(place *list.Element) string { return place.Value.(string) } // nothing else is on the lists
