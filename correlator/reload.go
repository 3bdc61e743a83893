package correlator

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/portcullis-dev/portcullis/rule"
)

// RuleOptions are the rules to run, and how. They are the part of Options that
// can be exchanged while a Correlator runs.
type RuleOptions struct {
	// Rules were compiled with the Correlator's Schema. Required, may be empty.
	Rules *rule.Set
	// Mode and Overrides are as in Options.
	Mode      rule.Mode
	Overrides map[string]rule.Mode
}

// SetRules exchanges the rules. It may be called at any time, also while events
// are ingested: each event is matched against the old rules or against the new
// ones, never against some of both. After an error the old rules go on.
//
// A rule of the same name and query keeps its open sequences, whatever else of
// it has changed: its mode, its exceptions, its severity. A rule that is new or
// has another query starts empty, and what candidates of its older self are
// still on their way are dropped and counted, since they say nothing about what
// the rule asks for now.
func (c *Correlator) SetRules(r RuleOptions) error {
	c.exchange.Lock()
	defer c.exchange.Unlock()
	if r.Rules == nil {
		return errors.New("exchange rules: Rules is missing")
	}
	o := c.options
	o.Rules, o.Mode, o.Overrides = r.Rules, r.Mode, r.Overrides
	o = o.withDefaults()
	if err := o.validateRules(); err != nil {
		return fmt.Errorf("exchange rules: %w", err)
	}
	next := newMatcher(o, c.guard, c.metrics)
	// The join first: it must know the versions of all candidates that come.
	c.mutex.Lock()
	changes, err := c.join.exchange(o)
	c.mutex.Unlock()
	if err != nil {
		return fmt.Errorf("exchange rules: %w", err)
	}
	c.matcher.Store(next)
	for _, name := range changes.other {
		c.guard.forget(name)
	}
	for _, name := range changes.removed {
		c.guard.forget(name)
		c.metrics.forget(name)
	}
	o.Logger.Info("rules exchanged", "rules", o.Rules.Len(), "new", changes.added, "changed", len(changes.other),
		"removed", len(changes.removed), "lostSequences", changes.lost)
	return nil
}

// changes are the differences between two sets of rules.
type changes struct {
	added int
	// other are the rules of another query than before.
	other, removed []string
	// lost is how many open sequences were given up.
	lost int
}

// exchange runs other rules from now on, if all of them can be.
func (j *join) exchange(o Options) (changes, error) {
	next := make(map[string]*joined, o.Rules.Len())
	for _, r := range o.Rules.All() {
		entry, err := j.newJoined(r, o)
		if err != nil {
			return changes{}, err
		}
		next[r.Name] = entry
	}
	var found changes
	for name, before := range j.rules {
		switch entry := next[name]; {
		case entry == nil:
			found.removed = append(found.removed, name)
			found.lost += j.giveUp(before)
		case entry.version != before.version:
			found.other = append(found.other, name)
			found.lost += j.giveUp(before)
		default:
			before.rule = entry.rule
			next[name] = before
		}
	}
	found.added = len(next) - (len(j.rules) - len(found.removed))
	j.options, j.rules = o, next
	return found, nil
}

// giveUp forgets what a rule keeps, and returns how many open sequences that were.
func (j *join) giveUp(r *joined) (open int) {
	if r.engine == nil {
		return 0
	}
	open = j.count(r).Partials
	j.metrics.drop(dropOldRule, r.hits)
	j.options.Dropped("", r.rule.Name, dropOldRule, r.hits)
	j.clear(r)
	j.hits -= r.hits
	j.bytes -= r.bytes
	return open
}

// versionOf tells rules of the same name apart by what they ask for. It is the
// same in every process.
func versionOf(r *rule.Rule, maxSpan time.Duration) uint64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %d", r.Name, r.Query, specOf(r, maxSpan).MaxSpan))
	return binary.BigEndian.Uint64(sum[:])
}
