package cgroup

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	v1Lines = `24 1 0:22 / /sys rw - sysfs sysfs rw
25 24 0:23 / /sys/fs/cgroup rw - tmpfs tmpfs rw
26 25 0:24 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
27 25 0:25 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
28 25 0:24 / /mnt/cpu-again rw - cgroup cgroup rw,cpu
29 25 0:26 /docker/x /sys/fs/cgroup/partly rw - cgroup cgroup rw,pids
`
	v2Line = `30 25 0:29 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw
`
)

func TestHierarchies(t *testing.T) {
	tests := []struct {
		name, mountinfo string
		mounts          []string
		mode            Mode
	}{
		{"v1", v1Lines, []string{"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpuset"}, V1},
		{"hybrid", v1Lines + v2Line, []string{"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpuset", "/sys/fs/cgroup/unified"}, Hybrid},
		{"v2", v2Line, []string{"/sys/fs/cgroup/unified"}, V2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			hierarchies, err := Hierarchies(test.mountinfo)
			if err != nil {
				t.Fatal(err)
			}
			var mounts []string
			for _, h := range hierarchies {
				mounts = append(mounts, h.Mount)
			}
			if diff := cmp.Diff(test.mounts, mounts); diff != "" {
				t.Errorf("mounts (-want +got):\n%s", diff)
			}
			if mode := ModeOf(hierarchies); mode != test.mode {
				t.Errorf("mode %s, want %s", mode, test.mode)
			}
		})
	}
	for _, text := range []string{"", "rubbish", "24 1 0:22 / /sys rw - sysfs sysfs rw\n"} {
		if _, err := Hierarchies(text); err == nil {
			t.Errorf("hierarchies found in %q", text)
		}
	}
}

func TestOpenRefusesWholeHierarchies(t *testing.T) {
	for _, name := range []string{"", "/", "x", "/x/..", "/../x"} {
		if _, err := Open(name); err == nil {
			t.Errorf("opened %q", name)
		}
	}
}

func TestInheritCPUSet(t *testing.T) {
	parent, child := t.TempDir(), t.TempDir()
	write(t, filepath.Join(parent, "cpuset.cpus"), "0-3\n")
	write(t, filepath.Join(parent, "cpuset.mems"), "0\n")
	write(t, filepath.Join(child, "cpuset.cpus"), "\n")
	write(t, filepath.Join(child, "cpuset.mems"), "1\n")
	if err := inheritCPUSet(parent, child); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(child, "cpuset.cpus")); got != "0-3\n" {
		t.Errorf("empty set became %q, want the parent's", got)
	}
	if got := read(t, filepath.Join(child, "cpuset.mems")); got != "1\n" {
		t.Errorf("set of its own became %q", got)
	}
}

func TestInheritCPUSetOfV2(t *testing.T) {
	parent, child := t.TempDir(), t.TempDir()
	write(t, filepath.Join(child, "cpuset.cpus"), "\n") // a v2 root has no such file
	if err := inheritCPUSet(parent, child); err != nil {
		t.Fatal(err)
	}
}

func TestEnableControllers(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "cgroup.controllers"), "cpu memory pids\n")
	control := filepath.Join(root, "cgroup.subtree_control")
	write(t, control, "cpu pids\n")
	if err := enableControllers(root); err != nil {
		t.Fatal(err)
	}
	// A plain file keeps the last write, which is the only one that was needed.
	if got := read(t, control); !strings.HasPrefix(got, "+memory") {
		t.Errorf("wrote %q, want +memory", got)
	}
}

// realTree is a tree of this test in the machine's own hierarchies.
func realTree(tb testing.TB) Tree {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("making a cgroup needs root")
	}
	tree, err := Open("/portcullis-unit-test")
	if err != nil {
		tb.Skip(err)
	}
	if err := tree.Create(); err != nil {
		tb.Skipf("this machine's cgroups cannot be changed: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := errors.Join(tree.Kill(ctx), tree.Remove(ctx)); err != nil {
			tb.Error(err)
		}
	})
	return tree
}

func TestKillAndRemove(t *testing.T) {
	tree := realTree(t)
	if err := tree.Create(); err != nil {
		t.Errorf("creating it twice: %v", err)
	}
	child := filepath.Join(tree.Dirs()[0], "pod", "container")
	if err := os.MkdirAll(child, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := inheritCPUSet(tree.Dirs()[0], filepath.Dir(child)); err != nil {
		t.Fatal(err)
	}
	sleep := exec.Command("sleep", "600")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- sleep.Wait() }()
	enter(t, tree.Dirs()[0], sleep.Process.Pid)

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	short, cancelShort := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancelShort()
	if err := tree.Remove(short); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("removing a cgroup with a process in it: %v, want EBUSY", err)
	}
	if err := tree.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	<-ended
	if err := tree.Remove(ctx); err != nil {
		t.Fatal(err)
	}
	if dirs := tree.Dirs(); len(dirs) != 0 {
		t.Errorf("left: %v", dirs)
	}
	if err := tree.Remove(ctx); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
}

func enter(tb testing.TB, dir string, pid int) {
	tb.Helper()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		tb.Skipf("this machine's cgroups cannot be entered: %v", err)
	}
}

func write(tb testing.TB, path, text string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

func read(tb testing.TB, path string) string {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}
