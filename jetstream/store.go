package jetstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Store is a directory with a NATS server in it. Its methods may be called concurrently.
type Store struct {
	options   Options
	metrics   *metrics
	directory *directory
	codec     *codec
	setAside  *Bucket
	bus       atomic.Pointer[Bus]

	housekeeping sync.WaitGroup
	stop         context.CancelFunc

	// attaching is held while an engine's streams are being attached.
	attaching sync.Mutex

	mu sync.Mutex
	// engine is nil, and cause says why, while the store is not available.
	engine *engine
	cause  error
	// changed is closed, and replaced, when engine becomes another, or the Store is closed.
	changed chan struct{}
	closed  bool
	tended  []*tended
}

// undecodable is the Bucket of what this version cannot read.
const undecodable = "undecodable"

// Open opens the directory's store, or makes one. It reads and verifies all that is stored, which takes
// about half a second per GiB.
func Open(ctx context.Context, o Options) (*Store, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("jetstream options: %w", err)
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("jetstream metrics: %w", err)
	}
	s := &Store{options: o, metrics: m, changed: make(chan struct{})}
	if err = s.open(ctx); err != nil {
		return nil, fmt.Errorf("open the store in %s: %w", o.Directory, err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) (err error) {
	if s.codec, err = newCodec(); err != nil {
		return err
	}
	if s.directory, err = openDirectory(ctx, s.options.Directory, s.options); err != nil {
		return err
	}
	if s.engine, err = s.start(ctx); err != nil {
		return errors.Join(err, s.directory.close())
	}
	s.metrics.available.Set(1)
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.housekeeping.Go(func() { s.keepHouse(background) })
	s.setAside, err = s.Bucket(ctx, BucketOptions{Name: undecodable, TTL: 7 * 24 * time.Hour, MaxBytes: 2 * maxMessage})
	if err != nil {
		return errors.Join(err, s.Close())
	}
	return nil
}

// start starts an engine on what is in the directory.
func (s *Store) start(ctx context.Context) (*engine, error) {
	if err := s.directory.clean(); err != nil {
		return nil, err
	}
	if err := s.directory.spread(); err != nil {
		return nil, fmt.Errorf("secure the streams: %w", err)
	}
	e, err := startEngine(ctx, s.options)
	if err != nil {
		return nil, errors.Join(err, s.directory.gather())
	}
	return e, nil
}

// Err is nil while the store can be written, and says otherwise why not. It recovers by itself.
func (s *Store) Err() error {
	_, err := s.current()
	return err
}

// Close stops the server inside, and lets go of the directory. Publishers and consumers
// should have stopped before; those that have not are told ErrClosed. It is called once.
// If the disk does not let it finish within some seconds, the error says so, and wraps ErrUnavailable: the
// rest then goes on until the process ends, which is what should come next.
func (s *Store) Close() error {
	s.stop()
	s.turnAway()
	closed := make(chan error, 1)
	go func() { closed <- s.close() }()
	timer := time.NewTimer(s.options.closing)
	defer timer.Stop()
	select {
	case err := <-closed:
		return err
	case <-timer.C:
		return fmt.Errorf("close the store in %s: %w: the disk did not answer within %s; what was acknowledged is there at the next start",
			s.options.Directory, ErrUnavailable, s.options.closing)
	}
}

// turnAway has everybody told ErrClosed: who waits is not to wait for the disk.
func (s *Store) turnAway() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.engine != nil {
		s.engine.end(ErrClosed)
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// close takes as long as the disk does.
func (s *Store) close() error {
	s.housekeeping.Wait()
	s.replace(nil, ErrClosed)
	return errors.Join(s.directory.gather(), s.directory.close())
}

// current is the engine to use.
func (s *Store) current() (*engine, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, ErrClosed
	case s.engine == nil:
		return nil, s.cause
	}
	return s.engine, nil
}

// await is current, once there is one.
func (s *Store) await(ctx context.Context) (*engine, error) {
	for {
		s.mu.Lock()
		changed := s.changed // Before looking: nothing is missed.
		s.mu.Unlock()
		e, cause := s.current()
		if cause == nil || errors.Is(cause, ErrClosed) {
			return e, cause
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, cause
		}
	}
}

// replace ends the engine for a cause, and puts another in its place, or none.
func (s *Store) replace(next *engine, cause error) {
	s.mu.Lock()
	last := s.engine
	s.engine, s.cause = next, cause
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	if last != nil {
		last.stop(cause)
	}
}

// replaying reports whether there are candidates from before the start that have not been delivered again.
func (s *Store) replaying() bool {
	if b := s.bus.Load(); b != nil {
		return b.replaying()
	}
	return s.directory.has(candidateStream)
}

// ours reports whether the Store looks after a stream.
func (s *Store) ours(stream string) bool {
	for _, t := range s.streams() {
		if t.stream == stream {
			return true
		}
	}
	return false
}

func (s *Store) streams() []*tended {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tended[:len(s.tended):len(s.tended)]
}
