package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/portcullis-dev/portcullis/hack/cluster/component"
	"github.com/portcullis-dev/portcullis/hack/cluster/containers"
	"github.com/portcullis-dev/portcullis/hack/cluster/supervisor"
	"github.com/portcullis-dev/portcullis/hack/cluster/testimage"
)

func newAPIServerCommand(s *settings) *cobra.Command {
	parent := &cobra.Command{Use: "apiserver", Short: "Change how the API server runs", Args: cobra.NoArgs}
	var audit component.Audit
	restart := &cobra.Command{
		Use:   "restart",
		Short: "Restart the API server, with or without an audit webhook",
		Long: `Restart the API server alone, on the same data, and wait until it is ready.

With --audit-dir it sends its audit stream as the directory's audit-policy.yaml
and audit-webhook.kubeconfig say, which ` + "`portcullisctl audit config`" + ` writes;
without, it does not audit. If it does not come up, it gets its former
settings back and the command fails.`,
		Example: `  go run ./hack/cluster apiserver restart --audit-dir ./audit
  go run ./hack/cluster apiserver restart --audit-dir ./audit --audit-webhook-mode blocking
  go run ./hack/cluster apiserver restart`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return s.restartAPIServer(command, audit)
		},
	}
	restart.Flags().StringVar(&audit.Dir, "audit-dir", "", "directory with audit-policy.yaml and audit-webhook.kubeconfig")
	restart.Flags().StringVar(&audit.Mode, "audit-webhook-mode", "batch", "batch, blocking or blocking-strict")
	restart.Flags().DurationVar(&audit.BatchMaxWait, "audit-webhook-batch-max-wait", time.Second, "how long an event waits for its batch to fill")
	parent.AddCommand(restart)
	return parent
}

func (s *settings) restartAPIServer(command *cobra.Command, audit component.Audit) error {
	if audit.Dir != "" {
		absolute, err := filepath.Abs(audit.Dir)
		if err != nil {
			return fmt.Errorf("audit directory: %w", err)
		}
		audit.Dir = absolute
	}
	if err := audit.Validate(); err != nil {
		return err
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	unlock, err := lock(command.Context(), command.OutOrStdout())
	if err != nil {
		return err
	}
	defer unlock()
	steps := s.steps(command.OutOrStdout())
	err = client.RestartAPIServer(command.Context(), audit)
	if errors.Is(err, supervisor.ErrNotRunning) {
		return errNotUp
	}
	if err != nil {
		return err
	}
	if audit.Dir == "" {
		steps.printf("API server is ready again, without auditing")
		return nil
	}
	steps.printf("API server is ready again, with the audit webhook of %s (%s)", audit.Dir, audit.Mode)
	return nil
}

func newImageCommand(s *settings) *cobra.Command {
	parent := &cobra.Command{Use: "image", Short: "Load images into the cluster", Args: cobra.NoArgs}
	parent.AddCommand(
		&cobra.Command{
			Use:     "load FILE…",
			Short:   "Load docker or OCI archives; pods use them with imagePullPolicy Never or IfNotPresent",
			Example: "  go run ./hack/cluster image load dist/portcullis.tar dist/portcullis-agent.tar",
			Args:    cobra.MinimumNArgs(1),
			RunE: func(command *cobra.Command, args []string) error {
				l, err := s.layout()
				if err != nil {
					return err
				}
				client := containers.NewClient(l.ContainerdSocket())
				for _, file := range args {
					names, err := client.Import(command.Context(), file)
					if err != nil {
						return err
					}
					for _, name := range names {
						fmt.Fprintln(command.OutOrStdout(), name)
					}
				}
				return nil
			},
		},
		&cobra.Command{
			Use:   "list",
			Short: "List the images in the cluster",
			Args:  cobra.NoArgs,
			RunE: func(command *cobra.Command, _ []string) error {
				l, err := s.layout()
				if err != nil {
					return err
				}
				names, err := containers.NewClient(l.ContainerdSocket()).Images(command.Context())
				if err != nil {
					return err
				}
				for _, name := range names {
					fmt.Fprintln(command.OutOrStdout(), name)
				}
				return nil
			},
		},
		&cobra.Command{
			Use:   "build-test DIR",
			Short: "Write the archives of the test images, which every cluster has, into a directory",
			Args:  cobra.ExactArgs(1),
			RunE: func(command *cobra.Command, args []string) error {
				l, err := s.layout()
				if err != nil {
					return err
				}
				return testimage.Write(command.Context(), args[0], l.Program("pause"))
			},
		},
	)
	return parent
}

// userName keeps names that are safe as a file's.
const userName = `^[A-Za-z0-9]([A-Za-z0-9._@:-]{0,62}[A-Za-z0-9])?$`

func newUserCommand(s *settings) *cobra.Command {
	var groups []string
	command := &cobra.Command{
		Use:     "user NAME",
		Short:   "Issue a client certificate and print the path of its kubeconfig",
		Long:    "Issue a client certificate and print the path of its kubeconfig. The user has the permissions\nthat RBAC gives to the name and the groups, at first none.",
		Example: "  KUBECONFIG=$(go run ./hack/cluster user alice --group devs) kubectl auth whoami",
		Args:    cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if !regexp.MustCompile(userName).MatchString(args[0]) {
				return fmt.Errorf("user name %q: letters, digits and ._@:- only", args[0])
			}
			l, err := s.layout()
			if err != nil {
				return err
			}
			path, err := component.WriteUser(l, args[0], groups, s.now)
			if err != nil {
				return err
			}
			fmt.Fprintln(command.OutOrStdout(), path)
			return nil
		},
	}
	command.Flags().StringSliceVar(&groups, "group", nil, "a group of the user; may be given more than once")
	return command
}
