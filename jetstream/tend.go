package jetstream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"
)

// tended is a stream that the Store looks after: it sees to it that it exists in
// every engine, and lets go of what is old enough.
type tended struct {
	stream string
	// create makes the stream in an engine, or finds it there.
	create func(ctx context.Context, e *engine) error
	// settled is the last sequence that may go if it is old enough.
	settled func() uint64
	// measured, if not nil, is told what the stream holds.
	measured func(state natsjs.StreamState, now time.Time)
	age      age
}

// newTended makes one whose messages are kept for a time.
func newTended(stream string, keep time.Duration, create func(context.Context, *engine) error, settled func() uint64) *tended {
	t := &tended{stream: stream, create: create, settled: settled}
	t.age.keepFor(keep)
	return t
}

// adopt makes a stream and looks after it from now on.
func (s *Store) adopt(ctx context.Context, t *tended) error {
	s.attaching.Lock() // Whoever revives the engine meanwhile would not know of it.
	defer s.attaching.Unlock()
	e, err := s.current()
	if err != nil {
		return err
	}
	ctx, cancel := e.within(ctx, s.options.Timeout)
	defer cancel()
	if s.ours(t.stream) {
		return errors.New("it is open already")
	}
	if err = s.attach(ctx, e, t); err != nil {
		return err
	}
	if err = t.age.start(ctx, e, t.stream, s.options.Clock()); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.stream == candidateStream {
		// First: what is recorded about candidates goes after them.
		s.tended = slices.Insert(slices.Clone(s.tended), 0, t)
		return nil
	}
	s.tended = append(s.tended, t)
	return nil
}

// streamOffline is the server's error code for a stream that a later version has written.
const streamOffline = 10194

// attach creates the stream in an engine, or finds it there.
func (s *Store) attach(ctx context.Context, e *engine, t *tended) error {
	_, err := e.js.Stream(ctx, t.stream)
	var refused *natsjs.APIError
	switch {
	case err == nil:
		err = t.create(ctx, e)
	case errors.Is(err, natsjs.ErrStreamNotFound):
		err = s.begin(ctx, e, t)
	case errors.As(err, &refused) && refused.ErrorCode == streamOffline:
		err = fmt.Errorf("%w: %s; start that version again, or move %s away and lose what is in it",
			ErrNewer, refused.Description, s.directory.path)
	default:
		err = explain(ctx, err)
	}
	if err != nil {
		return err
	}
	if err = s.directory.release(t.stream); err != nil {
		return err
	}
	return s.examine(ctx, e, t)
}

// maxHoles is how many holes in a stream are listed to learn what it has lost: the server tells both or neither.
const maxHoles = 100_000

// examine counts what of a stream could not be read when it was loaded.
func (s *Store) examine(ctx context.Context, e *engine, t *tended) error {
	stream, err := e.js.Stream(ctx, t.stream)
	if err != nil {
		return explain(ctx, err)
	}
	info := stream.CachedInfo()
	if info.State.NumDeleted > maxHoles {
		return nil
	}
	if info, err = stream.Info(ctx, natsjs.WithDeletedDetails(true)); err != nil {
		return explain(ctx, err)
	}
	if lost := info.State.Lost; lost != nil && lost.Bytes > 0 {
		s.metrics.damaged.WithLabelValues(t.stream).Add(float64(lost.Bytes))
		s.options.Logger.Warn("parts of a stream cannot be read: damaged, or cut off when the process ended",
			"stream", t.stream, "bytes", lost.Bytes)
	}
	return nil
}

// begin creates a stream that the engine does not have. If it is on the disk nevertheless, the engine could not
// load it, and it is mended: what describes it can be written anew. Nothing of it is lost if that does not help.
func (s *Store) begin(ctx context.Context, e *engine, t *tended) error {
	if !s.directory.has(t.stream) {
		return t.create(ctx, e)
	}
	err := s.directory.takeBack(t.stream)
	for _, name := range []string{"meta.inf", "meta.sum"} {
		if gone := os.Remove(filepath.Join(s.directory.stream(t.stream), name)); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	if err == nil {
		err = t.create(ctx, e)
	}
	if err != nil {
		back := s.directory.takeBack(t.stream)
		if back == nil {
			back = s.directory.release(t.stream)
		}
		return fmt.Errorf("stream %s cannot be loaded, it is left as it is; if this lasts, move %s away and lose what is in it: %w",
			t.stream, s.directory.stream(t.stream), errors.Join(err, back))
	}
	s.metrics.mended.WithLabelValues(t.stream).Inc()
	s.options.Logger.Warn("stream's description was damaged and has been written anew", "stream", t.stream)
	return nil
}

// keepHouse looks after the engine and the streams until the context ends.
func (s *Store) keepHouse(ctx context.Context) {
	ticker := time.NewTicker(s.options.tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		e, err := s.current()
		if errors.Is(err, ErrClosed) {
			return
		}
		if err != nil {
			s.restart(ctx)
			continue
		}
		if err = e.health(s.ours); err != nil {
			s.fail(err)
			s.restart(ctx)
			continue
		}
		s.tendAll(ctx, e, time.Now())
	}
}

// tendAll looks after all streams, each in a time of its own: one that fails holds up no other. But while
// candidates cannot be let go, neither are records: those say what became of them.
func (s *Store) tendAll(ctx context.Context, e *engine, now time.Time) {
	letGo := true
	for _, t := range s.streams() {
		limited, cancel := e.within(ctx, s.options.Timeout)
		err := s.tend(limited, e, t, now, letGo)
		if err != nil {
			s.options.Logger.Warn("stream cannot be looked after", "stream", t.stream, "error", explain(limited, err))
			letGo = letGo && t.stream != candidateStream
		}
		cancel()
		if ctx.Err() != nil || e.life.Err() != nil {
			return
		}
	}
}

// fail gives up an engine that cannot write any more.
func (s *Store) fail(problem error) {
	s.metrics.available.Set(0)
	s.metrics.failures.Inc()
	s.options.Logger.Error("the store cannot be written, nothing is accepted until it can be", "error", problem)
	s.replace(nil, fmt.Errorf("%w: %w", ErrUnavailable, problem))
}

// restart starts another engine, if the directory can be written again.
func (s *Store) restart(ctx context.Context) {
	err := s.directory.probe()
	if err == nil {
		err = s.revive(ctx)
	}
	if err != nil {
		s.options.Logger.Debug("the store still cannot be written", "error", err)
		return
	}
	s.metrics.available.Set(1)
	s.options.Logger.Info("the store can be written again")
}

func (s *Store) revive(ctx context.Context) error {
	s.attaching.Lock()
	defer s.attaching.Unlock()
	e, err := s.start(ctx)
	if err != nil {
		return err
	}
	limited, cancel := e.within(ctx, s.options.Timeout)
	defer cancel()
	for _, t := range s.streams() {
		if err = errors.Join(s.attach(limited, e, t), t.age.resume(limited, e, t.stream)); err != nil {
			e.stop(err)
			return err
		}
	}
	s.replace(e, nil)
	return nil
}

// tend lets go of what is old in a stream, if it may, and measures what is left.
func (s *Store) tend(ctx context.Context, e *engine, t *tended, now time.Time, letGo bool) error {
	stream, err := e.js.Stream(ctx, t.stream)
	if err != nil {
		return err
	}
	info := stream.CachedInfo()
	until := min(t.age.let(info.State.LastSeq, now), t.settled())
	if letGo && until >= info.State.FirstSeq {
		if err = stream.Purge(ctx, natsjs.WithPurgeSequence(until+1)); err != nil {
			return err
		}
		if info, err = stream.Info(ctx); err != nil {
			return err
		}
	}
	s.metrics.bytes.WithLabelValues(t.stream).Set(float64(info.State.Bytes))
	s.metrics.messages.WithLabelValues(t.stream).Set(float64(info.State.Msgs))
	if t.measured != nil {
		t.measured(info.State, now)
	}
	return nil
}

// fitting is the bound to give a stream: less than it holds would push out what is there.
func (s *Store) fitting(ctx context.Context, e *engine, name string, bound int64) int64 {
	stream, err := e.js.Stream(ctx, name)
	if err != nil {
		return bound // There is none yet.
	}
	info := stream.CachedInfo()
	if info.State.Bytes <= uint64(bound) { //nolint:gosec // it is positive
		return bound
	}
	s.options.Logger.Warn("stream holds more than its new bound, which applies from the first start at which it fits",
		"stream", name, "holds", info.State.Bytes, "bound", bound, "applies", info.Config.MaxBytes)
	return info.Config.MaxBytes
}

// created explains why a stream could not be made.
func (s *Store) created(ctx context.Context, stream string, err error) error {
	var refused *natsjs.APIError
	if !errors.As(err, &refused) {
		return explain(ctx, err)
	}
	if strings.Contains(refused.Description, "insufficient storage") {
		return fmt.Errorf("the bound of %s is more than is left of the store's %d bytes: raise Options.MaxBytes, or lower the bounds of its streams",
			stream, s.options.MaxBytes)
	}
	return fmt.Errorf("make stream %s: %w", stream, refused)
}
