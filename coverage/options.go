package coverage

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The families of sources.
const (
	FamilyAgent  = "agent/"
	FamilyAudit  = "audit/"
	FamilyPod    = "pod/"
	FamilyServer = "server/"
	FamilyJoin   = "join/"
	FamilyRule   = "rule/"
)

// The causes of holes that this package itself finds.
const (
	// CauseDisconnected: the node's agent has no stream, or has not caught up yet.
	CauseDisconnected = "agent-disconnected"
	// CauseRestarted: another agent process came after a time without a stream.
	CauseRestarted = "agent-restarted"
	// CausePending: the node's agent is behind, or says nothing, so that this has not arrived yet.
	CausePending = "not-arrived-yet"
	// CauseUnknown: nothing was ever heard of the source, or not yet then.
	CauseUnknown = "not-watched"
	// CauseServerDown: the server was away for longer than the source waits.
	CauseServerDown = "server-down"
	// CauseSeveral: holes of several causes, and the time between them, in one.
	CauseSeveral = "several"
)

// Store is where the ledger outlives the process. It may forget what was not written for as
// long as StoreTTL. What Put and Delete have returned nil for is there after a crash.
type Store interface {
	Put(ctx context.Context, key string, value []byte) error
	// Delete removes a value. That there is none is no error.
	Delete(ctx context.Context, key string) error
	// Range calls visit with each value, and when it was written, until visit returns an error, which it returns.
	Range(ctx context.Context, visit func(key string, value []byte, at time.Time) error) error
}

// StoreTTL is how long a Store has to keep at least what is not written again.
const StoreTTL = 2 * DefaultRetention

// Defaults of Options.
const (
	DefaultRetention     = 7 * 24 * time.Hour
	DefaultAuditPatience = 30 * time.Second
	DefaultMaxPerSource  = 64
	DefaultMaxSources    = 16_384
	DefaultMaxHoles      = 65_536
)

// Options are a Ledger's dependencies and settings. Clock, Logger and Registerer are required; zero settings mean the
// defaults.
type Options struct {
	// Store keeps the ledger for the next process. Nil forgets it.
	Store Store
	// Retention is how long a hole is remembered after its end. It must be longer than any
	// window that is asked for.
	Retention time.Duration
	// AuditPatience is how long the server may be down without an API server dropping anything: it tries
	// again after 10 s at the latest.
	AuditPatience time.Duration
	// Reads, if not nil, says which kinds of events a rule asks for. Without it that is concluded from the
	// detection.
	Reads func(rule string) (telemetry, audit bool)
	// MaxPerSource bounds the ended holes of one source, MaxSources the sources of one family (of which one share has
	// a sixteenth), MaxHoles the ended holes of all.
	MaxPerSource, MaxSources, MaxHoles int

	Clock      func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (o *Options) complete() error {
	var errs []error
	for _, check := range []struct {
		bad bool
		why string
	}{
		{o.Clock == nil, "coverage: Options.Clock is nil"},
		{o.Logger == nil, "coverage: Options.Logger is nil"},
		{o.Registerer == nil, "coverage: Options.Registerer is nil"},
		{o.Retention < 0 || o.AuditPatience < 0, "coverage: Options.Retention and AuditPatience must not be negative"},
		{o.MaxPerSource < 0 || o.MaxSources < 0 || o.MaxHoles < 0, "coverage: Options.MaxPerSource, MaxSources and MaxHoles must not be negative"},
	} {
		if check.bad {
			errs = append(errs, errors.New(check.why))
		}
	}
	setDefault(&o.Retention, DefaultRetention)
	setDefault(&o.AuditPatience, DefaultAuditPatience)
	setDefault(&o.MaxPerSource, DefaultMaxPerSource)
	setDefault(&o.MaxSources, DefaultMaxSources)
	setDefault(&o.MaxHoles, DefaultMaxHoles)
	return errors.Join(errs...)
}

func setDefault[T int | time.Duration](setting *T, value T) {
	if *setting == 0 {
		*setting = value
	}
}
