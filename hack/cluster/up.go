package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/portcullis-dev/portcullis/hack/cluster/component"
	"github.com/portcullis-dev/portcullis/hack/cluster/footprint"
	"github.com/portcullis-dev/portcullis/hack/cluster/host"
	"github.com/portcullis-dev/portcullis/hack/cluster/kubebuild"
	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
	"github.com/portcullis-dev/portcullis/hack/cluster/supervisor"
	"github.com/portcullis-dev/portcullis/hack/cluster/testimage"
)

func newUpCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "Bring the cluster up; what is missing is installed and built first",
		Long: `Bring the cluster up. What is missing is installed (Debian packages) and built
(Kubernetes, once per version) first. It ends when the node is Ready.

It does nothing when the cluster is up, and clears away what a crash has left.
When it fails or is interrupted, nothing stays behind but the logs.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return s.up(command.Context(), s.steps(command.OutOrStdout()))
		},
	}
}

func (s *settings) up(ctx context.Context, steps *steps) error {
	source, err := s.source()
	if err != nil {
		return err
	}
	bin, _ := kubebuild.Cached(s.cache, source)
	l, err := layout.New(s.state, bin)
	if err != nil {
		return err
	}
	if err = preflight(ctx, steps.out, l); err != nil {
		return err
	}
	unlock, err := lock(ctx, steps.out)
	if err != nil {
		return err
	}
	defer unlock()

	if up, err := s.alreadyUp(ctx, l, steps); up || err != nil {
		return err
	}
	if err := s.provide(ctx, l, source, steps); err != nil {
		return err
	}
	if err := s.start(ctx, l, steps); err != nil {
		// Clearing away must not be cut short by the interrupt that brought us here.
		return errors.Join(err, s.giveUp(context.WithoutCancel(ctx), l, steps))
	}
	steps.printf("up: Kubernetes %s", source.Version)
	printUsage(steps.out, l)
	return nil
}

// preflight prints what is worth knowing and fails when something is missing.
func preflight(ctx context.Context, out io.Writer, l layout.Layout) error {
	var missing []string
	for _, check := range host.Preflight(ctx, l) {
		switch check.Verdict {
		case host.Missing:
			missing = append(missing, fmt.Sprintf("%s: %s\n    %s", check.Name, check.Found, check.Advice))
		case host.Note:
			fmt.Fprintf(out, "note: %s: %s (%s)\n", check.Name, check.Found, check.Advice)
		case host.OK:
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("this machine cannot run the cluster:\n  %s", strings.Join(missing, "\n  "))
	}
	return nil
}

// alreadyUp says whether the cluster works, and clears away one that does not.
func (s *settings) alreadyUp(ctx context.Context, l layout.Layout, steps *steps) (bool, error) {
	owner, err := footprint.Owner()
	if err != nil {
		return false, err
	}
	if owner != "" && owner != l.State {
		return false, fmt.Errorf("another cluster is up on this machine, that of --state-dir %s; take it down first:\n  go run ./hack/cluster down --state-dir %s", owner, owner)
	}
	record, recorded, err := footprint.LoadRecord(l.Record())
	if err != nil {
		return false, err
	}
	alive, err := record.Alive()
	if err != nil {
		return false, err
	}
	if alive {
		statuses, err := supervisor.NewClient(l.ControlSocket()).Status(ctx)
		if err == nil {
			return true, reportUp(steps, l, record, statuses)
		}
		steps.printf("a supervisor runs (process %d) but does not answer; starting anew", record.Supervisor)
	} else if owner != "" || recorded {
		steps.printf("an earlier run was not taken down; clearing it away")
	}
	if owner == "" && !recorded {
		return false, nil
	}
	return false, s.takeDown(ctx, l, steps)
}

func reportUp(steps *steps, l layout.Layout, record footprint.Record, statuses []supervisor.Status) error {
	var ill []string
	for _, status := range statuses {
		if !status.Healthy {
			ill = append(ill, status.Name)
		}
	}
	if len(ill) > 0 {
		return fmt.Errorf("the cluster is up since %s, but not well: %s\n  see `status` and `logs %s`, or take it `down`",
			record.Started.Format(time.TimeOnly), strings.Join(ill, ", "), ill[0])
	}
	steps.printf("it is up since %s", record.Started.Format(time.DateTime))
	printUsage(steps.out, l)
	return nil
}

// provide gets everything that does not depend on a running cluster.
func (s *settings) provide(ctx context.Context, l layout.Layout, source kubebuild.Source, steps *steps) error {
	if missing := host.MissingPackages(); len(missing) > 0 {
		steps.printf("installing Debian packages: %s", strings.Join(missing, " "))
		if err := host.Install(ctx, steps.out, missing); err != nil {
			return err
		}
		steps.printf("packages are installed")
	}
	if _, err := s.build(ctx, source, steps); err != nil {
		return err
	}
	if err := prepareState(l, s.now); err != nil {
		return err
	}
	if err := testimage.Write(ctx, l.Images(), l.Program("pause")); err != nil {
		return err
	}
	steps.printf("certificates, configuration and test images are written")
	return nil
}

// prepareState makes the state directory as an empty cluster's.
func prepareState(l layout.Layout, now func() time.Time) error {
	if err := clearState(l); err != nil {
		return err
	}
	if err := os.MkdirAll(l.State, 0o700); err != nil {
		return fmt.Errorf("prepare state: %w", err)
	}
	if err := keepLogs(l); err != nil {
		return err
	}
	for _, dir := range []string{l.PKI(), l.ConfigDir(), l.Sysctl()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("prepare state: %w", err)
		}
	}
	limit, err := openFilesLimit()
	if err != nil {
		return err
	}
	facts := component.Facts{Snapshotter: host.Snapshotter(l), MaxOpenFiles: limit}
	if err := component.WriteConfigs(l, facts); err != nil {
		return err
	}
	return component.WriteCredentials(l, now)
}

// keepLogs moves the logs of the run before out of the way: after a crash they
// are what somebody wants to read.
func keepLogs(l layout.Layout) error {
	if _, err := os.Stat(l.Logs()); err == nil {
		if err := os.RemoveAll(l.PreviousLogs()); err != nil {
			return fmt.Errorf("keep logs: %w", err)
		}
		if err := os.Rename(l.Logs(), l.PreviousLogs()); err != nil {
			return fmt.Errorf("keep logs: %w", err)
		}
	}
	return nil
}

// openFilesLimit is the kubelet's default where that is allowed.
func openFilesLimit() (uint64, error) {
	const wanted = 1000000
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("limit of open files: %w", err)
	}
	return min(wanted, limit.Max), nil
}

func printUsage(out io.Writer, l layout.Layout) {
	fmt.Fprintf(out, `
  export KUBECONFIG=%s
  export PATH=%s:$PATH
  kubectl get nodes

or all at once:  eval "$(go run ./hack/cluster env)"
images in it:    %s (with sh, bash, cat, curl, …), more by: go run ./hack/cluster image load FILE
take it down:    go run ./hack/cluster down
`, l.AdminKubeconfig(), l.Bin, layout.ShellImage)
}
