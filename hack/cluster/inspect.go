package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/portcullis-dev/portcullis/hack/cluster/host"
	"github.com/portcullis-dev/portcullis/hack/cluster/supervisor"
)

var errNotUp = errors.New("the cluster is not up: go run ./hack/cluster up")

func newPreflightCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "preflight",
		Short: "Say whether this machine can run the cluster, and what to do if not",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			l, err := s.layout()
			if err != nil {
				return err
			}
			missing := 0
			table := tabwriter.NewWriter(command.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, check := range host.Preflight(command.Context(), l) {
				if check.Verdict == host.Missing {
					missing++
				}
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", check.Verdict, check.Name, check.Found, check.Advice)
			}
			if err := table.Flush(); err != nil {
				return err
			}
			if missing > 0 {
				return fmt.Errorf("%d of the checks above must be put right first", missing)
			}
			return nil
		},
	}
}

func newStatusCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show each daemon's process and health; fails unless all are well",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			statuses, err := client.Status(command.Context())
			if errors.Is(err, supervisor.ErrNotRunning) {
				return errNotUp
			}
			if err != nil {
				return err
			}
			return printStatus(command.OutOrStdout(), statuses, s.now())
		},
	}
}

func printStatus(out io.Writer, statuses []supervisor.Status, now time.Time) error {
	var ill []string
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DAEMON\tPID\tUPTIME\tRESTARTS\tHEALTH")
	for _, status := range statuses {
		health, pid, uptime := "ok", "-", "-"
		if status.Running {
			pid, uptime = strconv.Itoa(status.PID), now.Sub(status.Started).Round(time.Second).String()
		}
		if !status.Healthy {
			ill = append(ill, status.Name)
			health = strings.TrimSpace("ILL " + status.Detail)
		}
		if status.LastExit != "" {
			health += " (ended before: " + status.LastExit + ")"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\n", status.Name, pid, uptime, status.Restarts, health)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(ill) > 0 {
		return fmt.Errorf("not well: %s; see `logs %s`", strings.Join(ill, ", "), ill[0])
	}
	return nil
}

func newEnvCommand(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:     "env",
		Short:   "Print the shell commands that point kubectl and helm at the cluster",
		Example: `  eval "$(go run ./hack/cluster env)"`,
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			l, err := s.layout()
			if err != nil {
				return err
			}
			if _, err := os.Stat(l.AdminKubeconfig()); err != nil {
				return errNotUp
			}
			fmt.Fprintf(command.OutOrStdout(), "export KUBECONFIG=%s\nexport PATH=%s:\"$PATH\"\n", quote(l.AdminKubeconfig()), quote(l.Bin))
			return nil
		},
	}
}

// quote makes a shell word of any text.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

func newLogsCommand(s *settings) *cobra.Command {
	var follow bool
	var lines int
	command := &cobra.Command{
		Use:   "logs [NAME]",
		Short: "Show a daemon's log, or without a name which there are",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			l, err := s.layout()
			if err != nil {
				return err
			}
			names, err := logNames(l.Logs())
			if err != nil {
				return err
			}
			if len(args) == 0 {
				fmt.Fprintf(command.OutOrStdout(), "in %s:\n  %s\n", l.Logs(), strings.Join(names, "\n  "))
				return nil
			}
			if !slices.Contains(names, args[0]) {
				return fmt.Errorf("no log of %q; there are: %s", args[0], strings.Join(names, ", "))
			}
			tail := []string{"--lines", strconv.Itoa(lines)}
			if follow {
				tail = append(tail, "--follow")
			}
			show := exec.CommandContext(command.Context(), "tail", append(tail, l.Log(args[0]))...) //nolint:gosec // one of our own logs
			show.Stdout, show.Stderr = command.OutOrStdout(), command.ErrOrStderr()
			if err := show.Run(); err != nil && command.Context().Err() == nil {
				return fmt.Errorf("show log: %w", err)
			}
			return nil
		},
	}
	command.Flags().BoolVarP(&follow, "follow", "f", false, "go on as the log grows")
	command.Flags().IntVarP(&lines, "lines", "n", 50, "how many of the last lines to show")
	return command
}

func logNames(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no logs in %s: nothing has run yet", dir)
	}
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = strings.TrimSuffix(filepath.Base(file), ".log")
	}
	return names, nil
}
