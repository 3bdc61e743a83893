package image

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"
)

// A File is one entry of the image's only layer. Exactly one of Source,
// Content, Link and Dir says what it is.
type File struct {
	// Path is where the entry is in the image, absolute and clean ("/bin/sh").
	Path string
	// Source names a regular file of this machine to copy; a symbolic link is followed.
	Source string
	// Content is the file's content when it is small enough to be given here.
	// A nil Content with no Source, Link or Dir is an empty file.
	Content []byte
	// Link makes the entry a symbolic link to this target, as it is written.
	Link string
	// Dir makes the entry a directory, for one that is empty or not 0755 root.
	Dir bool
	// Mode holds the permission bits, with fs.ModeSticky and fs.ModeSetuid where
	// wanted. Zero means 0755 for a directory or link and 0644 for a file.
	Mode fs.FileMode
	// UID and GID own the entry; zero is root.
	UID, GID int
}

// A Spec is everything that is in an image.
type Spec struct {
	// Files are the layer's entries, in any order. No two may have the same Path.
	Files []File
	// Entrypoint and Cmd are what runs, as in a Dockerfile's exec form.
	Entrypoint, Cmd []string
	// Env holds NAME=value pairs.
	Env []string
	// User is a user or "uid:gid"; empty is root. A numeric user lets the
	// kubelet check runAsNonRoot.
	User string
	// WorkingDir is where the process starts; empty is "/".
	WorkingDir string
	// Labels are the image's labels.
	Labels map[string]string
	// Architecture is a GOARCH; empty is that of this process.
	Architecture string
}

func (s Spec) architecture() string {
	if s.Architecture == "" {
		return runtime.GOARCH
	}
	return s.Architecture
}

func (s Spec) workingDir() string {
	if s.WorkingDir == "" {
		return "/"
	}
	return s.WorkingDir
}

// entries returns the layer's entries in the order in which they are written,
// with every missing parent directory in front of what is in it.
func (s Spec) entries() ([]File, error) {
	byPath := make(map[string]File, len(s.Files))
	for _, f := range s.Files {
		if err := f.validate(); err != nil {
			return nil, fmt.Errorf("file %q: %w", f.Path, err)
		}
		if _, taken := byPath[f.Path]; taken {
			return nil, fmt.Errorf("file %q: given twice", f.Path)
		}
		byPath[f.Path] = f.withDefaults()
	}
	for _, f := range s.Files {
		for dir := path.Dir(f.Path); dir != "/"; dir = path.Dir(dir) {
			parent, known := byPath[dir]
			if !known {
				byPath[dir] = File{Path: dir, Dir: true, Mode: 0o755}
			} else if !parent.Dir {
				return nil, fmt.Errorf("file %q: its parent %q is not a directory", f.Path, dir)
			}
		}
	}
	sorted := make([]File, 0, len(byPath))
	for _, f := range byPath {
		sorted = append(sorted, f)
	}
	// A parent is a prefix of what is in it, so it sorts first.
	slices.SortFunc(sorted, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return sorted, nil
}

func (f File) validate() error {
	if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" {
		return errors.New("the path is not absolute and clean")
	}
	kinds := 0
	for _, is := range []bool{f.Source != "", f.Content != nil, f.Link != "", f.Dir} {
		if is {
			kinds++
		}
	}
	if kinds > 1 {
		return errors.New("more than one of Source, Content, Link and Dir is set")
	}
	return nil
}

func (f File) withDefaults() File {
	if f.Mode == 0 {
		f.Mode = 0o644
		if f.Dir || f.Link != "" {
			f.Mode = 0o755
		}
	}
	return f
}
