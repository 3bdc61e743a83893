package harness

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// RuntimeExec runs a command in a container as root on the node can: by the container runtime alone.
func (c *Cluster) RuntimeExec(ctx context.Context, containerID, name string, args ...string) (Result, error) {
	if c.existing {
		return Result{}, errors.New("nobody is root on the nodes of an existing cluster")
	}
	_, id, _ := strings.Cut(containerID, "://")
	return command{path: "ctr", args: append([]string{
		"--address", c.places.ContainerdSocket(), "--namespace", "k8s.io", "task", "exec",
		// The default is in /run, where the cluster has a file system of its own.
		"--fifo-dir", filepath.Join(c.Work, "fifo"), "--exec-id", name, id,
	}, args...)}.must(ctx)
}

// Freeze stops a daemon where it stands, until thaw is called.
func (c *Cluster) Freeze(ctx context.Context, daemon string) (thaw func() error, err error) {
	status, err := c.quietTool(ctx, "status")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(status.Stdout) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != daemon {
			continue
		}
		pid, err := strconv.Atoi(fields[1])
		if err != nil || pid <= 1 {
			return nil, fmt.Errorf("%s does not run: %q", daemon, line)
		}
		return func() error { return syscall.Kill(pid, syscall.SIGCONT) }, syscall.Kill(pid, syscall.SIGSTOP)
	}
	return nil, fmt.Errorf("there is no daemon %s:\n%s", daemon, status.Stdout)
}

func (c *Cluster) quietTool(ctx context.Context, args ...string) (Result, error) {
	if c.existing {
		return Result{}, errors.New("an existing cluster is not ours to change")
	}
	return command{path: c.tool(), args: args, dir: c.Root}.must(ctx)
}

// RestartAPIServer restarts it with the audit settings that it has; it is ready when it returns.
func (c *Cluster) RestartAPIServer(ctx context.Context) error {
	_, err := c.quietTool(ctx, "apiserver", "restart", "--audit-dir", c.auditDir())
	return err
}
