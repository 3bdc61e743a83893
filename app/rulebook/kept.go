package rulebook

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/portcullis-dev/portcullis/rule/source"
)

// Where a file in the archive is from, as tar writes what it does not know itself.
const (
	recordKind      = "PORTCULLIS.kind"
	recordDirectory = "PORTCULLIS.directory"
)

// maxKeptFiles bounds the files in an archive. More than those of four folders
// are not read from it.
const maxKeptFiles = 4 * source.MaxFiles

// archive is the file that keeps the rule files which are in force: a compressed
// tar, which is there as a whole or not at all.
type archive string

// save replaces the archive. at is when the rules came into force.
func (a archive) save(folders []folder, at time.Time) error {
	next := string(a) + ".new"
	err := pack(next, folders, at)
	if err == nil {
		err = os.Rename(next, string(a))
	}
	if err != nil {
		_ = os.Remove(next) // it is written from its beginning the next time
		return fmt.Errorf("keep the rules in force: %w", err)
	}
	return syncDirectory(filepath.Dir(string(a)))
}

// remove takes the archive away, if there is one.
func (a archive) remove() error {
	if err := os.Remove(string(a)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// pack writes the archive to a file of that name, down to the disk.
func pack(name string, folders []folder, at time.Time) (err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	packed := gzip.NewWriter(f)
	packed.ModTime = at
	if err := packFolders(packed, folders, at); err != nil {
		return err
	}
	return errors.Join(packed.Close(), f.Sync())
}

func packFolders(w io.Writer, folders []folder, at time.Time) error {
	t := tar.NewWriter(w)
	for _, folder := range folders {
		for _, f := range folder.files {
			err := t.WriteHeader(&tar.Header{
				Name: f.Name, Size: int64(len(f.Text)), Mode: 0o600, ModTime: at, Format: tar.FormatPAX,
				PAXRecords: map[string]string{recordKind: string(folder.kind), recordDirectory: folder.dir},
			})
			if err != nil {
				return fmt.Errorf("%q: %w", f.Name, err)
			}
			if _, err := io.WriteString(t, f.Text); err != nil {
				return err
			}
		}
	}
	return t.Close()
}

func syncDirectory(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// load reads the archive, and when its rules came into force. The error wraps
// os.ErrNotExist if there is none.
func (a archive) load(maxBytes int) (folders []folder, at time.Time, err error) {
	f, err := os.Open(string(a))
	if err != nil {
		return nil, time.Time{}, err
	}
	defer func() { _ = f.Close() }() // it was only read
	packed, err := gzip.NewReader(f)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%s: %w", a, err)
	}
	// Headers and padding come to a few blocks for each file.
	bounded := io.LimitReader(packed, int64(maxBytes)+maxKeptFiles*4096)
	if folders, err = unpack(tar.NewReader(bounded), maxBytes); err == nil {
		// The checksum stands behind the end.
		_, err = io.Copy(io.Discard, bounded)
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%s: %w", a, err)
	}
	return folders, packed.ModTime, nil
}

func unpack(t *tar.Reader, maxBytes int) (folders []folder, err error) {
	for n, total := 0, 0; ; n++ {
		header, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return folders, nil
		case err != nil:
			return nil, err
		case n == maxKeptFiles:
			return nil, fmt.Errorf("more than %d files", maxKeptFiles)
		}
		p := place{kind(header.PAXRecords[recordKind]), header.PAXRecords[recordDirectory]}
		if p.kind != shipped && p.kind != portcullis && p.kind != elastics {
			return nil, fmt.Errorf("%q is of kind %q, which this version does not know", header.Name, p.kind)
		}
		text, err := source.Text(io.NopCloser(t))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", header.Name, err)
		}
		if total += len(text); total > maxBytes {
			return nil, fmt.Errorf("more than %d bytes", maxBytes)
		}
		folders = add(folders, p, source.File{Name: header.Name, Text: text})
	}
}
