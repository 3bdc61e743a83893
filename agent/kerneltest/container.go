package kerneltest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// RequireRoot skips a test that needs to make containers where that cannot be.
// In CI (the environment variable CI is set) such a test fails: one that
// silently does not run proves nothing.
func RequireRoot(tb TB) {
	tb.Helper()
	unable := tb.Skip
	if os.Getenv("CI") != "" {
		unable = tb.Fatal
	}
	if os.Geteuid() != 0 {
		unable("needs root, to load eBPF programs and to make containers")
	}
	for _, tool := range []string{"runc", "busybox", "script"} {
		if _, err := exec.LookPath(tool); err != nil {
			unable("needs " + tool + ", see hack/setup.sh")
		}
	}
}

// Options of a container.
type Options struct {
	// HostPID makes a container without a PID namespace of its own.
	HostPID bool
	// Args is the first program; default: a sleep without end.
	Args []string
	// Cgroups mounts the host's cgroup trees at /cgroups, writable.
	Cgroups bool
	// Capabilities of its processes; default: many.
	Capabilities []string
	// ReadOnly mounts its root file system so, and sysfs as Kubernetes does.
	ReadOnly bool
	// Binds are further directories of the host, by their place in the container.
	Binds map[string]string
	// PodUID is the UID of its pod; default: one of no pod.
	PodUID string
}

// Container is a running container.
type Container struct {
	tb      TB
	ID, UID string // of the container, and of its pod
	// Cgroup is its cgroup's path from the root of the tree.
	Cgroup string
	// PID of its first process.
	PID    int
	bundle string
	state  string
}

// Start runs a container until the test ends.
func Start(tb TB, opts Options) *Container {
	tb.Helper()
	RequireRoot(tb)
	c := &Container{tb: tb, ID: random(tb, 32), UID: opts.PodUID, bundle: tb.TempDir(), state: tb.TempDir()}
	if c.UID == "" {
		c.UID = UUID(tb)
	}
	c.Cgroup = "/" + parent(tb) + "/burstable/pod" + c.UID + "/" + c.ID
	if len(opts.Args) == 0 {
		opts.Args = []string{"/usr/bin/sleep", "infinity"}
	}
	root := filepath.Join(c.bundle, "rootfs")
	buildRoot(tb, root)
	config, err := json.Marshal(c.spec(opts, ServiceAccount(tb)))
	if err != nil {
		tb.Fatal(err)
	}
	writeFile(tb, filepath.Join(c.bundle, "config.json"), string(config), 0o600)
	tb.Cleanup(func() {
		if out, err := c.runc("delete", "--force", c.ID); err != nil {
			tb.Errorf("delete the container: %v\n%s", err, out)
		}
		RemoveCgroups(tb, filepath.Dir(c.Cgroup))
	})
	pidFile := filepath.Join(c.bundle, "pid")
	if out, err := c.runc("run", "--detach", "--bundle", c.bundle, "--pid-file", pidFile, c.ID); err != nil {
		tb.Fatalf("run the container: %v\n%s", err, out)
	}
	if _, err := fmt.Sscan(readFile(tb, pidFile), &c.PID); err != nil {
		tb.Fatalf("read the container's pid: %v", err)
	}
	return c
}

// runc runs it with files as output: a container inherits them, and a pipe
// would be waited for until the container ends.
func (c *Container) runc(args ...string) (string, error) {
	c.tb.Helper()
	out, err := os.CreateTemp(c.bundle, "runc")
	if err != nil {
		c.tb.Fatal(err)
	}
	defer out.Close()
	cmd := exec.CommandContext(context.WithoutCancel(c.tb.Context()), "runc", append([]string{"--root", c.state}, args...)...) //nolint:gosec // a test says what runs
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	return readFile(c.tb, out.Name()), err
}

// Command prepares an exec session in the container: without a terminal.
func (c *Container) Command(args ...string) *exec.Cmd {
	return exec.CommandContext(c.tb.Context(), "runc", append([]string{"--root", c.state, "exec", c.ID}, args...)...) //nolint:gosec // a test says what runs
}

// Exec runs an exec session without a terminal and returns what it prints.
func (c *Container) Exec(args ...string) string {
	c.tb.Helper()
	out, err := c.Command(args...).CombinedOutput()
	if err != nil {
		c.tb.Fatalf("exec %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// ExecAsProbe runs a command without an input, as the kubelet does for probes and
// hooks, and waits for its end.
func (c *Container) ExecAsProbe(script string) {
	c.tb.Helper()
	done := "/tmp/" + random(c.tb, 8)
	if out, err := c.runc("exec", "--detach", c.ID, "/bin/sh", "-c", script+"; echo > "+done); err != nil {
		c.tb.Fatalf("exec as a probe %q: %v\n%s", script, err, out)
	}
	c.Exec("/bin/sh", "-c", "until [ -e "+done+" ]; do :; done")
}

// ExecTTY runs an exec session with a terminal, as kubectl exec -it does, and
// returns what the terminal shows.
func (c *Container) ExecTTY(args ...string) string {
	c.tb.Helper()
	cmd := c.CommandTTY(args...)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		c.tb.Fatalf("exec with a terminal %q: %v\n%s", args, err, &out)
	}
	return out.String()
}

// CommandTTY prepares an exec session with a terminal: what that shows is its output.
func (c *Container) CommandTTY(args ...string) *exec.Cmd {
	command := "runc --root " + c.state + " exec --tty " + c.ID
	for _, arg := range args {
		command += " '" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
	}
	return exec.CommandContext(c.tb.Context(), "script", "-qefc", command, "/dev/null") //nolint:gosec // a test says what runs
}

func (c *Container) spec(opts Options, account string) map[string]any {
	bind := func(from, to string, options ...string) map[string]any {
		return map[string]any{
			"source": from, "destination": to, "type": "bind", "options": append([]string{"rbind"}, options...),
		}
	}
	mounts := []any{
		map[string]any{"destination": "/proc", "type": "proc", "source": "proc"},
		map[string]any{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"mode=755"}},
		map[string]any{
			"destination": "/dev/pts", "type": "devpts", "source": "devpts",
			"options": []string{"newinstance", "ptmxmode=0666", "mode=0620"},
		},
		bind("/usr", "/usr", "ro"),
		bind(account, "/run/secrets/kubernetes.io/serviceaccount", "ro"),
	}
	if opts.Cgroups {
		mounts = append(mounts, bind("/sys/fs/cgroup", "/cgroups"))
	}
	if opts.ReadOnly {
		mounts = append(mounts, map[string]any{
			"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": []string{"nosuid", "noexec", "nodev", "ro"},
		})
	}
	for to, from := range opts.Binds {
		mounts = append(mounts, bind(from, to))
	}
	namespaces := []any{}
	for _, kind := range []string{"mount", "ipc", "uts", "network", "pid"} {
		if kind != "pid" || !opts.HostPID {
			namespaces = append(namespaces, map[string]any{"type": kind})
		}
	}
	caps := opts.Capabilities
	if caps == nil {
		caps = []string{
			"CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_SETUID", "CAP_SETGID", "CAP_KILL", "CAP_SYS_PTRACE", "CAP_SYS_CHROOT",
			"CAP_DAC_READ_SEARCH",
		}
	}
	return map[string]any{
		"ociVersion": "1.0.2",
		"process": map[string]any{
			"args": opts.Args, "cwd": "/", "env": []string{"PATH=/usr/sbin:/usr/bin:/bb"},
			"user":         map[string]any{"uid": 0, "gid": 0},
			"capabilities": map[string]any{"bounding": caps, "effective": caps, "permitted": caps, "inheritable": caps},
		},
		"root":   map[string]any{"path": "rootfs", "readonly": opts.ReadOnly},
		"mounts": mounts,
		"linux":  map[string]any{"cgroupsPath": c.Cgroup, "namespaces": namespaces},
	}
}

// buildRoot makes a container's file system.
func buildRoot(tb TB, root string) {
	tb.Helper()
	for _, dir := range []string{"bb", "cgroups", "etc", "sys", "proc", "dev", "tmp", "usr", "run/secrets/kubernetes.io/serviceaccount"} {
		mkdir(tb, filepath.Join(root, dir))
	}
	for name, to := range map[string]string{
		"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64", "var": ".",
	} {
		symlink(tb, to, filepath.Join(root, name))
	}
	binary, err := exec.LookPath("busybox")
	if err != nil {
		tb.Fatal(err)
	}
	writeFile(tb, filepath.Join(root, "bb/busybox"), readFile(tb, binary), 0o755)
	for _, applet := range []string{"sh", "cat", "wget", "sleep", "true"} {
		symlink(tb, "busybox", filepath.Join(root, "bb", applet))
	}
	writeFile(tb, filepath.Join(root, "bb/script"), "#!/bb/sh\ncat /etc/hostname\n", 0o755)
	writeFile(tb, filepath.Join(root, "etc/hostname"), "container\n", 0o644)
}

// Dated is the directory in which ServiceAccount keeps the files themselves.
const Dated = "..2026_11_21_17_52_59.2458567487"

// ServiceAccount makes a directory with a service account's files, as the
// kubelet mounts it into a container.
func ServiceAccount(tb TB) string {
	tb.Helper()
	dir := tb.TempDir()
	mountMemory(tb, dir)
	mkdir(tb, filepath.Join(dir, Dated))
	symlink(tb, Dated, filepath.Join(dir, "..data"))
	for _, name := range []string{"token", "ca.crt", "namespace", "vault-token", "other"} {
		writeFile(tb, filepath.Join(dir, Dated, name), "content of "+name+"\n", 0o644)
		symlink(tb, filepath.Join("..data", name), filepath.Join(dir, name))
	}
	return dir
}

// ProjectedVolume makes a directory with one token, of any name, as the kubelet
// mounts a projected volume on the host.
func ProjectedVolume(tb TB, token string) string {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "volumes/kubernetes.io~projected", token)
	mkdir(tb, dir)
	mountMemory(tb, dir)
	mkdir(tb, filepath.Join(dir, Dated))
	symlink(tb, Dated, filepath.Join(dir, "..data"))
	writeFile(tb, filepath.Join(dir, Dated, token), "content\n", 0o644)
	symlink(tb, filepath.Join("..data", token), filepath.Join(dir, token))
	return dir
}

// mountMemory mounts an empty file system in memory until the test ends.
func mountMemory(tb TB, dir string) {
	tb.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		tb.Fatalf("mount a tmpfs: %v", err)
	}
	tb.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			tb.Errorf("unmount %s: %v", dir, err)
		}
	})
}

// parent is the cgroup of one run of tests: no kubelet looks there.
func parent(tb TB) string {
	tb.Helper()
	return fmt.Sprintf("portcullis-agent-test-%d", os.Getpid())
}

// MakeCgroup makes a cgroup in one hierarchy ("unified", "pids") and removes it,
// with its ancestors, as the test ends. The path is below one that is the
// test's own. It returns the cgroup's directory.
func MakeCgroup(tb TB, hierarchy, path string) string {
	tb.Helper()
	RequireRoot(tb)
	path = filepath.Join(parent(tb), path)
	dir := filepath.Join(tree(tb, hierarchy), path)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { RemoveCgroups(tb, path) })
	return dir
}

// tree is where a hierarchy is mounted. A machine that has nothing but version 2
// has that one in the place of all.
func tree(tb TB, hierarchy string) string {
	tb.Helper()
	const root = "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err != nil {
		return filepath.Join(root, hierarchy)
	}
	if hierarchy != "unified" {
		tb.Skip("this machine has no cgroups of version 1, so none of " + hierarchy)
	}
	return root
}

// RemoveCgroups removes a cgroup and its ancestors in every hierarchy, as far
// as they are empty.
func RemoveCgroups(tb TB, path string) {
	tb.Helper()
	trees, err := filepath.Glob("/sys/fs/cgroup/*")
	if err != nil {
		tb.Fatal(err)
	}
	for _, tree := range append(trees, "/sys/fs/cgroup") {
		for p := strings.Trim(path, "/"); p != "."; p = filepath.Dir(p) {
			dir := filepath.Join(tree, p)
			if !strings.Contains(dir, parent(tb)) {
				break
			}
			_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					_ = syscall.Rmdir(p)
				}
				return nil
			})
			if err := syscall.Rmdir(dir); err != nil && err != syscall.ENOENT {
				break
			}
		}
	}
}

// UUID is a pod's UID.
func UUID(tb TB) string {
	tb.Helper()
	h := random(tb, 16)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// ID is a container's id.
func ID(tb TB) string {
	tb.Helper()
	return random(tb, 32)
}

func random(tb TB, n int) string {
	tb.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		tb.Fatal(err)
	}
	return hex.EncodeToString(b)
}

func mkdir(tb TB, dir string) {
	tb.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // everybody in a container may look around
		tb.Fatal(err)
	}
}

func symlink(tb TB, to, name string) {
	tb.Helper()
	if err := os.Symlink(to, name); err != nil {
		tb.Fatal(err)
	}
}

func writeFile(tb TB, name, content string, mode fs.FileMode) {
	tb.Helper()
	if err := os.WriteFile(name, []byte(content), mode); err != nil {
		tb.Fatal(err)
	}
}

func readFile(tb TB, name string) string {
	tb.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}
