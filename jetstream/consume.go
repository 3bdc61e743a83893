package jetstream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/portcullis-dev/portcullis/bus"
)

// position is where the consumer is: the next message, and how many of its candidates
// have been handled already.
type position struct {
	sequence uint64
	done     int
	// failed is set if the handler has returned an error for the next candidate.
	failed bool
}

// Consume implements bus.Bus. The first one of a process begins with everything that is stored
// (see Replayed), a later one where the last has stopped. Only one may run at a time: another gets
// bus.ErrConsuming. What is left when the time for draining is over is told as bus.ErrLeft, and delivered
// after the next start.
func (b *Bus) Consume(ctx context.Context, handle bus.Handler) error {
	if !b.consumer.TryLock() {
		return bus.ErrConsuming
	}
	defer b.consumer.Unlock()
	live, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	defer context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(b.options.Drain, end)
		context.AfterFunc(live, func() { timer.Stop() })
	})()
	c := &consumption{Bus: b, handle: handle, ctx: ctx, live: live}
	return b.left(ctx, c.run()) //nolint:contextcheck // both of its contexts come from this one
}

// left adds to a Consume's error what it has left, if it was to stop.
func (b *Bus) left(ctx context.Context, err error) error {
	stored, handled := b.stored.Load(), b.handled.Load()
	if ctx.Err() == nil || stored <= handled {
		return err
	}
	b.store.metrics.left.Add(float64(stored - handled))
	return errors.Join(err, fmt.Errorf("%w: %d messages, to be delivered after the next start", bus.ErrLeft, stored-handled))
}

// stall is how long a consumer that has more to come may hear nothing before it looks whether
// that is so, patience how often it looks while something is on its way. A machine can be slow.
const (
	stall    = 250 * time.Millisecond
	patience = 40
)

// attempts is how many readings in a row must skip a message until it counts as lost.
const attempts = 3

// What ends a reading, but not the Consume, and what ends both.
var (
	errStalled  = errors.New("nothing comes although there is more")
	errSkipped  = errors.New("a message was skipped")
	errFinished = errors.New("finished")
)

// handlerError is an error of the handler: it ends Consume.
type handlerError struct{ error }

// consumption is one Consume.
type consumption struct {
	*Bus
	handle bus.Handler
	// ctx ends when it should stop, live when it must.
	ctx, live context.Context

	// replayTo is the last sequence of what is delivered again after a start.
	replayTo uint64
	started  time.Time
	// stopAt is the last sequence to deliver once it is stopping.
	stopping bool
	stopAt   uint64
	// quiets is how often in a row nothing came while something was on its way.
	quiets int
	// missing is a sequence that readings have skipped, skips how many.
	missing uint64
	skips   int
}

// run delivers until it is told to stop, or the handler fails. Engines and readers may come
// and go meanwhile.
func (c *consumption) run() error {
	for {
		e, err := c.store.await(c.ctx)
		if err != nil {
			return err
		}
		if err = c.begin(e); err == nil {
			err = c.deliver(e)
		}
		var failed handlerError
		switch {
		case errors.As(err, &failed):
			return failed.error
		case errors.Is(err, errFinished):
			return nil
		case c.live.Err() != nil:
			return nil //nolint:nilerr // It is the end of its time that made it fail.
		case errors.Is(err, errSkipped), errors.Is(err, errStalled):
		case e.life.Err() == nil:
			c.store.options.Logger.Warn("reading candidates is begun anew", "error", err)
			c.pause()
		}
	}
}

// pause keeps a reading that fails at once from being tried without end.
func (c *consumption) pause() {
	select {
	case <-time.After(stall):
	case <-c.live.Done():
	}
}

// begin finds out where an engine's stream begins and ends.
func (c *consumption) begin(e *engine) error {
	ctx, cancel := e.within(c.live, c.store.options.Timeout)
	defer cancel()
	stream, err := e.js.Stream(ctx, candidateStream)
	if err != nil {
		return explain(ctx, err)
	}
	state := stream.CachedInfo().State
	// Damage can have taken the end of the stream: sequences that were used are used again.
	c.position.sequence = min(c.position.sequence, state.LastSeq+1)
	if c.position.sequence == 0 {
		c.position.sequence = max(state.FirstSeq, 1)
		raise(&c.handled, c.position.sequence-1)
		c.progress.move()
	}
	if c.position.failed {
		c.store.metrics.redelivered.Inc()
		c.position.failed = false
	}
	if c.replaying() && c.started.IsZero() {
		c.replayTo, c.started = state.LastSeq, time.Now()
		if state.FirstSeq > 1 && state.Msgs > 0 {
			c.horizon.Store(state.FirstTime.UnixNano())
		}
		c.store.options.Logger.Info("replay begins", "messages", state.Msgs, "bytes", state.Bytes)
	}
	c.replayTo, c.stopAt = min(c.replayTo, state.LastSeq), min(c.stopAt, state.LastSeq)
	return nil
}

func (b *Bus) replaying() bool {
	select {
	case <-b.replayed:
		return false
	default:
		return true
	}
}

// deliver reads from where the consumer is, and hands what it reads to the handler.
func (c *consumption) deliver(e *engine) error {
	ctx, cancel := e.within(c.live, c.store.options.Timeout)
	r, err := e.read(ctx, candidateStream, c.position.sequence, c.decode)
	cancel()
	if err != nil {
		return err
	}
	defer r.stop()
	timer := time.NewTimer(stall)
	defer timer.Stop()
	for !c.reached() {
		timer.Reset(stall)
		if err := c.next(e, r, timer.C); err != nil {
			return err
		}
	}
	return errFinished
}

func (c *consumption) decode(d *delivery) {
	d.candidates, d.problem = c.store.codec.unmarshal(d.message.Data())
}

// reached notes the end of the replay, and reports that of everything.
func (c *consumption) reached() bool {
	if c.replaying() && c.position.sequence > c.replayTo {
		close(c.replayed)
		c.store.options.Logger.Info("replay is over", "took", time.Since(c.started))
	}
	return c.stopping && c.position.sequence > c.stopAt
}

// next waits for the one thing that happens next.
func (c *consumption) next(e *engine, r *reader, quiet <-chan time.Time) error {
	done := c.ctx.Done()
	if c.stopping {
		done = nil
	}
	if !c.stopping && !c.replaying() {
		quiet = nil // There need not be more.
	}
	select {
	case d := <-r.deliveries:
		c.quiets = 0
		return c.take(d)
	case <-done:
		c.stopping, c.stopAt = true, c.stored.Load()
	case <-c.live.Done():
		return errFinished
	case err := <-r.failed:
		return err
	case <-e.life.Done():
		return e.cause()
	case <-quiet:
		return c.quiet(r)
	}
	return nil
}

// quiet deals with a reader that hears nothing: something is on its way, or the server is held up by something
// that it cannot read, or there is nothing more.
func (c *consumption) quiet(r *reader) error {
	sent, pending, err := r.progress(c.live)
	switch {
	case err != nil:
		return err
	case sent >= c.position.sequence && c.quiets < patience:
		c.quiets++
		return nil
	case sent >= c.position.sequence || pending > 0:
		c.quiets = 0
		return errStalled
	}
	return c.reach(max(c.replayTo, c.stopAt) + 1)
}

// reach moves the position on to a sequence. Messages in between are lost if no other
// reader finds them either: nothing but what was handled is ever let go.
func (c *consumption) reach(sequence uint64) error {
	if sequence <= c.position.sequence {
		return nil
	}
	if c.missing != c.position.sequence {
		c.missing, c.skips = c.position.sequence, 0
	}
	if c.skips++; c.skips < attempts {
		return errSkipped
	}
	lost := sequence - c.position.sequence
	c.store.metrics.lost.Add(float64(lost))
	c.store.options.Logger.Error("messages cannot be read, the disk has damaged them", "first", c.position.sequence, "number", lost)
	c.position = position{sequence: sequence}
	raise(&c.handled, sequence-1)
	c.progress.move()
	return nil
}

// take hands a message's candidates to the handler.
func (c *consumption) take(d delivery) error {
	if d.sequence < c.position.sequence {
		return nil
	}
	if err := c.reach(d.sequence); err != nil {
		return err
	}
	for c.position.done < len(d.candidates) {
		if c.live.Err() != nil {
			return errFinished
		}
		if err := c.handle(c.live, d.candidates[c.position.done]); err != nil {
			c.position.failed = true
			return handlerError{err}
		}
		c.position.done++
		c.store.metrics.delivered.Inc()
	}
	if d.problem != nil {
		c.keepAside(d)
	}
	if d.sequence <= c.replayTo {
		c.store.metrics.replayed.Add(float64(len(d.candidates)))
		c.shares.found(d.sequence, c.accounts(d.candidates), weigh(d.candidates), len(d.message.Data()))
	}
	c.handled.Store(d.sequence)
	c.progress.move()
	c.position = position{sequence: d.sequence + 1}
	return nil
}

// keepAside keeps a message that this version cannot decode for whoever can, and counts it.
func (c *consumption) keepAside(d delivery) {
	c.store.metrics.unreadable.Inc()
	key, err := c.store.keepAside(c.live, d.message.Data())
	c.store.options.Logger.Error("message cannot be decoded, it is set aside and passed over",
		"sequence", d.sequence, "error", d.problem, "bucket", undecodable, "key", key, "kept", err == nil)
}

// keepAside puts what this version cannot decode where it is kept for whoever can.
func (s *Store) keepAside(ctx context.Context, data []byte) (key string, err error) {
	sum := sha256.Sum256(data)
	key = hex.EncodeToString(sum[:16]) // The same one again at the next start is the same record.
	return key, s.setAside.Put(ctx, key, data)
}
