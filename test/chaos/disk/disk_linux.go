package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// The requests of ioctl that stop and continue all writing to a file system.
const (
	fiFreeze = 0xC0045877
	fiThaw   = 0xC0045878
)

// Disk is a mounted file system. Its methods are for one goroutine.
type Disk struct {
	// Dir is where it is mounted.
	Dir string
}

// New makes a disk of so many MiB in a directory and mounts it beside. The program must be isolated.
func New(dir string, size int64) (*Disk, error) {
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "disk")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, size<<20), os.Mkdir(at, 0o700)); err != nil {
		return nil, fmt.Errorf("make a disk: %w", err)
	}
	for _, args := range [][]string{
		{"mkfs.ext4", "-q", "-m", "0", image},
		{"mount", "-o", "loop", image, at},
	} {
		cmd := exec.CommandContext(context.Background(), args[0], args[1:]...) //nolint:gosec // constants
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%v: %w: %s", args, err, out)
		}
	}
	return &Disk{Dir: at}, nil
}

// Close unmounts it.
func (d *Disk) Close() error {
	if err := unix.Unmount(d.Dir, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", d.Dir, err)
	}
	return nil
}

// Fill leaves no room on the disk. Free gives it back.
func (d *Disk) Fill() error {
	file, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("fill the disk: %w", err)
	}
	defer file.Close()
	for size := 1 << 20; size >= 512; {
		_, err := file.Write(make([]byte, size))
		switch {
		case errors.Is(err, unix.ENOSPC):
			size /= 2
		case err != nil:
			return fmt.Errorf("fill the disk: %w", err)
		}
	}
	return nil
}

// Free gives the room back.
func (d *Disk) Free() error { return os.Remove(d.ballast()) }

func (d *Disk) ballast() string { return filepath.Join(d.Dir, "ballast") }

// Hang has everybody who writes to the disk wait for so long, or until ctx ends.
func (d *Disk) Hang(ctx context.Context, long time.Duration) error {
	// Who waits for a frozen disk cannot even be killed: something else thaws it if this process ends meanwhile.
	guard := exec.CommandContext(context.WithoutCancel(ctx), "sh", "-c", `read -r _; fsfreeze -u "$0" 2>/dev/null`, d.Dir) //nolint:gosec // a constant
	pipe, err := guard.StdinPipe()
	if err != nil {
		return err
	}
	if err = guard.Start(); err != nil {
		return fmt.Errorf("hang the disk: %w", err)
	}
	dir, err := os.Open(d.Dir)
	if err != nil {
		return errors.Join(err, pipe.Close())
	}
	defer dir.Close()
	err = unix.IoctlSetInt(int(dir.Fd()), fiFreeze, 0)
	if err == nil {
		select {
		case <-time.After(long):
		case <-ctx.Done():
		}
		err = unix.IoctlSetInt(int(dir.Fd()), fiThaw, 0)
	}
	err = errors.Join(err, pipe.Close())
	_ = guard.Wait() // It finds nothing left to thaw.
	return err
}
