package jetstream

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The net. The server inside deletes a stream's directory if it cannot load it, whatever the
// reason: a full disk, no more descriptors, one file that cannot be read. So each stream is
// linked to a second place before it starts, and taken from there if it was not loaded. Links
// take no room; they go once the stream is loaded.

// caught is a stream's second place.
func (d *directory) caught(stream string) string { return filepath.Join(d.path, netName, stream) }

// partial is what a stream's second place is called while it is not complete: until all is linked, and from when it
// is being removed. It may be killed in between.
const partial = ".partial"

// spread links all streams.
func (d *directory) spread() error {
	if err := d.gather(); err != nil {
		return err
	}
	streams, err := entries(d.stream(""))
	if err != nil {
		return err
	}
	for _, stream := range streams {
		if err = link(d.stream(stream), d.caught(stream+partial)); err != nil {
			return err
		}
		// Only now is it all there.
		if err = os.Rename(d.caught(stream+partial), d.caught(stream)); err != nil {
			return err
		}
	}
	return nil
}

// gather takes back what is still in the net: a start has found it so, and has not got to the end with it. It is
// right, whatever has been done to the stream since.
func (d *directory) gather() error {
	left, err := entries(d.caught(""))
	if err != nil {
		return err
	}
	for _, stream := range left {
		if strings.HasSuffix(stream, partial) {
			err = os.RemoveAll(d.caught(stream))
		} else {
			err = errors.Join(os.RemoveAll(d.stream(stream)), os.MkdirAll(d.stream(""), 0o700),
				os.Rename(d.caught(stream), d.stream(stream)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// takeBack makes a stream what it was when the net was spread. It stays in the net.
func (d *directory) takeBack(stream string) error {
	if _, err := os.Lstat(d.caught(stream)); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(d.stream(stream)), link(d.caught(stream), d.stream(stream)))
}

// release lets go of a stream that is well.
func (d *directory) release(stream string) error {
	err := os.Rename(d.caught(stream), d.caught(stream+partial))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, os.RemoveAll(d.caught(stream+partial)))
}

// link makes a copy of a directory whose files are links to those of the first.
func link(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(to, below), 0o700)
		}
		return os.Link(path, filepath.Join(to, below)) //nolint:gosec // nobody else can write there
	})
}

// entries are the names of what is in a directory, none if it is not there.
func entries(directory string) ([]string, error) {
	found, err := os.ReadDir(directory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	all := make([]string, len(found))
	for i, e := range found {
		all[i] = e.Name()
	}
	return all, err
}
