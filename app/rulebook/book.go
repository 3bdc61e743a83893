package rulebook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/rule"
)

// Options are what a Book is made from.
type Options struct {
	Sources Sources
	// Schema is what rules are compiled with. Required.
	Schema *field.Schema
	// Logger, Registerer and Clock are required.
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Clock      func() time.Time
	// Interval is how often the files are looked at without a hint that one of
	// them has changed, default 30s.
	Interval time.Duration
	// MaxBytes bounds the rule files of all folders together, default 64 MiB. The
	// largest public collection has 9 MiB.
	MaxBytes int
	// Settle is how long after such a hint they are looked at, default 200ms:
	// changes come in groups.
	Settle time.Duration
}

func (o Options) validate() error {
	switch {
	case o.Schema == nil:
		return errors.New("rulebook: Options.Schema is nil")
	case o.Logger == nil:
		return errors.New("rulebook: Options.Logger is nil")
	case o.Registerer == nil:
		return errors.New("rulebook: Options.Registerer is nil")
	case o.Clock == nil:
		return errors.New("rulebook: Options.Clock is nil")
	case o.Interval < 0 || o.Settle < 0 || o.MaxBytes < 0:
		return fmt.Errorf("rulebook: Options.Interval is %s, Settle %s, MaxBytes %d: none can be negative", o.Interval, o.Settle, o.MaxBytes)
	}
	return nil
}

func (o Options) withDefaults() Options {
	if o.Interval == 0 {
		o.Interval = 30 * time.Second
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 64 << 20
	}
	if o.Settle == 0 {
		o.Settle = 200 * time.Millisecond
	}
	return o
}

// Book holds the rules that are in force. Rules may be called concurrently.
type Book struct {
	options Options
	metrics *metrics
	rules   atomic.Pointer[rule.Set]

	// The rest is Run's. tried is what the files were when they were last read,
	// failure what was wrong with them then.
	tried   fingerprint
	failure error
}

// New reads the rules. The error says everything that is wrong with them.
func New(o Options) (*Book, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	b := &Book{options: o.withDefaults()}
	var err error
	if b.metrics, err = newMetrics(o.Registerer); err != nil {
		return nil, fmt.Errorf("rulebook metrics: %w", err)
	}
	if b.tried, err = b.look(); err != nil {
		return nil, err
	}
	loaded, err := o.Sources.Load(o.Schema)
	if err != nil {
		return nil, err
	}
	b.rules.Store(loaded.Set)
	b.succeeded(loaded)
	return b, nil
}

// Rules are those in force.
func (b *Book) Rules() *rule.Set { return b.rules.Load() }

// User is who uses the rules.
type User interface {
	// UseRules puts rules in force; after an error, those before go on. Rules
	// returns them already while it runs: what they lead to may come at once.
	UseRules(rules *rule.Set) error
	// RulesChanged is told how each attempt at a change ended: nil if other rules
	// are in force now. It must not wait for anybody.
	RulesChanged(failure error)
}

// Run watches the files until ctx ends, and puts what changes in force. It runs once.
func (b *Book) Run(ctx context.Context, user User) error {
	w := watch(b.options.Sources.directories(), b.options.Logger)
	defer w.close()
	ticker := time.NewTicker(b.options.Interval)
	defer ticker.Stop()
	// What has changed since New is seen at once.
	settled := time.NewTimer(0)
	defer settled.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.hints():
			settled.Reset(b.options.Settle)
			continue
		case err := <-w.lost():
			b.options.Logger.Debug("changes of rule files may have been missed", "error", err)
			settled.Reset(b.options.Settle)
			continue
		case <-settled.C:
		case <-ticker.C:
		}
		// Watched before they are looked at: what a new folder gets in between is seen.
		w.renew()
		if !b.follow(user) {
			settled.Reset(5 * b.options.Settle) // whoever writes takes his time
		}
	}
}

// look returns what the files are now.
func (b *Book) look() (fingerprint, error) {
	return fingerprintOf(b.options.Sources.directories(), b.options.MaxBytes)
}

// follow reads the rules anew if a file has changed, and again as long as
// something is wrong: it may have been the disk. It reports whether the files
// have kept still meanwhile; what was read of others is worth nothing.
func (b *Book) follow(user User) (still bool) {
	now, err := b.look()
	if err == nil && now == b.tried && b.failure == nil {
		return true
	}
	var loaded *Rules
	if err == nil {
		loaded, err = b.options.Sources.Load(b.options.Schema)
		if then, _ := b.look(); then != now {
			return false
		}
	}
	again := now == b.tried
	b.tried = now
	if err == nil {
		err = b.use(loaded, user)
	}
	if err != nil {
		b.failed(err, again)
	}
	b.failure = err
	user.RulesChanged(err)
	return true
}

// use puts rules in force.
func (b *Book) use(loaded *Rules, user User) error {
	before := b.rules.Swap(loaded.Set)
	if err := user.UseRules(loaded.Set); err != nil {
		b.rules.Store(before)
		return err
	}
	b.options.Logger.Info("rules have changed", changes(before, loaded.Set)...)
	b.succeeded(loaded)
	return nil
}

func (b *Book) succeeded(loaded *Rules) {
	b.metrics.succeeded(b.options.Clock(), loaded)
	for _, warning := range loaded.Set.Warnings() {
		b.options.Logger.Warn("rule runs, but perhaps not as meant", "warning", warning.String())
	}
	for _, f := range loaded.NotRun {
		b.options.Logger.Debug("rule does not run", "file", f.Path, "title", f.Title, "type", f.Type, "result", string(f.Result), "why", f.Why)
	}
	if n := len(loaded.NotRun); n > 0 {
		b.options.Logger.Info("some of Elastic's rules do not run here; portcullisctl rule import says which and why", "count", n)
	}
}

// failed tells of a failure: once, and not each time the same files are looked at.
func (b *Book) failed(err error, again bool) {
	b.metrics.failed()
	if !again || b.failure == nil || b.failure.Error() != err.Error() {
		b.options.Logger.Error("rules have changed and are not right; those before stay in force", "error", shorten(err.Error(), maxLogged))
	}
}

// maxLogged bounds what is logged of a failure. Files may be made of mistakes.
const maxLogged = 16 << 10

func shorten(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return s[:most] + " …"
}
