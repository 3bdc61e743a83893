package rule

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/token"
	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/rule/source"
)

// maxRules bounds a set.
const maxRules = 4096

// Options configure reading.
type Options struct {
	// Schema knows the fields that queries may name. Required.
	Schema value.Schema
	// Language are the compiler's options.
	Language eql.Options
}

// InvalidError says everything that is wrong with a set of rule files.
type InvalidError struct {
	// Problems has at least one error, and the warnings.
	Problems diag.List
}

// Error returns all errors, one per line.
func (e *InvalidError) Error() string {
	found := e.Problems.Errors()
	lines := make([]string, len(found))
	for i, d := range found {
		lines[i] = d.String()
	}
	return "rules are not valid:\n" + strings.Join(lines, "\n")
}

// Render returns all problems with the lines that they are about.
func (e *InvalidError) Render() string { return e.Problems.Render() }

// Load reads all rule files of a file system: *.yaml and *.yml at any depth,
// except *_test.yaml (rules' unit tests) and what is in folders that start with
// a dot (as a mounted ConfigMap has). The error is an *InvalidError if a file
// is not right.
func Load(fsys fs.FS, o Options) (*Set, error) {
	return load(fsys, "", o)
}

// LoadDir is Load for a folder; messages show the files' full paths.
func LoadDir(dir string, o Options) (*Set, error) {
	return load(os.DirFS(dir), dir, o)
}

// LoadFiles reads the given files, whatever they are called.
func LoadFiles(paths []string, o Options) (*Set, error) {
	if len(paths) > source.MaxFiles {
		return nil, fmt.Errorf("read rules: %d files, at most %d are read", len(paths), source.MaxFiles)
	}
	l, err := newLoader(o)
	if err != nil {
		return nil, err
	}
	for _, p := range paths {
		opened, err := os.Open(p)
		if err != nil {
			return nil, fmt.Errorf("read rules: %w", err)
		}
		text, err := source.Text(opened)
		if err = l.read(source.File{Name: p, Text: text, Err: err}); err != nil {
			return nil, fmt.Errorf("read rules: %w", err)
		}
	}
	return l.set()
}

// LoadTexts is Load for files that are read already, whatever they are called.
func LoadTexts(files []source.File, o Options) (*Set, error) {
	l, err := newLoader(o)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if err := l.read(f); err != nil {
			return nil, fmt.Errorf("read rules: %w", err)
		}
	}
	return l.set()
}

func load(fsys fs.FS, dir string, o Options) (*Set, error) {
	l, err := newLoader(o)
	if err != nil {
		return nil, err
	}
	if err := source.Walk(fsys, dir, IsRuleFile, l.read); err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	return l.set()
}

// IsRuleFile reports whether a path is that of a file that Load reads.
func IsRuleFile(p string) bool {
	return source.HasExtension(p, ".yaml", ".yml") && !source.HasExtension(p, "_test.yaml", "_test.yml")
}

// loader collects rules and problems over several files.
type loader struct {
	options  Options
	rules    []*Rule
	first    map[string]*Rule
	problems diag.List
}

func newLoader(o Options) (*loader, error) {
	if o.Schema == nil {
		return nil, errors.New("rule options: Schema is missing")
	}
	return &loader{options: o, first: map[string]*Rule{}}, nil
}

// read takes a file in. Its error is about reading; what is wrong with the text
// is a problem.
func (l *loader) read(f source.File) error {
	switch {
	case errors.Is(f.Err, source.ErrTooLarge):
		l.problems = append(l.problems, diag.Diagnostic{File: token.NewFile(f.Name, ""), Message: f.Err.Error()})
		return nil
	case f.Err != nil:
		return fmt.Errorf("%s: %w", f.Name, f.Err)
	}
	file := token.NewFile(f.Name, f.Text)
	rules, problems := parse(file, l.options)
	l.problems = append(l.problems, problems...)
	for _, r := range rules {
		if err := l.add(file, r); err != nil {
			return err
		}
	}
	return nil
}

// add takes a rule in, unless its name is taken.
func (l *loader) add(file *token.File, r *parsedRule) error {
	if first, ok := l.first[r.Name]; ok {
		l.problems = append(l.problems, diag.Diagnostic{File: file, Span: r.nameSpan,
			Message: fmt.Sprintf("metadata.name: %s:%d has a rule %q already", first.File, first.Line, r.Name)})
		return nil
	}
	if len(l.rules) == maxRules {
		return fmt.Errorf("%s: more than %d rules", file.Name(), maxRules)
	}
	l.first[r.Name] = &r.Rule
	l.rules = append(l.rules, &r.Rule)
	return nil
}

func (l *loader) set() (*Set, error) {
	if l.problems.HasErrors() {
		return nil, &InvalidError{Problems: l.problems}
	}
	return NewSet(l.rules...)
}
