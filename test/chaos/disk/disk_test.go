//go:build linux

package disk_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/test/chaos/disk"
)

// TestMain runs the tests where mounts are their own. Where that cannot be they are skipped, except on CI.
func TestMain(m *testing.M) {
	isolated, status, err := disk.Isolate()
	switch {
	case isolated:
		status = m.Run()
	case err != nil && os.Getenv("CI") != "true":
		fmt.Fprintln(os.Stderr, "skipped:", err)
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		status = 1
	default: // They have run, inside.
	}
	os.Exit(status)
}

func open(t *testing.T) *disk.Disk {
	t.Helper()
	d, err := disk.New(t.TempDir(), 16)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestFullDisk(t *testing.T) {
	d := open(t)
	write := func() error { return os.WriteFile(filepath.Join(d.Dir, "file"), make([]byte, 64<<10), 0o600) }
	if err := d.Fill(); err != nil {
		t.Fatal(err)
	}
	if err := write(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("writing to a full disk: %v", err)
	}
	if err := d.Free(); err != nil {
		t.Fatal(err)
	}
	if err := write(); err != nil {
		t.Errorf("writing to a disk that was full: %v", err)
	}
}

func TestDiskThatHangs(t *testing.T) {
	d := open(t)
	const long = 300 * time.Millisecond
	hung := make(chan error, 1)
	go func() { hung <- d.Hang(t.Context(), long) }()
	var slowest time.Duration
	for {
		select {
		case err := <-hung:
			if err != nil {
				t.Fatal(err)
			}
			if slowest < long/3 {
				t.Errorf("no write took longer than %s", slowest)
			}
			return
		default:
		}
		before := time.Now()
		if err := os.WriteFile(filepath.Join(d.Dir, "file"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(before))
	}
}

func TestMountsAreNobodyElses(t *testing.T) {
	d := open(t)
	ours, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.ReadFile(fmt.Sprintf("/proc/%d/mounts", os.Getppid()))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(ours), d.Dir) || strings.Contains(string(theirs), d.Dir) {
		t.Errorf("%s is mounted for others, or not at all", d.Dir)
	}
}
