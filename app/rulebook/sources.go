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
	options := rule.Options{Schema: schema}
	var sets []*rule.Set
	var errs []error
	keep := func(where string, set *rule.Set, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", where, readable(err)))
		}
		sets = append(sets, set)
	}
	if s.Shipped {
		set, err := rule.Load(config.Rules(), options)
		keep("shipped rules", set, err)
	}
	for _, dir := range s.Directories {
		set, err := rule.LoadDir(dir, options)
		keep("rules in "+dir, set, err)
	}
	loaded := &Rules{}
	for _, dir := range s.Elastic {
		set, notRun, err := loadElastic(dir, options)
		keep("Elastic's rules in "+dir, set, err)
		loaded.NotRun = append(loaded.NotRun, notRun...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	all, err := rule.Merge(sets...)
	if err != nil {
		return nil, err
	}
	loaded.Set = all
	return loaded, s.checkNamed(all)
}

// loadElastic reads a folder of Elastic's rules. Rules that cannot run here are
// no error; files that are broken are one.
func loadElastic(dir string, options rule.Options) (*rule.Set, []elastic.File, error) {
	imported, err := elastic.Load(dir, options)
	if err != nil {
		return nil, nil, err
	}
	if imported.Count(elastic.Broken) > 0 {
		return nil, nil, &rule.InvalidError{Problems: imported.Problems()}
	}
	set, err := imported.Set()
	notRun := slices.DeleteFunc(slices.Clone(imported.Files), func(f elastic.File) bool { return f.Result == elastic.Loaded })
	return set, notRun, err
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
