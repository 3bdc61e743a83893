package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/portcullis-dev/portcullis/hack/cluster/footprint"
	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
)

const (
	// stopTimeout is how long the supervisor may take to stop everything in order.
	stopTimeout  = 60 * time.Second
	eraseTimeout = 60 * time.Second
	stopPoll     = 50 * time.Millisecond
)

func newDownCommand(s *settings) *cobra.Command {
	var purge bool
	command := &cobra.Command{
		Use:   "down",
		Short: "Take the cluster down and check that nothing is left of it",
		Long: `Take the cluster down and check that nothing is left of it on the machine: no
process, mount, namespace, cgroup, network link, nftables table or changed
kernel setting. Only the logs stay, unless --purge is given.

It works as well after a crash, and when nothing is up.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return s.down(command.Context(), s.steps(command.OutOrStdout()), purge)
		},
	}
	command.Flags().BoolVar(&purge, "purge", false, "remove the logs too")
	return command
}

func (s *settings) down(ctx context.Context, steps *steps, purge bool) error {
	if os.Geteuid() != 0 {
		return errors.New("taking the cluster down needs root")
	}
	l, err := s.layout()
	if err != nil {
		return err
	}
	unlock, err := lock(ctx, steps.out)
	if err != nil {
		return err
	}
	defer unlock()
	owner, err := footprint.Owner()
	if err != nil {
		return err
	}
	if owner != "" && owner != l.State {
		return fmt.Errorf("the cluster that is up is that of --state-dir %s, not of %s", owner, l.State)
	}
	if err := s.takeDown(ctx, l, steps); err != nil {
		return err
	}
	if !purge {
		steps.printf("down, nothing is left; the logs are in %s", l.Logs())
		return nil
	}
	for _, dir := range []string{l.Logs(), l.PreviousLogs()} {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove logs: %w", err)
		}
	}
	_ = os.Remove(l.State) // ours alone, or it stays
	steps.printf("down, nothing is left")
	return nil
}

// takeDown stops the cluster in whatever state it is, removes its traces and
// its files, and fails when something stays.
func (s *settings) takeDown(ctx context.Context, l layout.Layout, steps *steps) error {
	record, _, err := footprint.LoadRecord(l.Record())
	if err != nil {
		return err
	}
	marks, err := footprint.Open(l)
	if err != nil {
		return err
	}
	if err = stopSupervisor(ctx, record, steps); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, eraseTimeout)
	defer cancel()
	left, err := marks.Erase(ctx, record)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("something of the cluster is left on this machine:\n  %s", strings.Join(left, "\n  "))
	}
	steps.printf("no process, mount, namespace, cgroup, link or changed setting is left")
	return clearState(l)
}

// stopSupervisor lets the supervisor stop the daemons in order, and ends it
// when that takes too long.
func stopSupervisor(ctx context.Context, record footprint.Record, steps *steps) error {
	alive, err := record.Alive()
	if err != nil || !alive {
		return err
	}
	if err := syscall.Kill(record.Supervisor, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop supervisor: %w", err)
	}
	deadline := time.After(stopTimeout)
	for {
		if alive, err := record.Alive(); err != nil || !alive {
			steps.printf("daemons and pods are stopped")
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			steps.printf("the supervisor does not end within %s; killing it", stopTimeout)
			if err := syscall.Kill(record.Supervisor, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill supervisor: %w", err)
			}
		case <-time.After(stopPoll):
		}
	}
}

// clearState removes the cluster's files except its logs.
func clearState(l layout.Layout) error {
	var failed []error
	for _, path := range l.Disposable() {
		if err := os.RemoveAll(path); err != nil {
			failed = append(failed, fmt.Errorf("remove state: %w", err))
		}
	}
	return errors.Join(failed...)
}

// giveUp removes what a failed `up` has begun. The logs stay.
func (s *settings) giveUp(ctx context.Context, l layout.Layout, steps *steps) error {
	steps.printf("it did not come up; clearing away, the logs stay in %s", l.Logs())
	return s.takeDown(ctx, l, steps)
}
