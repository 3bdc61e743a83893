package app

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/portcullis-dev/portcullis/app/rulebook"
	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/correlator"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/rule"
)

// keptRules is the file in the data directory that the rules in force are kept in.
const keptRules = "rules-in-force.tar.gz"

// buildRules reads the rules.
func (s *Server) buildRules(context.Context) (err error) {
	s.schema = field.New()
	s.rules, err = rulebook.New(rulebook.Options{
		Sources:    rulebook.SourcesOf(s.opts.Config),
		Schema:     s.schema,
		Accept:     runnable(s.opts.Config, s.schema),
		Keep:       filepath.Join(s.opts.Config.DataDirectory, keptRules),
		Logger:     s.logger("rules"),
		Registerer: s.opts.Registry,
		Clock:      time.Now,
	})
	if err != nil {
		return err
	}
	s.self, err = newSelf(s.opts.Pod, s.clients.kubernetes, s.logger("events"))
	return err
}

// followRules keeps the rules in force equal to their files until ctx ends.
func (s *Server) followRules(ctx context.Context) error {
	return s.rules.Run(ctx, ruleUser{
		config: s.opts.Config, correlator: s.correlator, self: s.self,
		retain: func(rules *rule.Set) { s.durable.bus.Retain(s.retention(rules)) },
	})
}

// ruleSetter runs rules.
type ruleSetter interface {
	SetRules(correlator.RuleOptions) error
}

// ruleUser puts changed rules in force, and tells people how that went.
type ruleUser struct {
	config     config.Config
	correlator ruleSetter
	self       *self
	// retain has the bus keep candidates for as long as the rules may need them.
	retain func(*rule.Set)
}

// UseRules implements rulebook.User.
func (u ruleUser) UseRules(rules *rule.Set) error {
	err := u.correlator.SetRules(correlator.RuleOptions{
		Rules: rules, Mode: rule.Mode(u.config.Mode), Overrides: overrides(u.config, rules),
	})
	if err == nil {
		u.retain(rules)
	}
	return err
}

// RulesChanged implements rulebook.User.
func (u ruleUser) RulesChanged(failure error) {
	if failure == nil {
		u.self.tell("RulesChanged", "Changed rule files are in force.")
		return
	}
	u.self.warn("RulesRefused", "Rule files are not right; the rules that were in force before stay so. "+failure.Error())
}

// overrides are the configured modes of single rules. What is configured for a rule
// that is not there has no effect: the rulebook refuses such rules, unless they are
// those of before, which a start with wrong files goes on with.
func overrides(cfg config.Config, rules *rule.Set) map[string]rule.Mode {
	modes := make(map[string]rule.Mode, len(cfg.Rules))
	for name, r := range cfg.Rules {
		if r.Mode != "" && rules.Get(name) != nil {
			modes[name] = rule.Mode(r.Mode)
		}
	}
	return modes
}

// runnable says of rules why the correlator would refuse them: when the server
// starts it is too late to take others.
func runnable(cfg config.Config, schema *field.Schema) func(*rule.Set) error {
	return func(rules *rule.Set) error {
		_, err := correlator.NewReplay(correlator.ReplayOptions{
			Rules: rules, Schema: schema, Mode: rule.Mode(cfg.Mode), Overrides: overrides(cfg, rules), MaxSpan: cfg.MaxSpan.Duration,
		})
		return err
	}
}

// Check reads every rule that the configuration names and reports what is
// wrong, without starting anything.
func Check(cfg config.Config, out io.Writer) error {
	schema := field.New()
	loaded, err := rulebook.SourcesOf(cfg).Load(schema)
	if err == nil {
		err = runnable(cfg, schema)(loaded.Set)
	}
	if err != nil {
		return err
	}
	if warnings := loaded.Set.Warnings(); len(warnings) > 0 {
		fmt.Fprint(out, warnings.Render())
	}
	for _, f := range loaded.NotRun {
		fmt.Fprintf(out, "%q: %s: %s\n", f.Path, f.Result, f.Why)
	}
	_, err = fmt.Fprintf(out, "configuration and %d rules are right\n", loaded.Set.Len())
	return err
}
