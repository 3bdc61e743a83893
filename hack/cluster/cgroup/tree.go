package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A Mode is how a machine's hierarchies are arranged.
type Mode string

// The three arrangements.
const (
	V1     Mode = "v1"
	Hybrid Mode = "hybrid"
	V2     Mode = "v2"
)

// A Hierarchy is one mounted cgroup file system.
type Hierarchy struct {
	// Mount is where its root is.
	Mount string
	// Unified says that it is cgroup v2.
	Unified bool
}

// Hierarchies reads the mounted ones from text in the form of
// /proc/self/mountinfo. One that is mounted twice is returned once.
func Hierarchies(mountinfo string) ([]Hierarchy, error) {
	var found []Hierarchy
	seen := map[string]bool{}
	lines := bufio.NewScanner(strings.NewReader(mountinfo))
	for lines.Scan() {
		// 36 35 98:0 / /mount/point opts [optional …] - type source superopts
		before, after, ok := strings.Cut(lines.Text(), " - ")
		mount, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(mount) < 5 || len(kind) < 1 {
			continue
		}
		if kind[0] != "cgroup" && kind[0] != "cgroup2" {
			continue
		}
		// Only a mount of the hierarchy's root shows all of it.
		if device := mount[2]; mount[3] == "/" && !seen[device] {
			seen[device] = true
			found = append(found, Hierarchy{Mount: mount[4], Unified: kind[0] == "cgroup2"})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	if len(found) == 0 {
		return nil, errors.New("no cgroup file system is mounted")
	}
	return found, nil
}

// ModeOf tells the arrangement.
func ModeOf(hierarchies []Hierarchy) Mode {
	unified := slices.ContainsFunc(hierarchies, func(h Hierarchy) bool { return h.Unified })
	separate := slices.ContainsFunc(hierarchies, func(h Hierarchy) bool { return !h.Unified })
	switch {
	case unified && separate:
		return Hybrid
	case unified:
		return V2
	default:
		return V1
	}
}

// A Tree is the cgroup of one name in every hierarchy.
type Tree struct {
	name        string
	hierarchies []Hierarchy
}

// Open returns the tree of this name ("/portcullis-test") on this machine,
// whether it exists or not. A whole hierarchy is no tree to kill and remove.
func Open(name string) (Tree, error) {
	if !filepath.IsAbs(name) || filepath.Clean(name) != name || name == "/" {
		return Tree{}, fmt.Errorf("open cgroup: %q is not an absolute and clean path below the root", name)
	}
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Tree{}, fmt.Errorf("open cgroup: %w", err)
	}
	hierarchies, err := Hierarchies(string(mountinfo))
	if err != nil {
		return Tree{}, fmt.Errorf("open cgroup: %w", err)
	}
	return Tree{name: name, hierarchies: hierarchies}, nil
}

// Dirs returns those directories of the tree that exist.
func (t Tree) Dirs() []string {
	var dirs []string
	for _, h := range t.hierarchies {
		dir := filepath.Join(h.Mount, t.name)
		if _, err := os.Stat(dir); err == nil {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// Create makes the cgroup in every hierarchy, ready to have children.
func (t Tree) Create() error {
	for _, h := range t.hierarchies {
		if h.Unified {
			if err := enableControllers(h.Mount); err != nil {
				return fmt.Errorf("create cgroup: %w", err)
			}
		}
		dir := filepath.Join(h.Mount, t.name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // as all cgroups are
			return fmt.Errorf("create cgroup: %w", err)
		}
		if err := inheritCPUSet(h.Mount, dir); err != nil {
			return fmt.Errorf("create cgroup: %w", err)
		}
	}
	return nil
}

// enableControllers lets children of a v2 root have every controller that the
// root has. The kubelet looks for them before it makes its first cgroup.
func enableControllers(root string) error {
	available, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return err
	}
	control := filepath.Join(root, "cgroup.subtree_control")
	enabled, err := os.ReadFile(control)
	if err != nil {
		return err
	}
	for _, controller := range strings.Fields(string(available)) {
		if slices.Contains(strings.Fields(string(enabled)), controller) {
			continue
		}
		// One at a time: where one is refused the others are still wanted.
		if err := os.WriteFile(control, []byte("+"+controller), 0); err != nil { //nolint:gosec // a mount point from mountinfo
			return fmt.Errorf("enable controller %s: %w", controller, err)
		}
	}
	return nil
}

// inheritCPUSet gives a v1 cpuset cgroup its parent's CPUs and memory nodes: it
// starts with none, and no process can enter it then.
func inheritCPUSet(parent, dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(own)) != "" {
			continue
		}
		inherited, err := os.ReadFile(filepath.Join(parent, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a v2 root has none, and its children need none
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), inherited, 0); err != nil { //nolint:gosec // likewise
			return err
		}
	}
	return nil
}

// Processes returns the ids of all processes in the tree, sorted.
func (t Tree) Processes() ([]int, error) {
	found := map[int]bool{}
	err := t.walk(func(dir string) error {
		text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			return ignoreGone(err)
		}
		for _, field := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return fmt.Errorf("%s: %w", dir, err)
			}
			found[pid] = true
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list cgroup: %w", err)
	}
	pids := make([]int, 0, len(found))
	for pid := range found {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids, nil
}

// walk visits every directory of the tree, parents first, and bears with
// directories that vanish under way.
func (t Tree) walk(visit func(dir string) error) error {
	for _, root := range t.Dirs() {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return ignoreGone(err)
			}
			if !entry.IsDir() {
				return nil
			}
			return visit(path)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
