package footprint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/portcullis-dev/portcullis/hack/cluster/cgroup"
	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
)

// netnsDir is where `ip netns` looks for names.
const netnsDir = "/run/netns"

func netnsPath() string { return filepath.Join(netnsDir, layout.Netns) }

// A Footprint is the traces of the cluster of one state directory.
type Footprint struct {
	layout layout.Layout
	cgroup cgroup.Tree
}

// Open returns the footprint of this cluster, whether there is one or not.
func Open(l layout.Layout) (*Footprint, error) {
	tree, err := cgroup.Open(layout.Cgroup)
	if err != nil {
		return nil, err
	}
	return &Footprint{layout: l, cgroup: tree}, nil
}

// Claim marks this state directory as that of the cluster that is up.
func (f *Footprint) Claim() error {
	if err := os.Symlink(f.layout.State, layout.Marker); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("claim the machine: %w", err)
	}
	return nil
}

// Owner returns the state directory of the cluster that is up or was not
// taken down, and "" when there is none.
func Owner() (string, error) {
	state, err := os.Readlink(layout.Marker)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("find the cluster that is up: %w", err)
	}
	return state, nil
}

// NameNetwork gives the network namespace of a process its name, which also
// keeps it in being until [Footprint.Erase].
func NameNetwork(pid int) error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil { //nolint:gosec // as `ip netns` makes it
		return fmt.Errorf("name network namespace: %w", err)
	}
	file, err := os.OpenFile(netnsPath(), os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o400)
	if err != nil {
		return fmt.Errorf("name network namespace: %w", err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("name network namespace: %w", err)
	}
	source := fmt.Sprintf("/proc/%d/ns/net", pid)
	if err := unix.Mount(source, netnsPath(), "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("name network namespace: %w", err)
	}
	return nil
}

// netns returns the inode number of the named namespace, and false when the name is not bound to one.
func netns() (uint64, bool) {
	var file unix.Statfs_t
	if err := unix.Statfs(netnsPath(), &file); err != nil || file.Type != unix.NSFS_MAGIC {
		return 0, false
	}
	var info unix.Stat_t
	if err := unix.Stat(netnsPath(), &info); err != nil {
		return 0, false
	}
	return info.Ino, true
}

// processes returns the cluster's daemons and helpers. Somebody's shell in the
// network namespace is not one of them: those are told by the cluster's mounts
// or by the state directory on their command line.
func (f *Footprint) processes(record Record) ([]Process, error) {
	candidates, err := f.candidates()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(candidates, func(process Process) bool {
		mounts, err := NamespaceOf(process.PID, "mnt")
		if err != nil {
			return true // it has just ended
		}
		return mounts != record.Mounts && !strings.Contains(process.Command, f.layout.State+"/")
	}), nil
}

// candidates are the processes of the cluster's network namespace. When it has
// lost its name, they are the containers' keepers in any namespace but our own.
func (f *Footprint) candidates() ([]Process, error) {
	if inode, named := netns(); named {
		return ProcessesIn("net", inode)
	}
	own, err := NamespaceOf(os.Getpid(), "net")
	if err != nil {
		return nil, err
	}
	return processes(func(pid int) bool {
		inode, err := NamespaceOf(pid, "net")
		return err == nil && inode != own && strings.Contains(commandLine(pid), "-address "+f.layout.ContainerdSocket())
	})
}

// Erase ends and removes everything of the cluster outside its state
// directory, and returns a description of each trace that is left.
func (f *Footprint) Erase(ctx context.Context, record Record) ([]string, error) {
	if err := f.kill(ctx, record); err != nil {
		return nil, err
	}
	strangers, err := f.strangers()
	if err != nil {
		return nil, err
	}
	removeErr := f.remove(ctx, record)
	if len(strangers) == 0 {
		// While there are any, the name stays, so that the next try finds them too.
		removeErr = errors.Join(removeErr, removeNetns(), removeMarker())
	}
	left, err := f.Leftovers(ctx, record)
	return append(strangers, left...), errors.Join(removeErr, err)
}

func (f *Footprint) kill(ctx context.Context, record Record) error {
	// The daemons first: a kubelet would start what is missing anew.
	if err := killAll(ctx, func() ([]Process, error) { return f.processes(record) }); err != nil {
		return err
	}
	return f.cgroup.Kill(ctx)
}

// strangers describes processes that somebody else started in the cluster's
// network namespace. They are not ours to end, but they keep it in being.
func (f *Footprint) strangers() ([]string, error) {
	inode, named := netns()
	if !named {
		return nil, nil
	}
	processes, err := ProcessesIn("net", inode)
	var found []string
	for _, process := range processes {
		found = append(found, process.String()+": somebody's, in the cluster's network namespace; end it")
	}
	return found, err
}

// remove removes everything that is neither a process nor what the cluster is
// found by. It goes on after an error and returns all of them.
func (f *Footprint) remove(ctx context.Context, record Record) error {
	return errors.Join(
		removeLink(ctx),
		f.cgroup.Remove(ctx),
		removeDirs(record.Before.MadeDirs),
	)
}

// removeLink takes the cable away. The kernel does it too when the namespace
// ends, but some time later.
func removeLink(ctx context.Context) error {
	if !exists(linkPath()) {
		return nil
	}
	output, err := exec.CommandContext(ctx, "ip", "link", "delete", layout.HostLink).CombinedOutput() //nolint:gosec // a constant
	// It may be gone by the kernel's doing instead of ours.
	if err != nil && exists(linkPath()) {
		return fmt.Errorf("remove link %s: %w: %s", layout.HostLink, err, strings.TrimSpace(string(output)))
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func linkPath() string { return filepath.Join("/sys/class/net", layout.HostLink) }

func removeNetns() error {
	err := unix.Unmount(netnsPath(), unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // not mounted, no file
		return fmt.Errorf("unmount %s: %w", netnsPath(), err)
	}
	if err := os.Remove(netnsPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove network namespace: %w", err)
	}
	// Ours, or that of other namespaces, which then keep it.
	_ = os.Remove(netnsDir)
	return nil
}

func removeDirs(dirs []string) error {
	var failed []error
	for _, dir := range dirs {
		if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, fmt.Errorf("remove %s: %w", dir, err))
		}
	}
	return errors.Join(failed...)
}

func removeMarker() error {
	if err := os.Remove(layout.Marker); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove marker: %w", err)
	}
	return nil
}

// Leftovers looks for every trace and describes each that it finds.
func (f *Footprint) Leftovers(ctx context.Context, record Record) ([]string, error) {
	var found []string
	processes, err := f.processes(record)
	if err != nil {
		return nil, err
	}
	for _, process := range processes {
		found = append(found, process.String())
	}
	for _, dir := range f.cgroup.Dirs() {
		found = append(found, "cgroup "+dir)
	}
	mounts, err := mountsBelow(f.layout.State, netnsPath())
	if err != nil {
		return nil, err
	}
	found = append(found, mounts...)
	for what, path := range map[string]string{
		"network namespace": netnsPath(), "network link": linkPath(), "marker": layout.Marker,
	} {
		if exists(path) {
			found = append(found, what+" "+path)
		}
	}
	changed, err := record.Before.changes(ctx)
	if err != nil {
		return nil, err
	}
	found = append(found, changed...)
	slices.Sort(found)
	return found, nil
}

// mountsBelow describes the mounts of this mount namespace at or below any of the paths.
func mountsBelow(paths ...string) ([]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		for _, path := range paths {
			if fields[4] == path || strings.HasPrefix(fields[4], path+"/") {
				found = append(found, "mount "+fields[4])
			}
		}
	}
	return found, nil
}

// changes describes how the machine differs from the snapshot.
func (s Snapshot) changes(ctx context.Context) ([]string, error) {
	names := make([]string, 0, len(s.Sysctls))
	for name := range s.Sysctls {
		names = append(names, name)
	}
	now, err := ReadSysctls(names)
	if err != nil {
		return nil, err
	}
	var changed []string
	for name, before := range s.Sysctls {
		if now[name] != before {
			changed = append(changed, fmt.Sprintf("sysctl %s is %q and was %q", name, now[name], before))
		}
	}
	tables, err := Tables(ctx)
	if err != nil {
		return nil, err
	}
	for _, table := range tables {
		// Other programs make tables too; only kube-proxy's could be ours.
		if strings.HasSuffix(table, " kube-proxy") && s.Sysctls != nil && !slices.Contains(s.Tables, table) {
			changed = append(changed, "nftables table "+table)
		}
	}
	for _, dir := range s.MadeDirs {
		if exists(dir) {
			changed = append(changed, "directory "+dir)
		}
	}
	return changed, nil
}

// Tables lists the machine's nftables tables ("ip filter").
func Tables(ctx context.Context) ([]string, error) {
	output, err := exec.CommandContext(ctx, "nft", "list", "tables").Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list nftables tables: %w", err)
	}
	var tables []string
	for line := range strings.Lines(string(output)) {
		tables = append(tables, strings.TrimPrefix(strings.TrimSpace(line), "table "))
	}
	return tables, nil
}
