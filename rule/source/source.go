// Package source finds and reads rule files: at any depth of a folder, and in
// bounds, since whoever may write into the folder is not who reads it.
//
// Symbolic links to files are followed, as Kubernetes makes them where it mounts
// a ConfigMap; links to folders are not, so no walk goes in circles. What is
// neither a file nor a folder is not opened: a pipe would hold the reader up for ever.
package source

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
)

// Bounds of what is read. The largest public rule file has 60 KiB, and the
// largest public collection of them 2,000 files.
const (
	MaxFile  = 1 << 20
	MaxFiles = 16384
	maxDepth = 64
)

// ErrTooLarge is a File's error if it has more than MaxFile bytes.
var ErrTooLarge = fmt.Errorf("file has more than %d bytes", MaxFile)

// File is one file that was found.
type File struct {
	// Name is the path as the operator would write it.
	Name string
	// Text is empty if Err is not nil.
	Text string
	// Err says why the file could not be read.
	Err error
}

// Walk calls visit for every file below fsys whose path want accepts, in the
// order of the paths. dir is what fsys stands for, for the names. Folders whose
// name begins with a dot are left out, but for fsys itself.
//
// The error is visit's, or says that the folder cannot be listed or has too much in it.
func Walk(fsys fs.FS, dir string, want func(path string) bool, visit func(File) error) error {
	files := 0
	return fs.WalkDir(fsys, ".", func(p string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && p != "." && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case strings.Count(p, "/") >= maxDepth:
			return fmt.Errorf("%s: folders are nested more than %d deep", name(dir, p), maxDepth)
		case entry.IsDir() || !want(p):
			return nil
		}
		if files++; files > MaxFiles {
			return fmt.Errorf("%s: more than %d rule files", name(dir, "."), MaxFiles)
		}
		return visit(read(fsys, name(dir, p), p))
	})
}

func name(dir, p string) string { return filepath.Join(dir, filepath.FromSlash(p)) }

func read(fsys fs.FS, name, p string) File {
	f := File{Name: name}
	info, err := fs.Stat(fsys, p) // of what a link leads to
	switch {
	case err != nil:
		f.Err = cause(err)
		return f
	case !info.Mode().IsRegular():
		f.Err = errors.New("is not a file")
		return f
	}
	opened, err := fsys.Open(p)
	if err != nil {
		f.Err = cause(err)
		return f
	}
	f.Text, f.Err = Text(opened)
	return f
}

// Text reads and closes a file. The error is ErrTooLarge, or about reading.
func Text(f io.ReadCloser) (string, error) {
	text, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	switch {
	case err != nil:
		return "", cause(err)
	case len(text) > MaxFile:
		return "", ErrTooLarge
	default:
		return string(text), nil
	}
}

// cause leaves the path out, which stands in front of the message already.
func cause(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// HasExtension reports whether a path is that of a rule file: one that ends in
// one of the extensions (".toml") and whose name does not begin with a dot.
func HasExtension(p string, extensions ...string) bool {
	base := path.Base(filepath.ToSlash(p))
	for _, e := range extensions {
		if strings.HasSuffix(base, e) && !strings.HasPrefix(base, ".") {
			return true
		}
	}
	return false
}
