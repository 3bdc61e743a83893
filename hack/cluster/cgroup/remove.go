package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// settle is how long to wait between two looks at what is still there.
const settle = 20 * time.Millisecond

// Kill ends every process in the tree and returns when none is left.
func (t Tree) Kill(ctx context.Context) error {
	for {
		if err := t.thaw(); err != nil {
			return err
		}
		pids, err := t.Processes()
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		// A process may fork while it is being looked at, hence the loop.
		for _, pid := range pids {
			if pid == 0 {
				continue // a process of an outer pid namespace, which we cannot name
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill process %d: %w", pid, err)
			}
		}
		if err := wait(ctx); err != nil {
			return fmt.Errorf("kill processes %v of cgroup %s: %w", pids, t.name, err)
		}
	}
}

// thaw lets frozen processes run again, for they cannot die while frozen.
func (t Tree) thaw() error {
	return t.walk(func(dir string) error {
		for name, thawed := range map[string]string{"freezer.state": "THAWED", "cgroup.freeze": "0"} {
			path := filepath.Join(dir, name)
			if _, err := os.Stat(path); err != nil {
				continue
			}
			if err := os.WriteFile(path, []byte(thawed), 0); err != nil && ignoreGone(err) != nil {
				return fmt.Errorf("thaw cgroup: %w", err)
			}
		}
		return nil
	})
}

// Remove removes the tree, which must have no processes. A process that has
// just died keeps its cgroup busy for a moment, so Remove tries until ctx ends.
func (t Tree) Remove(ctx context.Context) error {
	for {
		err := t.removeOnce()
		if err == nil {
			return nil
		}
		if waitErr := wait(ctx); waitErr != nil {
			return fmt.Errorf("remove cgroup %s: %w", t.name, err)
		}
	}
}

func (t Tree) removeOnce() error {
	var dirs []string
	if err := t.walk(func(dir string) error { dirs = append(dirs, dir); return nil }); err != nil {
		return err
	}
	slices.Reverse(dirs) // children first
	for _, dir := range dirs {
		if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, syscall.ENOENT) {
			return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
		}
	}
	return nil
}

// ignoreGone forgives what happens when a cgroup is removed while it is read.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil
	}
	return err
}

func wait(ctx context.Context) error {
	timer := time.NewTimer(settle)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
