package jetstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/event"
)

// Spool is a Bucket whose values are events that wait for something.
type Spool struct {
	bucket *Bucket
}

// Spool opens a bucket of events, and makes it if it is not there. Each may be open once.
func (s *Store) Spool(ctx context.Context, o BucketOptions) (*Spool, error) {
	b, err := s.Bucket(ctx, o)
	if err != nil {
		return nil, err
	}
	return &Spool{bucket: b}, nil
}

// Put stores events under a key.
func (s *Spool) Put(ctx context.Context, key string, events []*event.Event) error {
	carriers := make([]bus.Candidate, len(events))
	for i, e := range events {
		carriers[i].Event = e
	}
	value, err := s.bucket.store.codec.marshal(carriers)
	if err != nil {
		return fmt.Errorf("encode %d events for bucket %s: %w", len(events), s.bucket.options.Name, err)
	}
	return s.bucket.Put(ctx, key, value)
}

// Delete removes what is stored under a key. That there is nothing is no error.
func (s *Spool) Delete(ctx context.Context, key string) error { return s.bucket.Delete(ctx, key) }

// Range calls a function with everything that is stored when it begins, in the order in which it
// was, until it returns an error, which Range returns. What cannot be decoded is set aside and counted.
func (s *Spool) Range(ctx context.Context, visit func(key string, events []*event.Event) error) error {
	return s.bucket.Range(ctx, func(key string, value []byte, _ time.Time) error {
		carriers, err := s.bucket.store.codec.unmarshal(value)
		if err != nil {
			s.keepAside(ctx, key, value, err)
			return nil
		}
		events := make([]*event.Event, len(carriers))
		for i, c := range carriers {
			events[i] = c.Event
		}
		return visit(key, events)
	})
}

// keepAside takes a value that this version cannot decode out of everybody's way, and keeps it for whoever can.
// If there is no room for it, it stays where it is.
func (s *Spool) keepAside(ctx context.Context, key string, value []byte, problem error) {
	store := s.bucket.store
	store.metrics.undecodable.Inc()
	aside, err := store.keepAside(ctx, value)
	kept := err == nil
	if kept {
		err = s.bucket.Delete(ctx, key)
	}
	store.options.Logger.Error("value cannot be decoded, it is set aside and passed over", "bucket", s.bucket.options.Name, "key", key,
		"error", errors.Join(problem, err), "aside", undecodable, "as", aside, "kept", kept)
}
