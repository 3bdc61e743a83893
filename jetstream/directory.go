package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// format is the version of the store's layout and encoding that this package
// writes, and the newest that it reads.
const format = 1

// The names in a Store's directory. The server inside makes "jetstream" itself.
const (
	lockName    = "lock"
	formatName  = "format.json"
	streamsPath = "jetstream/$G/streams"
	netName     = "net"
)

// directory is a Store's directory, locked for as long as it is open.
type directory struct {
	path string
	lock *os.File
}

// openDirectory makes the directory if need be, sees to it that it is private,
// locks it, and checks that this version can read it.
func openDirectory(ctx context.Context, path string, o Options) (*directory, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory: %w", err)
	}
	if err := private(path); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the directory cannot be written, make it this user's (%d): %w", os.Getuid(), err)
	}
	d := &directory{path: path, lock: lock}
	if err = d.acquire(ctx, o); err == nil {
		err = d.checkFormat()
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

// private takes the directory from everybody else. What is in it was read from
// audit events and command lines.
func private(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no directory", path)
	case info.Mode().Perm()&0o077 == 0:
		return nil
	}
	if err = os.Chmod(path, 0o700); err != nil { //nolint:gosec // a directory needs x
		return fmt.Errorf("others can look into the directory, and that cannot be changed; name one below it instead: %w", err)
	}
	return nil
}

// lockPause is how often a lock is tried that another process holds: the kernel can wait for
// it, but not for a while only.
const lockPause = 20 * time.Millisecond

// acquire takes the lock. The kernel lets go of it when the process ends, however it ends.
func (d *directory) acquire(ctx context.Context, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, o.LockTimeout)
	defer cancel()
	for first := true; ; first = false {
		err := unix.Flock(int(d.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			return fmt.Errorf("lock the directory: %w", err)
		}
		if first && o.LockTimeout > 0 {
			o.Logger.Warn("another process uses the store, waiting for its end", "directory", d.path, "at most", o.LockTimeout)
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return ErrLocked
		}
	}
}

type formatFile struct {
	Format int `json:"format"`
}

// checkFormat sees whether this version can read what is in the directory.
func (d *directory) checkFormat() error {
	name := filepath.Join(d.path, formatName)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return d.writeFormat(name)
	}
	if err != nil {
		return fmt.Errorf("read the store's format: %w", err)
	}
	var f formatFile
	if err = json.Unmarshal(text, &f); err != nil || f.Format < 1 {
		return fmt.Errorf("%s is damaged: if the store was written by format %d, delete the file, else move the directory away", name, format)
	}
	if f.Format > format {
		return fmt.Errorf("%w (format %d, this one reads up to %d): start that version again, or move %s away and lose what is in it",
			ErrNewer, f.Format, format, d.path)
	}
	return nil
}

// writeFormat writes the format's file whole or not at all.
func (d *directory) writeFormat(name string) error {
	text, err := json.Marshal(formatFile{Format: format})
	if err != nil {
		return err
	}
	if err = os.WriteFile(name+".new", append(text, '\n'), 0o600); err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		return fmt.Errorf("write the store's format: %w", err)
	}
	return nil
}

func (d *directory) close() error { return d.lock.Close() }

// clean removes what the server inside has noted about its blocks of messages when it was stopped, so
// that it reads and verifies all of them when it starts. It would do so after a crash anyway; after a clean
// stop it would find damage only while it delivers, and get stuck in it. It also removes the files by which
// the server tries whether it can write, and of which one stays if it is killed meanwhile.
func (d *directory) clean() error {
	for _, pattern := range []string{
		filepath.Join(d.stream("*"), "msgs", "index.db"), filepath.Join(d.stream("*"), "_test_*"), filepath.Join(d.path, "jetstream", "_test_*"),
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, name := range found {
			if err = os.Remove(name); err != nil {
				return fmt.Errorf("clean up before the start: %w", err)
			}
		}
	}
	return nil
}

// stream is the directory of one stream of the server inside.
func (d *directory) stream(name string) string {
	return filepath.Join(d.path, filepath.FromSlash(streamsPath), name)
}

// has reports whether there is something of a stream on the disk.
func (d *directory) has(name string) bool {
	_, err := os.Lstat(d.stream(name))
	_, caught := os.Lstat(d.caught(name))
	return err == nil || caught == nil
}

// probeSize is how much must fit on the disk before a failed store is tried again.
const probeSize = 1 << 20

// probe tries whether the directory can be written.
func (d *directory) probe() error {
	name := filepath.Join(d.path, "probe")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, probeSize))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), os.Remove(name))
}
