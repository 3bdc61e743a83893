package rule

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/token"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// Bounds of what is read. The largest public rule file has 30 KiB.
const (
	maxFile  = 1 << 20
	maxFiles = 4096
	maxRules = 4096
)

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
	if len(paths) > maxFiles {
		return nil, fmt.Errorf("read rules: %d files, at most %d are read", len(paths), maxFiles)
	}
	l, err := newLoader(o)
	if err != nil {
		return nil, err
	}
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			return nil, fmt.Errorf("read rules: %w", err)
		}
		if err := l.read(p, f); err != nil {
			return nil, err
		}
	}
	return l.set()
}

func load(fsys fs.FS, dir string, o Options) (*Set, error) {
	l, err := newLoader(o)
	if err != nil {
		return nil, err
	}
	files := 0
	err = fs.WalkDir(fsys, ".", func(p string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && p != "." && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case entry.IsDir() || !isRuleFile(p):
			return nil
		}
		if files++; files > maxFiles {
			return fmt.Errorf("more than %d files", maxFiles)
		}
		f, err := fsys.Open(p)
		if err != nil {
			return err
		}
		return l.read(filepath.Join(dir, filepath.FromSlash(p)), f)
	})
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	return l.set()
}

func isRuleFile(p string) bool {
	name := path.Base(p)
	extension := path.Ext(name)
	stem := strings.TrimSuffix(name, extension)
	return (extension == ".yaml" || extension == ".yml") && !strings.HasSuffix(stem, "_test") && !strings.HasPrefix(name, ".")
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

// read reads and closes a file. Its error is about reading; what is wrong with
// the text is a problem.
func (l *loader) read(name string, f io.ReadCloser) error {
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("read rules: %s: %w", name, err)
	}
	file := token.NewFile(name, string(text))
	if len(text) > maxFile {
		l.problems = append(l.problems, diag.Diagnostic{File: token.NewFile(name, ""), Message: fmt.Sprintf("file has more than %d bytes", maxFile)})
		return nil
	}
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
		return fmt.Errorf("read rules: %s: more than %d rules", file.Name(), maxRules)
	}
	l.first[r.Name] = &r.Rule
	l.rules = append(l.rules, &r.Rule)
	return nil
}

func (l *loader) set() (*Set, error) {
	if l.problems.HasErrors() {
		return nil, &InvalidError{Problems: l.problems}
	}
	s, err := NewSet(l.rules...)
	if err != nil {
		return nil, err
	}
	s.warnings = l.problems
	return s, nil
}
