package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/portcullis-dev/portcullis/hack/cluster/footprint"
	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
)

// CNICache is where the pod network's library keeps its results. The place
// is built into containerd, so it is covered by a mount, which needs it to exist.
const CNICache = "/var/lib/cni"

// KubeletSysctls are the kernel settings that the kubelet writes at start, with
// the values that it writes. They belong to the whole machine.
func KubeletSysctls() map[string]string {
	return map[string]string{
		"kernel/keys/root_maxbytes": "25000000",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
	}
}

// prepareMounts arranges the mount namespace that this process was started
// in.
func prepareMounts(l layout.Layout) error {
	// Mounts of one pod reach another where the pod's specification asks for
	// that; none reaches the machine, from which this namespace was cut off.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	binds := map[string]string{"/var/log": l.VarLog(), CNICache: l.CNIData()}
	for target, source := range binds {
		if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", target, err)
		}
	}
	if err := coverSysctls(l.Sysctl()); err != nil {
		return err
	}
	return mountKernelViews()
}

// refuseHostNamespaces guards the machine against a supervisor that was started by hand.
func refuseHostNamespaces() error {
	for _, kind := range []string{"mnt", "net"} {
		own, err := footprint.NamespaceOf(os.Getpid(), kind)
		if err != nil {
			return err
		}
		if err := footprint.RefuseMachine(kind, own); err != nil {
			return fmt.Errorf("`up` starts the supervisor in namespaces of its own, nobody else should: %w", err)
		}
	}
	return nil
}

func coverSysctls(dir string) error {
	for name, value := range KubeletSysctls() {
		target := filepath.Join("/proc/sys", name)
		if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
			continue // not in this kernel; the kubelet will say so if it matters
		}
		source := filepath.Join(dir, strings.ReplaceAll(name, "/", "."))
		if err := os.WriteFile(source, []byte(value+"\n"), 0o600); err != nil {
			return fmt.Errorf("cover sysctl: %w", err)
		}
		if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cover sysctl %s: %w", name, err)
		}
	}
	return nil
}

// mountKernelViews mounts the file systems that an eBPF agent asks the host
// for, where the machine itself has not mounted them.
func mountKernelViews() error {
	views := []struct{ target, kind string }{
		{"/sys/kernel/debug", "debugfs"},
		{"/sys/kernel/tracing", "tracefs"},
		{"/sys/fs/bpf", "bpf"},
	}
	for _, view := range views {
		if entries, err := os.ReadDir(view.target); err != nil || len(entries) > 0 {
			continue // not in this kernel, or mounted already
		}
		if err := unix.Mount(view.kind, view.target, view.kind, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", view.target, err)
		}
	}
	return nil
}
