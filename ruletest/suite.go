package ruletest

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/token"
	"github.com/portcullis-dev/portcullis/rule"
	"github.com/portcullis-dev/portcullis/rule/elastic"
	"github.com/portcullis-dev/portcullis/rule/source"
)

// Suite is rules and their tests, read and ready to run.
type Suite struct {
	schema *field.Schema
	rules  *rule.Set
	files  []*file
	// subjects are the rules that ought to have tests.
	subjects map[string]bool
}

// Load reads rules and their tests:
//
//   - of a folder, all rule files and test files at any depth;
//   - a test file, with the rules of its folder;
//   - a rule file, with the test file beside it, if there is one.
//
// All rules are one set: a test may be in one folder and its rule in another.
// Rules in Elastic's format (*.toml) are among them, as far as they run; they
// need tests only where a test names them, for they are their authors' to test.
// The error is a *rule.InvalidError if one of our files is not right.
func Load(paths []string) (*Suite, error) {
	found, err := find(paths)
	if err != nil {
		return nil, err
	}
	s := &Suite{schema: field.New(), subjects: map[string]bool{}}
	problems, err := s.loadRules(found)
	if err != nil {
		return nil, err
	}
	if problems.HasErrors() { // Without its rules, every test would seem wrong.
		return nil, &rule.InvalidError{Problems: problems}
	}
	for _, path := range found.tests {
		read, err := s.loadTests(path)
		if err != nil {
			return nil, err
		}
		problems = append(problems, read...)
	}
	if problems.HasErrors() {
		return nil, &rule.InvalidError{Problems: problems}
	}
	for _, f := range s.files {
		for _, r := range f.rules.All() {
			s.subjects[r.Name] = true
		}
	}
	return s, nil
}

// found is what Load has been pointed at. Every path is in it once.
type found struct {
	// folders and files are those of rules; the rules of a folder that was not
	// named itself are there for a test file only.
	folders []folder
	files   []string
	tests   []string
}

type folder struct {
	path  string
	named bool
}

func find(paths []string) (*found, error) {
	f := &found{}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("read rules and tests: %w", err)
		}
		switch {
		case info.IsDir():
			err = f.addFolder(path)
		case isTest(path):
			f.tests = append(f.tests, path)
			f.folders = append(f.folders, folder{path: filepath.Dir(path)})
		default:
			f.files = append(f.files, path)
			f.addBeside(path)
		}
		if err != nil {
			return nil, fmt.Errorf("read tests: %w", err)
		}
	}
	f.tests, f.files = unique(f.tests), unique(f.files)
	f.folders = outermost(f.folders)
	f.files = slices.DeleteFunc(f.files, func(path string) bool {
		return slices.ContainsFunc(f.folders, func(d folder) bool { return within(path, d.path) })
	})
	return f, nil
}

func (f *found) addFolder(path string) error {
	f.folders = append(f.folders, folder{path: path, named: true})
	return source.Walk(os.DirFS(path), path, isTest, func(test source.File) error {
		f.tests = append(f.tests, test.Name)
		return nil
	})
}

// addBeside adds the test file of a rule file.
func (f *found) addBeside(path string) {
	stem := strings.TrimSuffix(path, filepath.Ext(path))
	for _, extension := range []string{"_test.yaml", "_test.yml"} {
		if _, err := os.Stat(stem + extension); err == nil {
			f.tests = append(f.tests, stem+extension)
		}
	}
}

func isTest(path string) bool { return source.HasExtension(path, "_test.yaml", "_test.yml") }

// unique sorts paths and leaves each once, however it is written.
func unique(paths []string) []string {
	for i := range paths {
		paths[i] = filepath.Clean(paths[i])
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// outermost leaves out the folders that lie in another one, whose rules are read with it.
func outermost(folders []folder) []folder {
	for i := range folders {
		folders[i].path = filepath.Clean(folders[i].path)
	}
	slices.SortFunc(folders, func(a, b folder) int { return cmp.Compare(len(a.path), len(b.path)) })
	var kept []folder
	for _, f := range folders {
		i := slices.IndexFunc(kept, func(outer folder) bool { return f.path == outer.path || within(f.path, outer.path) })
		if i < 0 {
			kept = append(kept, f)
		} else {
			kept[i].named = kept[i].named || f.named
		}
	}
	return kept
}

func within(path, folder string) bool {
	relative, err := filepath.Rel(folder, path)
	return err == nil && filepath.IsLocal(relative)
}

// loadRules reads the rules of all folders and files as one set.
func (s *Suite) loadRules(f *found) (diag.List, error) {
	l := ruleLoader{options: rule.Options{Schema: s.schema}, subjects: s.subjects}
	for _, d := range f.folders {
		set, err := rule.LoadDir(d.path, l.options)
		l.keep(set, d.named, err)
		imported, err := elastic.Load(d.path, l.options)
		l.keepElastic(imported, err)
	}
	own, foreign := split(f.files)
	if len(own) > 0 {
		set, err := rule.LoadFiles(own, l.options)
		l.keep(set, true, err)
	}
	imported, err := elastic.LoadFiles(foreign, l.options)
	l.keepElastic(imported, err)
	merged, err := rule.Merge(l.sets...)
	s.rules = merged
	return l.problems, errors.Join(append(l.errs, err)...)
}

// split tells rule files of our format from those of Elastic's.
func split(paths []string) (own, foreign []string) {
	for _, path := range paths {
		if elastic.IsRuleFile(path) {
			foreign = append(foreign, path)
		} else {
			own = append(own, path)
		}
	}
	return own, foreign
}

// ruleLoader collects what is read. Its errors are about reading.
type ruleLoader struct {
	options  rule.Options
	subjects map[string]bool
	sets     []*rule.Set
	problems diag.List
	errs     []error
}

// keep takes a set in. Its rules ought to have tests if they were asked for.
func (l *ruleLoader) keep(set *rule.Set, asked bool, err error) {
	var invalid *rule.InvalidError
	switch {
	case errors.As(err, &invalid):
		l.problems = append(l.problems, invalid.Problems...)
		return
	case err != nil:
		l.errs = append(l.errs, err)
		return
	}
	for _, r := range set.All() {
		l.subjects[r.Name] = l.subjects[r.Name] || asked
	}
	l.sets = append(l.sets, set)
}

// keepElastic takes in what runs of Elastic's rules. What is wrong with the
// others is the business of portcullisctl rule import.
func (l *ruleLoader) keepElastic(imported *elastic.Import, err error) {
	if err != nil {
		l.errs = append(l.errs, err)
		return
	}
	set, err := imported.Set()
	l.keep(set, false, err)
}

// loadTests reads one test file.
func (s *Suite) loadTests(path string) (diag.List, error) {
	opened, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read tests: %w", err)
	}
	text, err := source.Text(opened)
	if err != nil {
		return nil, fmt.Errorf("read tests: %s: %w", path, err)
	}
	files, problems := parse(token.NewFile(path, text), s.schema, s.rules)
	s.files = append(s.files, files...)
	return problems, nil
}

// meant is a hint at the name that was probably meant.
func meant(name string, names []string) string {
	if near := diag.Nearest(name, names); near != "" {
		return fmt.Sprintf(", did you mean %q?", near)
	}
	return ""
}
