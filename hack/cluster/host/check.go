package host

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/portcullis-dev/portcullis/hack/cluster/cgroup"
	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
)

// A Verdict is how a check came out.
type Verdict string

// The three verdicts. Only Missing stops `up`.
const (
	OK      Verdict = "ok"
	Note    Verdict = "note"
	Missing Verdict = "missing"
)

// A Check is one line of the preflight list.
type Check struct {
	Name    string
	Verdict Verdict
	// Found is what the machine has.
	Found string
	// Advice is what to do about it, unless it is OK.
	Advice string
}

// Space that a cluster takes: images, logs, etcd's file.
const minFree = 1 << 30

// Preflight looks at everything that a cluster needs of the machine.
func Preflight(ctx context.Context, l layout.Layout) []Check {
	return []Check{
		checkRoot(),
		checkTools(),
		checkCgroups(),
		checkBTF(),
		checkOverlay(l),
		checkSpace(l),
		checkDevices(),
		checkRoutes(ctx),
		checkOOM(),
	}
}

func checkRoot() Check {
	if uid := os.Geteuid(); uid != 0 {
		return Check{"root", Missing, fmt.Sprintf("user id %d", uid), "run it as root: it makes namespaces, mounts and network links"}
	}
	return Check{"root", OK, "user id 0", ""}
}

func checkTools() Check {
	missing := MissingPackages()
	if len(missing) == 0 {
		return Check{"host packages", OK, "all there", ""}
	}
	names := strings.Join(missing, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return Check{"host packages", Missing, "lacks " + names, "no apt-get here: install the programs of these Debian packages by hand"}
	}
	return Check{"host packages", Note, "lacks " + names, "`up` installs them with apt-get"}
}

func checkCgroups() Check {
	const name = "cgroups"
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Check{name, Missing, err.Error(), "mount /proc"}
	}
	hierarchies, err := cgroup.Hierarchies(string(mountinfo))
	if err != nil {
		return Check{name, Missing, err.Error(), "mount them: mount -t cgroup2 none /sys/fs/cgroup"}
	}
	for _, h := range hierarchies {
		if err := unix.Access(h.Mount, unix.W_OK); err != nil {
			return Check{name, Missing, h.Mount + " is read-only", "in a container, run it privileged"}
		}
	}
	return Check{name, OK, fmt.Sprintf("%s, %d hierarchies", cgroup.ModeOf(hierarchies), len(hierarchies)), ""}
}

func checkBTF() Check {
	const path = "/sys/kernel/btf/vmlinux"
	if _, err := os.Stat(path); err != nil {
		return Check{"kernel BTF", Note, "no " + path, "the cluster works; an eBPF agent in it does not: use a kernel with CONFIG_DEBUG_INFO_BTF"}
	}
	return Check{"kernel BTF", OK, path, ""}
}

// Snapshotter returns the containerd snapshotter that the state directory can carry.
func Snapshotter(l layout.Layout) string {
	var file unix.Statfs_t
	if err := unix.Statfs(existing(l.State), &file); err == nil && file.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "native"
	}
	if text, err := os.ReadFile("/proc/filesystems"); err == nil && !strings.Contains(string(text), "\toverlay\n") {
		return "native"
	}
	return "overlayfs"
}

// existing returns the path or its nearest parent that exists.
func existing(path string) string {
	for path != "/" {
		if _, err := os.Stat(path); err == nil {
			return path
		}
		path = filepath.Dir(path)
	}
	return path
}

func checkOverlay(l layout.Layout) Check {
	snapshotter := Snapshotter(l)
	if snapshotter == "native" {
		return Check{"image layers", Note, "no overlay below " + l.State, "containers get full copies of their images, which costs time and space"}
	}
	return Check{"image layers", OK, snapshotter, ""}
}

func checkSpace(l layout.Layout) Check {
	const name = "disk space"
	dir := existing(l.State)
	var file unix.Statfs_t
	if err := unix.Statfs(dir, &file); err != nil {
		return Check{name, Missing, err.Error(), "choose another --state-dir"}
	}
	free := file.Bavail * uint64(file.Bsize) //nolint:gosec // a block size is positive
	found := fmt.Sprintf("%d MiB free at %s", free>>20, dir)
	if free < minFree {
		return Check{name, Missing, found, fmt.Sprintf("make room for %d MiB, or choose another --state-dir", minFree>>20)}
	}
	return Check{name, OK, found, ""}
}

func checkDevices() Check {
	if _, err := os.Stat("/dev/kmsg"); err != nil {
		return Check{"/dev/kmsg", Missing, err.Error(), "the kubelet reads it: in a container, pass it through"}
	}
	return Check{"/dev/kmsg", OK, "present", ""}
}

// checkRoutes looks for networks of the machine that the cluster's would hide.
func checkRoutes(ctx context.Context) Check {
	const name = "addresses"
	output, err := exec.CommandContext(ctx, "ip", "-4", "route", "show").Output()
	if err != nil {
		return Check{name, Note, "cannot list routes: " + err.Error(), "make sure that nothing else uses " + strings.Join(networks(), ", ")}
	}
	if taken := overlapping(string(output)); len(taken) > 0 {
		return Check{name, Missing, "in use: " + strings.Join(taken, "; "), "the cluster needs " + strings.Join(networks(), ", ") + " on this machine"}
	}
	return Check{name, OK, strings.Join(networks(), ", ") + " are free", ""}
}

func networks() []string {
	return []string{layout.LinkCIDR, layout.PodCIDR, layout.ServiceCIDR}
}

// overlapping returns the routes, as `ip route` prints them, that meet one of
// the cluster's networks. Our own link's do not count.
func overlapping(routes string) []string {
	var taken []string
	for line := range strings.Lines(routes) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.Contains(line, "dev "+layout.HostLink) {
			continue
		}
		route, err := netip.ParsePrefix(fields[0])
		if err != nil {
			address, err := netip.ParseAddr(fields[0])
			if err != nil {
				continue // "default", "blackhole …"
			}
			route = netip.PrefixFrom(address, address.BitLen())
		}
		for _, network := range networks() {
			if route.Overlaps(netip.MustParsePrefix(network)) {
				taken = append(taken, strings.TrimSpace(line))
				break
			}
		}
	}
	return taken
}

func checkOOM() Check {
	const name = "CAP_SYS_RESOURCE"
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return Check{name, Note, err.Error(), ""}
	}
	if data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		return Check{name, Note, "this process lacks it", "the cluster works; pods that ask for it do not start"}
	}
	return Check{name, OK, "held", ""}
}
