package replay

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/rule"
	"github.com/portcullis-dev/portcullis/rule/elastic"
)

// ruleLoader reads rules of all formats.
type ruleLoader struct {
	options  rule.Options
	sets     []*rule.Set
	problems diag.List
	// notRun is how many of Elastic's rules do not run here.
	notRun int
}

// loadRules reads the rules that the flags name.
func (r *run) loadRules(schema *field.Schema) (*rule.Set, error) {
	l := ruleLoader{options: rule.Options{Schema: schema}}
	if r.shipped || len(r.rules) == 0 {
		if err := l.keep(rule.Load(config.Rules(), l.options)); err != nil {
			return nil, err
		}
	}
	for _, path := range r.rules {
		if err := l.read(path); err != nil {
			return nil, err
		}
	}
	if n := len(l.problems.Errors()); n > 0 {
		if _, err := fmt.Fprint(r.streams.ErrOut, l.problems.Errors().Render()); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("the rules have %s, nothing was replayed", count(n, "error"))
	}
	all, err := rule.Merge(l.sets...)
	switch {
	case err != nil:
		return nil, err
	case all.Len() == 0:
		return nil, fmt.Errorf("%s: there are no rules that run", strings.Join(r.rules, ", "))
	case l.notRun > 0:
		r.sayf("%s of Elastic's do not run here; portcullisctl rule import tells why", count(l.notRun, "rule"))
	}
	return all, nil
}

// keep takes rules in; what is wrong with them is a problem, other errors are returned.
func (l *ruleLoader) keep(set *rule.Set, err error) error {
	var invalid *rule.InvalidError
	switch {
	case errors.As(err, &invalid):
		l.problems = append(l.problems, invalid.Problems...)
		return nil
	case err != nil:
		return err
	}
	l.sets = append(l.sets, set)
	return nil
}

// read reads a file, or a folder with files of either format.
func (l *ruleLoader) read(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("read rules: %w", err)
	case info.IsDir():
		imported, err := elastic.Load(path, l.options)
		return errors.Join(l.keep(rule.LoadDir(path, l.options)), l.keepElastic(imported, err))
	case elastic.IsRuleFile(path):
		return l.keepElastic(elastic.LoadFiles([]string{path}, l.options))
	default:
		return l.keep(rule.LoadFiles([]string{path}, l.options))
	}
}

func (l *ruleLoader) keepElastic(imported *elastic.Import, err error) error {
	if err != nil {
		return err
	}
	for _, f := range imported.Files {
		if f.Result == elastic.Broken {
			l.problems = append(l.problems, f.Problems...)
		}
	}
	l.notRun += len(imported.Files) - imported.Count(elastic.Loaded) - imported.Count(elastic.Broken)
	return l.keep(imported.Set())
}
