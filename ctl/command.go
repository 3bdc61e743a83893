package ctl

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/portcullis-dev/portcullis/ctl/auditconfig"
	"github.com/portcullis-dev/portcullis/ctl/certificates"
	"github.com/portcullis-dev/portcullis/ctl/cluster"
	"github.com/portcullis-dev/portcullis/ctl/doctor"
	"github.com/portcullis-dev/portcullis/ctl/output"
	"github.com/portcullis-dev/portcullis/ctl/quarantine"
	"github.com/portcullis-dev/portcullis/ctl/replay"
	"github.com/portcullis-dev/portcullis/ctl/rulecheck"
	"github.com/portcullis-dev/portcullis/ctl/rulefmt"
	"github.com/portcullis-dev/portcullis/ctl/ruleimport"
	"github.com/portcullis-dev/portcullis/ctl/ruletest"
	"github.com/portcullis-dev/portcullis/ctl/sessions"
	"github.com/portcullis-dev/portcullis/ctl/tunnel"
)

// plugin is the file name by which kubectl finds its plugin "portcullis".
const plugin = "kubectl-portcullis"

// Options are what the command line is started with.
type Options struct {
	// Program is the file name that it was started under.
	Program string
	// Version is what it calls itself.
	Version string
	Streams genericiooptions.IOStreams
}

// NewCommand returns the root of the command line.
func NewCommand(o Options) *cobra.Command {
	flags := cluster.NewFlags("portcullisctl/"+o.Version, o.Streams.ErrOut)
	root := &cobra.Command{
		Use:   "portcullisctl",
		Short: "Wire, watch and steer Portcullis",
		Long: "portcullisctl connects API servers to Portcullis, says what is wrong with an installation,\n" +
			"shows who ran what in which pod, shows, makes and ends quarantines, and checks rule files.\n" +
			"It reaches the cluster like kubectl does.",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	if strings.TrimSuffix(o.Program, ".exe") == plugin {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl portcullis"}
	}
	root.SetIn(o.Streams.In)
	root.SetOut(o.Streams.Out)
	root.SetErr(o.Streams.ErrOut)
	flags.AddFlags(root.PersistentFlags())

	root.AddCommand(
		group("audit", "Connect API servers to the audit sink", auditconfig.New(auditconfig.Options{
			Connect: flags.Client, Namespace: flags.Namespace, Streams: o.Streams,
		})),
		certificates.New(certificates.Options{Connect: flags.Client, Namespace: flags.Namespace, Streams: o.Streams, Now: time.Now}),
		doctor.New(doctor.Options{Connect: flags.Client, Namespace: flags.Namespace, Streams: o.Streams}),
		quarantine.New(quarantine.Options{
			Connect: flags.Client, Namespace: flags.ContextNamespace, Streams: o.Streams,
		}),
		sessions.New(sessions.Options{Connect: connect(flags), Namespace: flags.Namespace, Streams: o.Streams}),
		group("rule", "Work with rule files", rulecheck.New(o.Streams), rulefmt.New(o.Streams), ruleimport.New(o.Streams), ruletest.New(o.Streams)),
		replay.New(o.Streams),
		versionCommand(o),
		optionsCommand(),
	)
	hideConnectionFlags(root)
	return root
}

// connect reaches the server of the Portcullis in a namespace.
func connect(flags *cluster.Flags) func(context.Context, string) (*sessions.Server, error) {
	return func(ctx context.Context, namespace string) (*sessions.Server, error) {
		config, err := flags.Config()
		if err != nil {
			return nil, err
		}
		client, err := flags.Client()
		if err != nil {
			return nil, err
		}
		t, err := tunnel.Open(ctx, tunnel.Options{Config: config, Client: client, Namespace: namespace})
		if err != nil {
			return nil, err
		}
		return &sessions.Server{HTTP: t.HTTP, URL: t.URL, Close: t.Close}, nil
	}
}

// group is a command that only holds others.
func group(name, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: name, Short: short, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(commands...)
	return c
}

func versionCommand(o Options) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(c.OutOrStdout(), "portcullisctl %s (%s %s/%s)\n", o.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

// optionsCommand prints the flags that every command has, which would otherwise
// bury each command's own.
func optionsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "options",
		Short: "List the flags that all commands have",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(c.OutOrStdout(), "These flags can be given to any command:\n\n%s", c.InheritedFlags().FlagUsages())
			return err
		},
	}
}

func hideConnectionFlags(root *cobra.Command) {
	const inherited = `{{if .HasAvailableInheritedFlags}}

Global Flags:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}`
	template := strings.Replace(root.UsageTemplate(), inherited, "", 1)
	template = strings.Replace(template, "{{.LocalFlags.FlagUsages", "{{.LocalNonPersistentFlags.FlagUsages", 1)
	root.SetUsageTemplate(strings.TrimRight(template, "\n") + "\n\nUse \"{{.Root.DisplayName}} options\" for the flags that all commands have.\n")
}

// Explain turns an error into what is printed: what failed, and where possible what to do. Errors quote
// what others wrote.
func Explain(err error) string {
	lines := strings.Split("error: "+err.Error(), "\n")
	for i, line := range lines {
		lines[i] = output.Text(line)
	}
	text := strings.Join(lines, "\n")
	switch {
	case apierrors.IsUnauthorized(err):
		text += "\nthe API server does not accept your credentials: are they expired?"
	case isUnreachable(err):
		text += "\nthe API server does not answer: is the kubeconfig's current context the right one?"
	}
	return text
}

func isUnreachable(err error) bool {
	var temporary interface{ Timeout() bool }
	return strings.Contains(err.Error(), "connection refused") || errors.As(err, &temporary) && temporary.Timeout()
}
