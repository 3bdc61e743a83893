package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
	"github.com/portcullis-dev/portcullis/hack/cluster/supervisor"
)

// reportsFD is the pipe that startSupervisor passes on, the first after the standard three.
const reportsFD = 3

// newSuperviseCommand is the background process, started by `up`.
func newSuperviseCommand(s *settings) *cobra.Command {
	var bin string
	command := &cobra.Command{
		Use:    "supervise",
		Short:  "Own the daemons (started by up)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			l, err := layout.New(s.state, bin)
			if err != nil {
				return err
			}
			return supervisor.Run(command.Context(), supervisor.Options{
				Layout:  l,
				Cable:   os.Stdin,
				Reports: os.NewFile(reportsFD, "reports"),
				Logger:  slog.New(slog.NewTextHandler(os.Stderr, nil)),
				Now:     s.now,
			})
		},
	}
	command.Flags().StringVar(&bin, "bin-dir", "", "directory of the Kubernetes binaries")
	return command
}
