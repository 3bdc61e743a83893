package jetstream

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"
)

// maxValue is the most bytes that a Bucket's value has, maxKey those of a key.
const (
	maxValue = maxMessage - 1024
	maxKey   = 512
)

// Bucket keeps records by key, each for a while after it was last written, and in any case until the bus has
// delivered again what was there at the start. What Put and Delete have returned nil for outlives the process.
type Bucket struct {
	store   *Store
	options BucketOptions

	// handle and records are those of the engine that they were asked of.
	mu      sync.Mutex
	engine  *engine
	handle  natsjs.KeyValue
	records natsjs.Stream
}

// Bucket opens one of the store's buckets, and makes it if it is not there. Each may be open once.
func (s *Store) Bucket(ctx context.Context, o BucketOptions) (*Bucket, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("bucket options: %w", err)
	}
	b := &Bucket{store: s, options: o}
	if err := s.adopt(ctx, newTended(b.stream(), o.TTL, b.create, b.settled)); err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", o.Name, err)
	}
	return b, nil
}

func (b *Bucket) stream() string { return "KV_" + b.options.Name }

// settled holds records until the candidates that were there at the start have been delivered again: records say what
// became of them.
func (b *Bucket) settled() uint64 {
	if b.store.replaying() {
		return 0
	}
	return math.MaxUint64
}

func (b *Bucket) create(ctx context.Context, e *engine) error {
	_, err := e.js.CreateOrUpdateKeyValue(ctx, natsjs.KeyValueConfig{
		Bucket: b.options.Name, History: 1, MaxValueSize: maxValue, Storage: natsjs.FileStorage,
		MaxBytes: b.store.fitting(ctx, e, b.stream(), b.options.MaxBytes),
	})
	return b.store.created(ctx, b.stream(), err)
}

// Put writes a record. ErrFull says that there is no room for it; the one that was there stays.
func (b *Bucket) Put(ctx context.Context, key string, value []byte) error {
	if len(value) > maxValue {
		return fmt.Errorf("put %q in bucket %s: %d bytes, at most %d fit", key, b.options.Name, len(value), maxValue)
	}
	return b.do(ctx, "put", key, func(ctx context.Context, kv natsjs.KeyValue, key string) error {
		_, err := kv.Put(ctx, key, value)
		return err
	})
}

// Get returns a record, or ErrNotFound. The value is the caller's.
func (b *Bucket) Get(ctx context.Context, key string) (value []byte, err error) {
	err = b.do(ctx, "get", key, func(ctx context.Context, kv natsjs.KeyValue, key string) error {
		entry, missing := kv.Get(ctx, key)
		if missing == nil {
			value = entry.Value()
		}
		return missing
	})
	return value, err
}

// Delete removes a record. That there is none is no error. Nothing stays in its place: the markers that a
// key-value store leaves for those who watch it would fill the bucket with keys that come once.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	return b.do(ctx, "delete", key, func(ctx context.Context, _ natsjs.KeyValue, key string) error {
		b.mu.Lock()
		stream := b.records
		b.mu.Unlock()
		return stream.Purge(ctx, natsjs.WithPurgeSubject("$KV."+b.options.Name+"."+key))
	})
}

// do does something with a key.
func (b *Bucket) do(ctx context.Context, what, key string, action func(context.Context, natsjs.KeyValue, string) error) error {
	if key == "" || len(key) > maxKey {
		return fmt.Errorf("%s in bucket %s: the key has %d bytes, must have 1 to %d", what, b.options.Name, len(key), maxKey)
	}
	e, err := b.store.current()
	if err == nil {
		limited, cancel := e.within(ctx, b.store.options.Timeout)
		defer cancel()
		var kv natsjs.KeyValue
		if kv, err = b.of(limited, e); err == nil {
			err = action(limited, kv, encodeKey(key))
		}
		if errors.Is(err, natsjs.ErrKeyNotFound) {
			err = ErrNotFound
		} else {
			err = explain(limited, err)
		}
	}
	if err != nil {
		return fmt.Errorf("%s %q in bucket %s: %w", what, key, b.options.Name, err)
	}
	return nil
}

// of is the bucket's handle in an engine.
func (b *Bucket) of(ctx context.Context, e *engine) (natsjs.KeyValue, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.engine != e {
		kv, err := e.js.KeyValue(ctx, b.options.Name)
		if err != nil {
			return nil, err
		}
		stream, err := e.js.Stream(ctx, b.stream())
		if err != nil {
			return nil, err
		}
		b.engine, b.handle, b.records = e, kv, stream
	}
	return b.handle, nil
}

// Range calls a function with each record that is there when it begins, in the order in which they were last
// written, until it returns an error, which Range returns. The value is the function's; at is the wall
// time at which it was written. The function may use the Bucket.
func (b *Bucket) Range(ctx context.Context, visit func(key string, value []byte, at time.Time) error) error {
	if err := b.each(ctx, visit); err != nil {
		return fmt.Errorf("range over bucket %s: %w", b.options.Name, err)
	}
	return nil
}

func (b *Bucket) each(ctx context.Context, visit func(key string, value []byte, at time.Time) error) error {
	e, err := b.store.current()
	if err != nil {
		return err
	}
	r, last, err := b.read(ctx, e)
	if err != nil {
		return err
	}
	defer r.stop()
	timer := time.NewTimer(b.store.options.Timeout)
	defer timer.Stop()
	for pending, sequence := r.found, uint64(0); pending > 0 && sequence < last; {
		timer.Reset(b.store.options.Timeout)
		d, err := b.next(ctx, e, r, timer.C)
		if err != nil {
			return err
		}
		pending, sequence = d.pending, d.sequence
		if err = b.visit(d, visit); err != nil {
			return err
		}
	}
	return nil
}

// read begins to read all records, and returns the sequence of the last.
func (b *Bucket) read(ctx context.Context, e *engine) (*reader, uint64, error) {
	ctx, cancel := e.within(ctx, b.store.options.Timeout)
	defer cancel()
	stream, err := e.js.Stream(ctx, b.stream())
	if err != nil {
		return nil, 0, explain(ctx, err)
	}
	r, err := e.read(ctx, b.stream(), 0, nil)
	return r, stream.CachedInfo().State.LastSeq, explain(ctx, err)
}

// next waits for the next record.
func (b *Bucket) next(ctx context.Context, e *engine, r *reader, late <-chan time.Time) (delivery, error) {
	if ctx.Err() != nil {
		return delivery{}, context.Cause(ctx) // What has been read ahead does not count.
	}
	select {
	case d := <-r.deliveries:
		return d, nil
	case err := <-r.failed:
		return delivery{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case <-late:
		return delivery{}, fmt.Errorf("%w: the disk did not answer within %s", ErrUnavailable, b.store.options.Timeout)
	case <-e.life.Done():
		return delivery{}, e.cause()
	case <-ctx.Done():
		return delivery{}, context.Cause(ctx)
	}
}

func (b *Bucket) visit(d delivery, visit func(key string, value []byte, at time.Time) error) error {
	if d.message.Headers().Get("KV-Operation") != "" {
		return nil // It was deleted.
	}
	key, err := decodeKey(strings.TrimPrefix(d.message.Subject(), "$KV."+b.options.Name+"."))
	if err != nil {
		return err
	}
	return visit(key, d.message.Data(), d.at)
}

// encodeKey makes a part of a subject of any key.
func encodeKey(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }

func decodeKey(text string) (string, error) {
	key, err := base64.RawURLEncoding.DecodeString(text)
	return string(key), err
}
