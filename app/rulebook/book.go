package rulebook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
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
	// Accept says why rules cannot be run that are right as such. Nil accepts all.
	Accept func(*rule.Set) error
	// Keep names the file in which the rule files that are in force are kept, so
	// that a start with wrong ones goes on with them. Empty keeps nothing: such a
	// start fails.
	Keep string
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

const defaultMaxBytes = 64 << 20

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
		o.MaxBytes = defaultMaxBytes
	}
	if o.Accept == nil {
		o.Accept = func(*rule.Set) error { return nil }
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
	// unkept is what is in force and not kept yet, and why not.
	unkept    *attempt
	keepError error
}

// attempt is what the files were at one time, and the rules made of them.
type attempt struct {
	folders []folder
	mark    fingerprint
	rules   *Rules
	since   time.Time // when they came into force
}

// New reads the rules. If anything is wrong with them, those that were in force
// before go on, as they were kept; if none were kept, New fails with an error that
// says everything that is wrong.
func New(o Options) (*Book, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	b := &Book{options: o.withDefaults()}
	var err error
	if b.metrics, err = newMetrics(o.Registerer); err != nil {
		return nil, fmt.Errorf("rulebook metrics: %w", err)
	}
	now, err := b.read()
	b.tried = now.mark
	if err != nil {
		err = b.fallBack(err)
	} else {
		b.rules.Store(now.rules.Set)
		b.succeeded(now)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// fallBack puts the rules in force that were so before the start, all of them and
// no others. What the configuration says of a rule that is not among them has no
// effect meanwhile.
func (b *Book) fallBack(wrong error) error {
	kept := archive(b.options.Keep)
	if kept == "" {
		return wrong
	}
	folders, since, err := kept.load(b.options.MaxBytes)
	if errors.Is(err, os.ErrNotExist) {
		return wrong
	}
	var loaded *Rules
	if err == nil {
		loaded, err = load(folders, b.options.Schema)
	}
	if err == nil {
		err = b.options.Accept(loaded.Set)
	}
	if err != nil {
		return fmt.Errorf("%w\nthe rules that were in force before cannot be used either: %w", wrong, err)
	}
	b.rules.Store(loaded.Set)
	b.failure = wrong
	b.metrics.inForce(since, loaded)
	b.metrics.kept.Set(1)
	b.metrics.failed()
	b.options.Logger.Error("rule files are not right; the rules that were in force before the start go on",
		"since", since, "rules", loaded.Set.Len(), "error", shorten(wrong.Error(), maxLogged))
	return nil
}

// read makes rules of the files as they are now.
func (b *Book) read() (attempt, error) {
	folders, mark, err := read(b.options.Sources.places(), b.options.MaxBytes)
	if err != nil {
		return attempt{}, err
	}
	now := attempt{folders: folders, mark: mark}
	if now.rules, err = load(folders, b.options.Schema); err == nil {
		err = b.options.Sources.checkNamed(now.rules.Set)
	}
	if err == nil {
		err = b.options.Accept(now.rules.Set)
	}
	return now, err
}

// Rules are those in force.
func (b *Book) Rules() *rule.Set { return b.rules.Load() }

// User is who uses the rules.
type User interface {
	// UseRules puts rules in force; after an error, those before go on. Rules
	// returns them already while it runs: what they lead to may come at once.
	UseRules(rules *rule.Set) error
	// RulesChanged is told how each attempt at a change ended: nil if other rules
	// are in force now. The first attempt after a start with wrong files is one. It
	// must not wait for anybody.
	RulesChanged(failure error)
}

// Run watches the files until ctx ends, and puts what changes in force. It runs once.
func (b *Book) Run(ctx context.Context, user User) error {
	b.keep()
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
	return fingerprintOf(b.options.Sources.places(), b.options.MaxBytes)
}

// follow reads the rules anew if a file has changed, and again as long as
// something is wrong: it may have been the disk. It reports whether the files
// have kept still meanwhile; what was read of others is worth nothing.
func (b *Book) follow(user User) (still bool) {
	b.keep() // what could not be kept before
	if now, err := b.look(); err == nil && now == b.tried && b.failure == nil {
		return true
	}
	now, err := b.read()
	if then, _ := b.look(); then != now.mark {
		return false
	}
	again := now.mark == b.tried
	b.tried = now.mark
	if err == nil {
		err = b.use(now, user)
	}
	if err != nil {
		b.failed(err, again)
	}
	b.failure = err
	user.RulesChanged(err)
	return true
}

// use puts rules in force.
func (b *Book) use(now attempt, user User) error {
	before := b.rules.Swap(now.rules.Set)
	if err := user.UseRules(now.rules.Set); err != nil {
		b.rules.Store(before)
		return err
	}
	b.options.Logger.Info("rules have changed", changes(before, now.rules.Set)...)
	b.succeeded(now)
	b.keep()
	return nil
}

func (b *Book) succeeded(now attempt) {
	now.since = b.options.Clock()
	b.unkept = &now
	b.metrics.succeeded(now.since, now.rules)
	for _, warning := range now.rules.Set.Warnings() {
		b.options.Logger.Warn("rule runs, but perhaps not as meant", "warning", warning.String())
	}
	notRun := now.rules.NotRun
	for _, f := range notRun {
		b.options.Logger.Debug("rule does not run", "file", f.Path, "title", f.Title, "type", f.Type, "result", string(f.Result), "why", f.Why)
	}
	if n := len(notRun); n > 0 {
		b.options.Logger.Info("some of Elastic's rules do not run here; portcullisctl rule import says which and why", "count", n)
	}
}

// keep keeps the files that are in force, unless they are kept already. Run calls
// it and not New: until then the predecessor may still be there. If it fails,
// what was kept before is removed, since that would bring back rules that
// somebody has deleted, and follow tries again.
func (b *Book) keep() {
	kept := archive(b.options.Keep)
	if b.unkept == nil || kept == "" {
		return
	}
	err := kept.save(b.unkept.folders, b.unkept.since)
	if err == nil {
		b.unkept, b.keepError = nil, nil
		b.metrics.kept.Set(1)
		return
	}
	err = errors.Join(err, kept.remove())
	b.metrics.kept.Set(0)
	if b.keepError == nil || b.keepError.Error() != err.Error() {
		b.options.Logger.Error("rules in force are not kept; a start with wrong rule files would fail", "error", err)
	}
	b.keepError = err
}

// failed tells of a failure: once, and not each time the same files are looked at.
func (b *Book) failed(err error, again bool) {
	b.metrics.failed()
	if !again || b.failure == nil || b.failure.Error() != err.Error() {
		b.options.Logger.Error("rule files have changed and are not right; the rules before stay in force", "error", shorten(err.Error(), maxLogged))
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
