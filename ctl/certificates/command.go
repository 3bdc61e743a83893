package certificates

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/ctl/cluster"
	"github.com/portcullis-dev/portcullis/pki"
)

// DefaultNamespace is where Portcullis is installed unless somebody says otherwise.
const DefaultNamespace = "portcullis"

// timeout bounds all requests of a command together.
const timeout = time.Minute

// Options are what the commands need; all are required.
type Options struct {
	// Connect reaches the cluster that Portcullis is installed in.
	Connect func() (client.WithWatch, error)
	// Namespace is Portcullis': the one that a flag names, or the fallback.
	Namespace func(fallback string) string
	Streams   genericiooptions.IOStreams
	// Now is the current time.
	Now func() time.Time
}

// New returns the command with all that belong to it.
func New(o Options) *cobra.Command {
	c := group("certificates", "Show certificates and authorities, and replace authorities")
	c.Aliases = []string{"certs"}
	rotate := group("rotate", "Replace an authority")
	sink := group("sink", "Replace the CA of the audit sink and of API servers' client certificates, in two steps")
	sink.AddCommand(beginCommand(o), finishCommand(o))
	rotate.AddCommand(servingCommand(o), sink)
	c.AddCommand(showCommand(o), rotate)
	return c
}

// group is a command that only holds others.
func group(name, short string) *cobra.Command {
	return &cobra.Command{Use: name, Short: short, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
}

// site is an installation.
type site struct {
	namespace string
	store     *pki.Store
	// settings are what the server is told.
	settings config.PKIConfig
}

// with runs something on the installation that the flags name.
func (o Options) with(ctx context.Context, run func(context.Context, *site) error) error {
	c, err := o.Connect()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	s := &site{namespace: o.Namespace(DefaultNamespace), settings: config.Default().PKI}
	told, err := cluster.ServerConfig(ctx, c, s.namespace)
	if err != nil {
		return s.explain("read what the server is told", err)
	}
	if told != nil {
		s.settings = told.PKI
	}
	s.store, err = pki.NewStore(pki.StoreOptions{
		Client:           c,
		Namespace:        s.namespace,
		ServingSecret:    s.settings.ServingSecret,
		SinkCASecret:     s.settings.SinkCASecret,
		SinkTokensSecret: s.settings.SinkTokensSecret,
		Clock:            o.Now,
		Logger:           slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	return run(ctx, s)
}

// foreignServing and foreignSink say that a certificate is somebody else's, who renews it.
func (s *site) foreignServing() bool { return s.settings.ServingFiles.Certificate != "" }
func (s *site) foreignSink() bool    { return s.settings.SinkFiles.Certificate != "" }

// flag is what commands that people are told to run need to find the same installation.
func (s *site) flag() string {
	if s.namespace == DefaultNamespace {
		return ""
	}
	return " --namespace " + s.namespace
}

// explain adds to an error what the person can do about it.
func (s *site) explain(what string, err error) error {
	err = fmt.Errorf("%s: %w", what, err)
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w\nthis command needs the right to get (and, to replace something, to update) the Secrets of Portcullis in namespace %s, "+
			"and to get its ConfigMap: run it as a cluster administrator", err, s.namespace)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w\nis Portcullis installed in namespace %s? --namespace says where", err, s.namespace)
	default:
		return err
	}
}

// started fails where the server has made no authority yet.
func (s *site) started(state pki.State) error {
	if state.Signs() != nil {
		return nil
	}
	return errors.New("there is no CA yet: the server makes it when it first starts\n" +
		"see whether it runs: kubectl -n " + s.namespace + " get pods")
}
