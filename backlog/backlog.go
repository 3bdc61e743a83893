package backlog

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The defaults of Options.
const (
	DefaultTimeout = 250 * time.Millisecond
	DefaultRetry   = time.Second
	// DefaultMaxWaiting is some megabytes of what Portcullis keeps.
	DefaultMaxWaiting = 1 << 17
)

const (
	// writeTimeout bounds one write that nobody waits for.
	writeTimeout = 15 * time.Second
	// drainTimeout is how long Run goes on writing when it is stopped.
	drainTimeout = 2 * time.Second
)

// ErrLater says that a value is not stored yet: Run does it when the store takes something again.
var ErrLater = errors.New("it will be stored later")

// Store is where values outlive the process, once Put has returned nil.
type Store interface {
	Put(ctx context.Context, key string, value []byte) error
	// Delete removes a value. That there is none is no error.
	Delete(ctx context.Context, key string) error
}

// Options are what a Backlog needs.
type Options struct {
	// Name tells several apart in metrics and logs. Required.
	Name string
	// Store is nil where nothing is to outlive the process: every write succeeds then.
	Store Store
	// Timeout is how long Put may hold up its caller; DefaultTimeout if zero.
	Timeout time.Duration
	// Retry is how often a store that fails is tried; DefaultRetry if zero.
	Retry time.Duration
	// MaxWaiting bounds the keys that wait; DefaultMaxWaiting if zero. Beyond it the oldest
	// is given up, which is counted.
	MaxWaiting int
	// Logger and Registerer are required.
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Backlog is a store with what is still to be written to it. Its methods may be called
// from any goroutine.
type Backlog struct {
	opts   Options
	writes *prometheus.CounterVec
	// turn is held by whoever writes.
	turn chan struct{}
	// wake tells Run that there is something to do.
	wake chan struct{}

	mu sync.Mutex
	// waiting has what is to be written by key, puts and removals in about the order in which
	// they were given.
	waiting        map[string]*list.Element // of *write
	puts, removals *list.List
	// failing is set from the first write that fails to the next that does not.
	failing bool
}

// write is what is to become of a key.
type write struct {
	key     string
	value   []byte
	removal bool
}

// New makes a Backlog that retries nothing until Run.
func New(opts Options) (*Backlog, error) {
	switch {
	case opts.Name == "":
		return nil, errors.New("backlog options: Name is missing")
	case opts.Logger == nil:
		return nil, errors.New("backlog options: Logger is missing")
	case opts.Registerer == nil:
		return nil, errors.New("backlog options: Registerer is missing")
	case opts.Timeout < 0 || opts.Retry < 0 || opts.MaxWaiting < 0:
		return nil, errors.New("backlog options: Timeout, Retry and MaxWaiting must not be negative")
	}
	if opts.Timeout == 0 {
		opts.Timeout = DefaultTimeout
	}
	if opts.Retry == 0 {
		opts.Retry = DefaultRetry
	}
	if opts.MaxWaiting == 0 {
		opts.MaxWaiting = DefaultMaxWaiting
	}
	b := &Backlog{
		opts: opts, turn: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		waiting: map[string]*list.Element{}, puts: list.New(), removals: list.New(),
	}
	return b, b.register()
}

// The results of a write, as the metrics name them.
const (
	resultStored = "stored"
	resultFailed = "failed"
	// resultDropped is a value that was given up: too many waited.
	resultDropped = "dropped"
)

func (b *Backlog) register() error {
	labels := prometheus.Labels{"store": b.opts.Name}
	b.writes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "portcullis_backlog_writes_total", ConstLabels: labels,
		Help: "Writes to the store, deletions included, by result; what failed is tried again, what was dropped is not.",
	}, []string{"result"})
	for _, result := range []string{resultStored, resultFailed, resultDropped} {
		b.writes.WithLabelValues(result)
	}
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "portcullis_backlog_waiting", ConstLabels: labels,
		Help: "Values that are not stored yet: they would be lost with the process.",
	}, func() float64 { return float64(b.Len()) })
	if err := errors.Join(b.opts.Registerer.Register(b.writes), b.opts.Registerer.Register(waiting)); err != nil {
		return fmt.Errorf("backlog metrics: %w", err)
	}
	return nil
}

// Len is how many values wait to be written.
func (b *Backlog) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

// Unstored is how many values wait, removals not counted.
func (b *Backlog) Unstored() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.puts.Len()
}

// Put writes a value, and returns nil once it is stored. Otherwise the error wraps ErrLater. The
// value must not be changed any more.
func (b *Backlog) Put(ctx context.Context, key string, value []byte) error {
	if b.opts.Store == nil {
		return nil
	}
	b.note(&write{key: key, value: value})
	return b.Flush(ctx, key)
}

// Flush writes what waits for a key, and returns nil once nothing does. Otherwise the error wraps ErrLater.
func (b *Backlog) Flush(ctx context.Context, key string) error {
	if b.opts.Store == nil {
		return nil
	}
	if b.fails() {
		return fmt.Errorf("%s %q: %w, the store fails", b.opts.Name, key, ErrLater)
	}
	// A caller who is being stopped has something to store all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.opts.Timeout)
	defer cancel()
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		b.hangs()
		return fmt.Errorf("%s %q: %w, an earlier write is not over", b.opts.Name, key, ErrLater)
	}
	if err := b.write(ctx, key); err != nil {
		b.rouse()
		return fmt.Errorf("%s %q: %w: %w", b.opts.Name, key, ErrLater, err)
	}
	return nil
}

func (b *Backlog) fails() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failing
}

// PutLater has Run write a value. It must not be changed any more.
func (b *Backlog) PutLater(key string, value []byte) {
	if b.opts.Store != nil {
		b.note(&write{key: key, value: value})
		b.rouse()
	}
}

// DeleteLater has Run remove a value.
func (b *Backlog) DeleteLater(key string) {
	if b.opts.Store != nil {
		b.note(&write{key: key, removal: true})
		b.rouse()
	}
}

// note takes down what is to become of a key.
func (b *Backlog) note(w *write) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if at := b.waiting[w.key]; at != nil {
		b.drop(at)
	}
	list := b.puts
	if w.removal {
		list = b.removals
	}
	b.waiting[w.key] = list.PushBack(w)
	if len(b.waiting) > b.opts.MaxWaiting {
		b.drop(b.front())
		b.writes.WithLabelValues(resultDropped).Inc()
	}
}

// front is what is to be written first: removals make room for the rest.
func (b *Backlog) front() *list.Element {
	if at := b.removals.Front(); at != nil {
		return at
	}
	return b.puts.Front()
}

// drop takes a write off its list.
func (b *Backlog) drop(at *list.Element) {
	b.puts.Remove(at)
	b.removals.Remove(at) // It is on one of them; the other leaves it alone.
	delete(b.waiting, writeAt(at).key)
}

func writeAt(at *list.Element) *write { return at.Value.(*write) } // nothing else is on the lists

// rouse wakes Run.
func (b *Backlog) rouse() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// write writes what waits for a key, by whoever has the turn.
func (b *Backlog) write(ctx context.Context, key string) error {
	b.mu.Lock()
	at := b.waiting[key]
	if at == nil {
		b.mu.Unlock()
		return nil // somebody else has written it
	}
	w := writeAt(at)
	b.mu.Unlock()

	var err error
	if w.removal {
		err = b.opts.Store.Delete(ctx, key)
	} else {
		err = b.opts.Store.Put(ctx, key, w.value)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if errors.Is(ctx.Err(), context.Canceled) {
		return err // That says nothing about the store; it is written once more.
	}
	b.judge(err)
	switch at := b.waiting[key]; {
	case at == nil || writeAt(at) != w: // there is a newer value by now
	case err == nil:
		b.drop(at)
	default: // What the store does not take, such as the one that is too large, holds up nobody else.
		b.puts.MoveToBack(at)
		b.removals.MoveToBack(at)
	}
	return err
}

// judge takes down whether the store takes anything.
func (b *Backlog) judge(err error) {
	switch failing := err != nil; {
	case failing && !b.failing:
		b.opts.Logger.Error("the store takes nothing, what is to outlive the process waits in memory", "store", b.opts.Name, "error", err)
	case !failing && b.failing:
		b.opts.Logger.Info("the store takes something again", "store", b.opts.Name)
	}
	b.failing = err != nil
	result := resultStored
	if b.failing {
		result = resultFailed
	}
	b.writes.WithLabelValues(result).Inc()
}

// hangs takes down that a write takes so long that others need not queue behind it.
func (b *Backlog) hangs() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failing = true
	b.rouse()
}

// Run writes what waits until the context ends, and for a moment after that what is left. It
// returns nil. A Backlog runs once.
func (b *Backlog) Run(ctx context.Context) error {
	retry := time.NewTimer(b.opts.Retry)
	defer retry.Stop()
	for {
		err := b.flush(ctx)
		if ctx.Err() != nil {
			break
		}
		if err == nil {
			select {
			case <-b.wake:
			case <-ctx.Done():
			}
			continue
		}
		retry.Reset(b.opts.Retry)
		select {
		case <-retry.C:
		case <-ctx.Done():
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := b.flush(last); err != nil {
		b.opts.Logger.Error("what could not be stored is lost", "store", b.opts.Name, "values", b.Len(), "error", err)
	}
	return nil
}

// flush writes all that waits until a write fails.
func (b *Backlog) flush(ctx context.Context) error {
	for {
		key, ok := b.next()
		if !ok {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := b.one(ctx, key); err != nil {
			return err
		}
	}
}

// next is the key to be written first.
func (b *Backlog) next() (key string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.front()
	if at == nil {
		return "", false
	}
	return writeAt(at).key, true
}

// one writes what waits for a key.
func (b *Backlog) one(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return b.write(ctx, key)
}
