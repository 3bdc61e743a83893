package rulebook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/rule"
	"github.com/portcullis-dev/portcullis/rule/elastic"
	"github.com/portcullis-dev/portcullis/rule/source"
)

// kind is what rule files are, and how they are read.
type kind string

const (
	shipped    kind = "shipped"
	portcullis kind = "portcullis"
	elastics   kind = "elastic"
)

// place is where rule files are: a folder, or the binary.
type place struct {
	kind kind
	dir  string // empty for the shipped ones
}

// places are all, in the order in which they are read.
func (s Sources) places() []place {
	var all []place
	if s.Shipped {
		all = append(all, place{kind: shipped})
	}
	for _, dir := range s.Directories {
		all = append(all, place{portcullis, dir})
	}
	for _, dir := range s.Elastic {
		all = append(all, place{elastics, dir})
	}
	return all
}

// String says in an error which rules are meant.
func (p place) String() string {
	switch p.kind {
	case shipped:
		return "shipped rules"
	case elastics:
		return "Elastic's rules in " + p.dir
	default:
		return "rules in " + p.dir
	}
}

func (p place) files() fs.FS {
	if p.kind == shipped {
		return config.Rules()
	}
	return os.DirFS(p.dir)
}

func (p place) accepts(path string) bool {
	if p.kind == elastics {
		return elastic.IsRuleFile(path)
	}
	return rule.IsRuleFile(path)
}

// folder is a place with its rule files as they were read.
type folder struct {
	place
	files []source.File
	err   error // why it could not be listed
}

// errTooMuch ends a look at folders.
var errTooMuch = errors.New("too much to read")

// scan looks at every rule file of all places. visit gets each, and each place that
// cannot be listed, with a file that has nothing but that error. The error of scan
// says that there are more than maxBytes to read.
func scan(places []place, maxBytes int, visit func(place, source.File)) error {
	total := 0
	for _, p := range places {
		err := source.Walk(p.files(), p.dir, p.accepts, func(f source.File) error {
			if total += len(f.Text); total > maxBytes {
				return errTooMuch
			}
			visit(p, f)
			return nil
		})
		switch {
		case errors.Is(err, errTooMuch):
			return fmt.Errorf("%s: the rule files of all folders have more than %d bytes", p, maxBytes)
		case err != nil:
			visit(p, source.File{Err: err})
		}
	}
	return nil
}

// read reads all rule files. The error is that of scan.
func read(places []place, maxBytes int) ([]folder, fingerprint, error) {
	var folders []folder
	h := newHasher()
	err := scan(places, maxBytes, func(p place, f source.File) {
		h.visit(p, f)
		folders = add(folders, p, f)
	})
	if err != nil {
		return nil, fingerprint{}, err
	}
	return folders, h.sum(), nil
}

// add puts a file of a place, as scan visits it, into the place's folder, which is the last one or new.
func add(folders []folder, p place, f source.File) []folder {
	if n := len(folders); n == 0 || folders[n-1].place != p {
		folders = append(folders, folder{place: p})
	}
	last := &folders[len(folders)-1]
	if f.Name == "" {
		last.err = f.Err
	} else {
		last.files = append(last.files, f)
	}
	return folders
}

// load makes rules of a folder's files. Elastic's rules that cannot run here are no
// error; files that are broken are one.
func (f folder) load(schema *field.Schema) (*rule.Set, []elastic.File, error) {
	if f.err != nil {
		return nil, nil, f.err
	}
	options := rule.Options{Schema: schema}
	if f.kind != elastics {
		set, err := rule.LoadTexts(f.files, options)
		return set, nil, err
	}
	imported, err := elastic.LoadTexts(f.files, options)
	if err != nil {
		return nil, nil, err
	}
	if imported.Count(elastic.Broken) > 0 {
		return nil, nil, &rule.InvalidError{Problems: imported.Problems()}
	}
	set, err := imported.Set()
	var notRun []elastic.File
	for _, file := range imported.Files {
		if file.Result != elastic.Loaded {
			notRun = append(notRun, file)
		}
	}
	return set, notRun, err
}
