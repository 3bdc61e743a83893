package jetstream

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/portcullis-dev/portcullis/bus"
)

// mount mounts a disk of its own in memory, of so many MiB, until the test ends.
func mount(tb testing.TB, size int) string {
	tb.Helper()
	dir := tb.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", size)); err != nil {
		if os.Getenv("CI") == "true" {
			tb.Fatalf("mount: %v", err)
		}
		tb.Skipf("mount: %v", err)
	}
	tb.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			tb.Error(err)
		}
	})
	return dir
}

// ballast takes so many MiB of a disk.
func ballast(tb testing.TB, disk string, size int) (remove func()) {
	tb.Helper()
	name := filepath.Join(disk, "ballast")
	if err := os.WriteFile(name, make([]byte, size<<20), 0o600); err != nil {
		tb.Fatal(err)
	}
	return func() {
		if err := os.Remove(name); err != nil {
			tb.Error(err)
		}
	}
}

// fill publishes large candidates of a key until one is refused, and returns what was not.
func fill(tb testing.TB, b *Bus, key string) ([]string, error) {
	tb.Helper()
	var stored []string
	for i := range 10000 {
		c := bus.Candidate{Rule: "r", Key: key, Stage: i, Event: filling(tb, fmt.Sprintf("%s/%d", key, i), 200<<10)}
		if err := b.Publish(tb.Context(), c); err != nil {
			return stored, err
		}
		stored = append(stored, fmt.Sprintf("%s/%d", key, i))
	}
	return stored, nil
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	disk := mount(t, 24)
	makeRoom := ballast(t, disk, 12)
	dir := filepath.Join(disk, "store")
	s := open(t, options(dir))
	b, records := openBus(t, s), openBucket(t, s)
	put(t, records, "k", "1")

	stored, err := fill(t, b, "before")
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrFull) {
		t.Fatalf("error of a full disk is %v", err)
	}
	if err = b.Publish(t.Context(), candidate("full", 0)); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("error of a full disk is %v", err)
	}
	if err = records.Put(t.Context(), "l", nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("error of a full disk is %v", err)
	}

	makeRoom()
	if _, err = s.await(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, records, "m", "2")
	publish(t, b, candidate("after", 0))
	stored = append(stored, "after/0")
	check := func(b *Bus, records *Bucket) {
		t.Helper()
		// What was refused may have been stored, or not.
		var got []string
		for _, name := range consumeAll(t, b) {
			if name != fmt.Sprintf("before/%d", len(stored)-1) {
				got = append(got, name)
			}
		}
		if diff := cmp.Diff(stored, got); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(map[string]string{"k": "1", "m": "2"}, all(t, records)); diff != "" {
			t.Error(diff)
		}
	}
	check(b, records)
	shut(t, s)
	s = open(t, options(dir))
	check(openBus(t, s), openBucket(t, s))
}

// TestDiskWithoutRoomForAFileLosesNothingAtStart starts again and again on a disk without a free inode. The server
// inside would delete the streams that it cannot load there.
func TestDiskWithoutRoomForAFileLosesNothingAtStart(t *testing.T) {
	t.Parallel()
	disk := mount(t, 24)
	dir := filepath.Join(disk, "store")
	s := open(t, options(dir))
	publish(t, openBus(t, s), candidates("k", 100)...)
	put(t, openBucket(t, s), "k", "1")
	shut(t, s)
	for _, inodes := range []int{0, 1, 2, 5, 8, 12, 14, 16, 18, 20} {
		var stat unix.Statfs_t
		if err := unix.Statfs(disk, &stat); err != nil {
			t.Fatal(err)
		}
		limit := fmt.Sprintf("nr_inodes=%d", int(stat.Files-stat.Ffree)+inodes)
		if err := unix.Mount("", disk, "", unix.MS_REMOUNT, limit); err != nil {
			t.Fatal(err)
		}
		tried, err := Open(t.Context(), options(dir))
		if err == nil {
			_, err = tried.Bus(t.Context(), BusOptions{Retention: time.Hour, MaxBytes: 256 << 20})
			shut(t, tried)
		}
		t.Logf("with %d inodes: %v", inodes, err)
	}
	if err := unix.Mount("", disk, "", unix.MS_REMOUNT, "nr_inodes=0"); err != nil {
		t.Fatal(err)
	}
	s = open(t, options(dir))
	if diff := cmp.Diff(names(candidates("k", 100)), consumeAll(t, openBus(t, s))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"k": "1"}, all(t, openBucket(t, s))); diff != "" {
		t.Error(diff)
	}
}

func TestReadOnlyDirectorySaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	disk := mount(t, 24)
	dir := filepath.Join(disk, "store")
	shut(t, open(t, options(dir)))
	if err := unix.Mount("", disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), options(dir))
	if !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), dir) {
		t.Errorf("error is %v", err)
	}
}

// freezable mounts a disk whose writes can be made to wait.
func freezable(tb testing.TB) (disk string, freeze, thaw func()) {
	tb.Helper()
	run := func(name string, args ...string) {
		tb.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			if os.Getenv("CI") == "true" {
				tb.Fatalf("%s %v: %v: %s", name, args, err, out)
			}
			tb.Skipf("%s %v: %v: %s", name, args, err, out)
		}
	}
	dir := tb.TempDir()
	image, disk := filepath.Join(dir, "image"), filepath.Join(dir, "disk")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 64<<20), os.Mkdir(disk, 0o700)); err != nil {
		tb.Fatal(err)
	}
	run("mkfs.ext4", "-q", image)
	run("mount", "-o", "loop", image, disk)
	tb.Cleanup(func() { run("umount", disk) })
	freeze = func() {
		// Who waits for a frozen disk cannot even be killed: something else thaws it if this process does not.
		guard := exec.Command("sh", "-c", `sleep 30; fsfreeze -u "$0"`, disk)
		if err := guard.Start(); err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = guard.Process.Kill(); _ = guard.Wait() })
		run("fsfreeze", "-f", disk)
	}
	return disk, freeze, func() { run("fsfreeze", "-u", disk) }
}

func TestStopOnADiskThatHangs(t *testing.T) {
	t.Parallel()
	disk, freeze, thaw := freezable(t)
	o := options(filepath.Join(disk, "store"))
	o.Timeout, o.closing = 100*time.Millisecond, 100*time.Millisecond
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	b := openBus(t, s)
	publish(t, b, candidate("k", 0))
	freeze()
	if err = b.Publish(t.Context(), candidate("hung", 0)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("error is %v", err)
	}
	err = s.Close()
	thaw()
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "close the store") {
		t.Errorf("error is %v", err)
	}
	next := options(o.Directory)
	next.LockTimeout = time.Minute // The other goes on to its end now.
	if got := consumeAll(t, openBus(t, open(t, next))); len(got) == 0 || got[0] != "k/0" {
		t.Errorf("what is left is %v", got)
	}
}

func TestDiskThatHangs(t *testing.T) {
	t.Parallel()
	disk, freeze, thaw := freezable(t)
	o := options(filepath.Join(disk, "store"))
	o.Timeout = 2 * time.Second
	s := open(t, o)
	b, records := openBus(t, s), openBucket(t, s)
	publish(t, b, candidate("k", 0))

	freeze()
	for name, err := range map[string]error{
		"publish": b.Publish(t.Context(), candidate("hung", 0)),
		"put":     records.Put(t.Context(), "hung", nil),
	} {
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "did not answer within 2s") {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	thaw()

	publish(t, b, candidate("k", 1))
	put(t, records, "k", "1")
	var got []string
	for _, name := range consumeAll(t, b) {
		if name != "hung/0" {
			got = append(got, name)
		}
	}
	if diff := cmp.Diff([]string{"k/0", "k/1"}, got); diff != "" {
		t.Error(diff)
	}
	counted(t, "failures", s.metrics.failures, 0)
}
