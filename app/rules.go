package app

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/rule"
)

// loadRules reads the shipped rules and those of the configured folders. A
// folder that does not exist is an error: a rule that is silently not there is
// an attack that is silently not seen.
func loadRules(cfg config.Config, schema *field.Schema) (*rule.Set, error) {
	opts := rule.Options{Schema: schema}
	var sets []*rule.Set
	if cfg.ShippedRules == nil || *cfg.ShippedRules {
		shipped, err := rule.Load(config.Rules(), opts)
		if err != nil {
			return nil, fmt.Errorf("shipped rules: %w", readable(err))
		}
		sets = append(sets, shipped)
	}
	for _, dir := range cfg.RuleDirectories {
		if _, err := os.Stat(dir); err != nil {
			return nil, fmt.Errorf("rule directory: %w", err)
		}
		own, err := rule.LoadDir(dir, opts)
		if err != nil {
			return nil, fmt.Errorf("rules in %s: %w", dir, readable(err))
		}
		sets = append(sets, own)
	}
	all, err := rule.Merge(sets...)
	if err != nil {
		return nil, err
	}
	return all, checkOverrides(cfg, all)
}

// checkOverrides refuses settings for rules that do not exist: somebody believes
// that a rule enforces, and it does not.
func checkOverrides(cfg config.Config, rules *rule.Set) error {
	var errs []error
	for name := range cfg.Rules {
		if rules.Get(name) == nil {
			errs = append(errs, fmt.Errorf("configuration: rules[%s]: there is no such rule", name))
		}
	}
	return errors.Join(errs...)
}

// readable shows a rule's mistakes with the lines that they are about.
func readable(err error) error {
	var invalid *rule.InvalidError
	if errors.As(err, &invalid) {
		return errors.New("\n" + invalid.Render())
	}
	return err
}

// overrides are the configured modes of single rules.
func overrides(cfg config.Config) map[string]rule.Mode {
	modes := make(map[string]rule.Mode, len(cfg.Rules))
	for name, r := range cfg.Rules {
		if r.Mode != "" {
			modes[name] = rule.Mode(r.Mode)
		}
	}
	return modes
}

// Check reads every rule that the configuration names and reports what is
// wrong, without starting anything.
func Check(cfg config.Config, out io.Writer) error {
	rules, err := loadRules(cfg, field.New())
	if err != nil {
		return err
	}
	if warnings := rules.Warnings(); len(warnings) > 0 {
		fmt.Fprint(out, warnings.Render())
	}
	_, err = fmt.Fprintf(out, "configuration and %d rules are right\n", rules.Len())
	return err
}
