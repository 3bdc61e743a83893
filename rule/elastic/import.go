package elastic

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/token"
	"github.com/portcullis-dev/portcullis/rule"
	"github.com/portcullis-dev/portcullis/rule/source"
)

// EQL is the type of the rules that can run.
const EQL = "eql"

// Types returns all types of rules that there are.
func Types() []string {
	return []string{EQL, "esql", "machine_learning", "new_terms", "query", "saved_query", "threat_match", "threshold"}
}

// Result says what became of a file.
type Result string

// The results.
const (
	// Loaded: there is a rule.
	Loaded Result = "loaded"
	// NotSupported: a rule of a type that does not run here.
	NotSupported Result = "not supported"
	// LeftOut: a rule that could run but should not.
	LeftOut Result = "left out"
	// Broken: a file that cannot be read, or a rule with errors.
	Broken Result = "broken"
)

// File is one file and what became of it.
type File struct {
	Path string
	// Name is what the rule is called, or would be.
	Name string
	// ID, Title and Type are rule_id, name and type of the rule, empty where
	// the file does not tell.
	ID, Title, Type string
	Result          Result
	// Why is a short reason for everything but Loaded.
	Why string
	// Rule is set if Result is Loaded.
	Rule *rule.Rule
	// Problems are errors where Result is Broken, and warnings.
	Problems diag.List
}

// Import is what a folder held.
type Import struct {
	// Files are all rule files, in the order of their paths. TOML files that
	// hold no rule are not among them.
	Files []File
}

// Load reads all *.toml files of a folder, at any depth. Its error is about the
// folder; what is wrong with a file is in the Import. Options.Language applies,
// but for unknown fields, which are warnings.
func Load(dir string, o rule.Options) (*Import, error) {
	return LoadFS(os.DirFS(dir), dir, o)
}

// LoadFS is Load for a file system; dir stands in front of the files' names.
func LoadFS(fsys fs.FS, dir string, o rule.Options) (*Import, error) {
	l, err := newLoader(o)
	if err != nil {
		return nil, err
	}
	err = source.Walk(fsys, dir, IsRuleFile, func(f source.File) error {
		l.read(f)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	return l.result(), nil
}

// LoadFiles reads the given files, whatever they are called.
func LoadFiles(paths []string, o rule.Options) (*Import, error) {
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
		l.read(source.File{Name: p, Text: text, Err: err})
	}
	return l.result(), nil
}

// LoadTexts is Load for files that are read already, whatever they are called.
func LoadTexts(files []source.File, o rule.Options) (*Import, error) {
	l, err := newLoader(o)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		l.read(f)
	}
	return l.result(), nil
}

// IsRuleFile reports whether a path is that of a file that Load reads.
func IsRuleFile(path string) bool { return source.HasExtension(path, ".toml") }

// Set returns the rules that run.
func (i *Import) Set() (*rule.Set, error) {
	var rules []*rule.Rule
	for _, f := range i.Files {
		if f.Rule != nil {
			rules = append(rules, f.Rule)
		}
	}
	return rule.NewSet(rules...)
}

// Problems returns the errors and warnings of all files.
func (i *Import) Problems() diag.List {
	var all diag.List
	for _, f := range i.Files {
		all = append(all, f.Problems...)
	}
	return all
}

// Count returns how many files have a result.
func (i *Import) Count(r Result) int {
	n := 0
	for _, f := range i.Files {
		if f.Result == r {
			n++
		}
	}
	return n
}

// loader collects files, and knows the names and ids that are taken.
type loader struct {
	options rule.Options
	files   []File
	names   map[string]string
	ids     map[string]string
}

func newLoader(o rule.Options) (*loader, error) {
	if o.Schema == nil {
		return nil, errors.New("rule options: Schema is missing")
	}
	o.Language.UnknownFields = diag.Warning
	return &loader{options: o, names: map[string]string{}, ids: map[string]string{}}, nil
}

func (l *loader) read(f source.File) {
	if f.Err != nil {
		l.files = append(l.files, unreadable(token.NewFile(f.Name, ""), token.Span{}, f.Err.Error()))
		return
	}
	read, isRule := parse(token.NewFile(f.Name, f.Text), l.options)
	if isRule {
		l.files = append(l.files, l.unique(read))
	}
}

// unique refuses a rule that is there already, under its name or its id: a
// folder with a copy in it would tell everything twice.
func (l *loader) unique(f File) File {
	if f.Rule == nil {
		return f
	}
	if first, taken := l.ids[f.ID]; taken && f.ID != "" {
		return f.leaveOut(LeftOut, "it is the same rule as %s: both have the rule_id %s", first, f.ID)
	}
	if first, taken := l.names[f.Rule.Name]; taken {
		return f.leaveOut(Broken, "a rule is called like its file, and %s is called %s as well: rename one of them", first, f.Rule.Name)
	}
	l.ids[f.ID], l.names[f.Rule.Name] = f.Path, f.Path
	return f
}

func (f File) leaveOut(r Result, format string, args ...any) File {
	f.Rule, f.Result, f.Why = nil, r, fmt.Sprintf(format, args...)
	if r == Broken {
		f.Problems = append(f.Problems, diag.Diagnostic{File: token.NewFile(f.Path, ""), Message: f.Why})
	}
	return f
}

func (l *loader) result() *Import {
	slices.SortStableFunc(l.files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	return &Import{Files: l.files}
}
