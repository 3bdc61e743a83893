package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A Tool is a program that the cluster runs or ships in its test images.
type Tool struct {
	// Path or name of the program.
	Program string
	// Package is the Debian package that has it.
	Package string
}

// Tools lists what must be there.
func Tools() []Tool {
	return []Tool{
		{"containerd", "containerd"},
		{"ctr", "containerd"},
		{"runc", "runc"},
		{"/usr/lib/cni/ptp", "containernetworking-plugins"},
		{"/usr/lib/cni/portmap", "containernetworking-plugins"},
		{"busybox", "busybox-static"},
		{"iptables", "iptables"},
		{"nft", "nftables"},
		{"conntrack", "conntrack"},
		{"socat", "socat"},
		{"ip", "iproute2"},
		{"curl", "curl"},
		{"bash", "bash"},
		{"dash", "dash"},
	}
}

// ErrNotDebian says that packages are missing on a machine without apt-get.
var ErrNotDebian = errors.New("this machine has no apt-get: install them by hand")

// MissingPackages returns the packages of the tools that cannot be found, each once.
func MissingPackages() []string {
	var missing []string
	seen := map[string]bool{}
	for _, tool := range Tools() {
		if !seen[tool.Package] && !tool.present() {
			seen[tool.Package] = true
			missing = append(missing, tool.Package)
		}
	}
	return missing
}

// present looks in PATH and in the system directories, which a user's PATH may lack.
func (t Tool) present() bool {
	if filepath.IsAbs(t.Program) {
		return isProgram(t.Program)
	}
	if _, err := exec.LookPath(t.Program); err == nil {
		return true
	}
	return isProgram("/usr/sbin/" + t.Program)
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// Install installs the packages with apt-get, which writes what it does to out.
func Install(ctx context.Context, out io.Writer, packages []string) error {
	aptGet, err := exec.LookPath("apt-get")
	if err != nil {
		return fmt.Errorf("install %s: %w", strings.Join(packages, ", "), ErrNotDebian)
	}
	install := append([]string{"install", "--yes", "--no-install-recommends"}, packages...)
	if run(ctx, out, aptGet, install...) == nil {
		return nil
	}
	// Most often the package lists are old or were never fetched.
	if err := run(ctx, out, aptGet, "update"); err != nil {
		return fmt.Errorf("apt-get update: %w", err)
	}
	if err := run(ctx, out, aptGet, install...); err != nil {
		return fmt.Errorf("apt-get install %s: %w", strings.Join(packages, " "), err)
	}
	return nil
}

func run(ctx context.Context, out io.Writer, name string, args ...string) error {
	command := exec.CommandContext(ctx, name, args...) //nolint:gosec // apt-get and names of our own
	command.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	command.Stdout, command.Stderr = out, out
	return command.Run()
}
