package app

import (
	"context"
	"path/filepath"
	"time"

	"github.com/portcullis-dev/portcullis/correlator"
	"github.com/portcullis-dev/portcullis/coverage"
	"github.com/portcullis-dev/portcullis/execsession"
	"github.com/portcullis-dev/portcullis/identity"
	"github.com/portcullis-dev/portcullis/jetstream"
	"github.com/portcullis-dev/portcullis/rule"
)

// The bounds of the store's buckets, in bytes. Together they stay below what
// config.StoreRecordMegabytes sets aside.
const (
	identityBytes   = 256 << 20
	detectionsBytes = 64 << 20
	outboxBytes     = 128 << 20
	heldBytes       = 64 << 20
	coverageBytes   = 16 << 20
	sessionsBytes   = 96 << 20
)

// lockTimeout is how long a predecessor may take to end that has been told to: what the kubelet gives a
// pod. A process that gave up at once would only be started again later and later.
const lockTimeout = 30 * time.Second

// How long records are kept after they were last written.
const (
	// detectionsTTL is longer than any candidate that could make the detection again.
	detectionsTTL = 7 * 24 * time.Hour
	outboxTTL     = 24 * time.Hour
	heldTTL       = 24 * time.Hour
)

// durable is what outlives the process.
type durable struct {
	store *jetstream.Store
	bus   *jetstream.Bus
	// identity has the pods' history, and what is known of the API servers' and the nodes' clocks.
	identity   *jetstream.Bucket
	detections *jetstream.Bucket
	outbox     *jetstream.Bucket
	coverage   *jetstream.Bucket
	sessions   *jetstream.Bucket
	held       *jetstream.Spool
}

// buildStore opens the store: first of all that needs it, and after the rules, which say how long
// candidates are kept.
func (s *Server) buildStore(ctx context.Context) (err error) {
	cfg := s.opts.Config.Store
	s.durable.store, err = jetstream.Open(ctx, jetstream.Options{
		Directory:   filepath.Join(s.opts.Config.DataDirectory, "store"),
		Sync:        cfg.Sync,
		MaxBytes:    int64(cfg.MaxMegabytes) << 20,
		LockTimeout: lockTimeout,
		Clock:       time.Now,
		Logger:      s.logger("store"),
		Registerer:  s.opts.Registry,
	})
	if err != nil {
		return err
	}
	for _, b := range []struct {
		bucket **jetstream.Bucket
		name   string
		ttl    time.Duration
		bytes  int64
	}{
		{&s.durable.identity, "identity", identity.StoreTTL, identityBytes},
		{&s.durable.detections, "detections", detectionsTTL, detectionsBytes},
		{&s.durable.outbox, "outbox", outboxTTL, outboxBytes},
		{&s.durable.coverage, "coverage", coverage.StoreTTL, coverageBytes},
		{&s.durable.sessions, "sessions", execsession.StoreTTL, sessionsBytes},
	} {
		if *b.bucket, err = s.durable.store.Bucket(ctx, jetstream.BucketOptions{Name: b.name, TTL: b.ttl, MaxBytes: b.bytes}); err != nil {
			return err
		}
	}
	s.durable.held, err = s.durable.store.Spool(ctx, jetstream.BucketOptions{Name: "held", TTL: heldTTL, MaxBytes: heldBytes})
	if err != nil {
		return err
	}
	s.durable.bus, err = s.durable.store.Bus(ctx, jetstream.BusOptions{
		Retention: s.retention(s.rules.Rules()), MaxBytes: int64(cfg.BusMaxMegabytes) << 20,
		Dropped: func(owner string, n int) { s.oversight.crowdedOut(owner, n) }, // It is built before anything is published.
	})
	s.resumption = newResumption(s.durable.bus)
	return err
}

// retention is how long a candidate is kept: as long as some rule may need it, and the reserve.
func (s *Server) retention(rules *rule.Set) time.Duration {
	cfg := s.opts.Config
	return correlator.Retention(rules, cfg.MaxSpan.Duration, cfg.Lateness.Duration) + cfg.Store.Reserve.Duration
}

// closeStore ends the store, if it is open.
func (s *Server) closeStore() error {
	if s.durable.store == nil {
		return nil
	}
	return s.durable.store.Close()
}

// replayed reports whether everything that was stored before the start has been joined again.
func (s *Server) replayed() bool {
	select {
	case <-s.durable.bus.Replayed():
		return true
	default:
		return false
	}
}
