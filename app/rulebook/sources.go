package rulebook

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/rule"
	"github.com/portcullis-dev/portcullis/rule/elastic"
)

// Sources are where rules come from.
type Sources struct {
	// Shipped are the rules that come with the binary.
	Shipped bool
	// Directories have rule files of our format, Elastic those of Elastic's.
	Directories, Elastic []string
	// Named are the rules that settings refer to: each must be there.
	Named []string
}

// SourcesOf are what a configuration says.
func SourcesOf(cfg config.Config) Sources {
	s := Sources{
		Shipped:     cfg.ShippedRules == nil || *cfg.ShippedRules,
		Directories: cfg.RuleDirectories,
		Elastic:     cfg.ElasticRuleDirectories,
	}
	for name := range cfg.Rules {
		s.Named = append(s.Named, name)
	}
	slices.Sort(s.Named)
	return s
}

// Rules is what was read.
type Rules struct {
	Set *rule.Set
	// NotRun are the files of Elastic's format that hold a rule which does not
	// run here, in the order of their paths.
	NotRun []elastic.File
}

// Load reads all rules. The error has everything that is wrong with them, with
// the lines that it is about. A folder that does not exist is an error: a rule
// that is silently not there is an attack that is silently not seen.
func (s Sources) Load(schema *field.Schema) (*Rules, error) {
	folders, _, err := read(s.places(), defaultMaxBytes)
	if err != nil {
		return nil, err
	}
	loaded, err := load(folders, schema)
	if err != nil {
		return nil, err
	}
	return loaded, s.checkNamed(loaded.Set)
}

// load makes rules of files.
func load(folders []folder, schema *field.Schema) (*Rules, error) {
	loaded := &Rules{}
	sets := make([]*rule.Set, 0, len(folders))
	var errs []error
	for _, f := range folders {
		set, notRun, err := f.load(schema)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.place, readable(err)))
		}
		sets = append(sets, set)
		loaded.NotRun = append(loaded.NotRun, notRun...)
	}
	err := errors.Join(errs...)
	if err == nil {
		loaded.Set, err = rule.Merge(sets...)
	}
	return loaded, err
}

// checkNamed refuses settings for rules that do not exist: somebody believes
// that a rule enforces, and it does not.
func (s Sources) checkNamed(rules *rule.Set) error {
	var errs []error
	for _, name := range s.Named {
		if rules.Get(name) != nil {
			continue
		}
		hint := ""
		if meant := diag.Nearest(name, names(rules)); meant != "" {
			hint = fmt.Sprintf(", did you mean %q?", meant)
		}
		errs = append(errs, fmt.Errorf("configuration: rules[%s]: there is no such rule%s", name, hint))
	}
	return errors.Join(errs...)
}

func names(rules *rule.Set) []string {
	all := make([]string, 0, rules.Len())
	for _, r := range rules.All() {
		all = append(all, r.Name)
	}
	return all
}

// readable shows a rule's mistakes with the lines that they are about.
func readable(err error) error {
	var invalid *rule.InvalidError
	if errors.As(err, &invalid) {
		return errors.New(strings.TrimRight("\n"+invalid.Problems.Errors().Render(), "\n"))
	}
	return err
}

// directories are all folders that rules are read from.
func (s Sources) directories() []string { return slices.Concat(s.Directories, s.Elastic) }
