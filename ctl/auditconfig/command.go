package auditconfig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// DefaultNamespace is where Portcullis is installed unless somebody says otherwise.
const DefaultNamespace = "portcullis"

// Options are what the command needs; all are required.
type Options struct {
	// Connect reaches the cluster that Portcullis is installed in.
	Connect func() (client.WithWatch, error)
	// Namespace is Portcullis': the one that a flag names, or the fallback.
	Namespace func(fallback string) string
	Streams   genericiooptions.IOStreams
}

// settings are the command's flags.
type settings struct {
	apiServer   string
	namespace   string
	address     string
	outputDir   string
	installPath string
	mode        mode
	auth        auth
	validFor    time.Duration
	// sinkCA is a file with the CAs that the sink's certificate is of, where somebody else issues that.
	sinkCA string
	force  bool
}

const example = `  # On the host of an API server
  portcullisctl audit config --api-server cp-1 --output-dir /etc/kubernetes/portcullis

  # From elsewhere, for a host that gets the files copied
  portcullisctl audit config --api-server cp-2 --output-dir ./cp-2 --install-path /etc/kubernetes/portcullis

  # Through a node port, where the API server cannot reach cluster IPs
  portcullisctl audit config --api-server cp-1 --output-dir ./cp-1 --address 192.0.2.10:30443

  # With a token, where the API server cannot use a client certificate
  portcullisctl audit config --api-server cp-1 --output-dir /etc/kubernetes/portcullis --auth token

  # Renew the certificate or token; the API server picks it up without a restart
  portcullisctl audit config --api-server cp-1 --output-dir /etc/kubernetes/portcullis --force`

// New returns the command.
func New(o Options) *cobra.Command {
	s := settings{mode: batch, auth: byCertificate}
	c := &cobra.Command{
		Use:   "config --api-server NAME --output-dir DIR",
		Short: "Make the files with which an API server sends its audit stream",
		Long: "Makes the files with which one API server sends its audit stream to Portcullis:\n" +
			"audit policy, kubeconfig, certificates. Then prints the flags to set on that API\n" +
			"server. Run it once for each API server, each with a name of its own.\n\n" +
			"It signs a client certificate with the key in a Secret of Portcullis' namespace,\n" +
			"so you need to be allowed to read that. With --auth token it makes a token instead\n" +
			"and writes its hash into another Secret there, which you need to be allowed to update.",
		Example: example,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s.namespace = o.Namespace(DefaultNamespace)
			return run(c.Context(), o.Connect, s, o.Streams.Out)
		},
	}
	flags := c.Flags()
	flags.StringVar(&s.apiServer, "api-server", "", "Name of the API server, such as its host's: shown with its events")
	flags.StringVar(&s.outputDir, "output-dir", "", "Where to write the files; made if it does not exist")
	flags.StringVar(&s.installPath, "install-path", "", "Where the files will be on the API server's host, if not in the output directory")
	flags.StringVar(&s.address, "address", "", "HOST:PORT of the audit sink as the API server reaches it; the Service's cluster IP unless set")
	flags.Var(&s.mode, "mode", "How the API server sends: batch (a second behind) or blocking (each request waits for its event to be taken)")
	flags.Var(&s.auth, "auth", "How the API server proves who it is: certificate or token (a secret that travels with each delivery, inside TLS)")
	flags.DurationVar(&s.validFor, "valid-for", 365*24*time.Hour, "How long the client certificate or the token is valid")
	flags.StringVar(&s.sinkCA, "sink-ca", "", "File with the CA certificates that the audit sink's own is of, if that is yours (pki.sinkTLSSecret)")
	flags.BoolVar(&s.force, "force", false, "Overwrite files that exist")
	_ = c.MarkFlagRequired("api-server")
	_ = c.MarkFlagRequired("output-dir")
	_ = c.MarkFlagDirname("output-dir")
	_ = c.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{string(batch), string(blocking)}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("auth", cobra.FixedCompletions([]string{string(byCertificate), string(byToken)}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("api-server", cobra.NoFileCompletions)
	return c
}

func run(ctx context.Context, connect func() (client.WithWatch, error), s settings, out io.Writer) error {
	if err := s.complete(); err != nil {
		return err
	}
	dir := directory(s.outputDir)
	if !s.force {
		// Before anything is signed: a certificate that nobody gets is one too many.
		if err := dir.checkEmpty(s.auth); err != nil {
			return err
		}
	}
	c, err := connect()
	if err != nil {
		return err
	}
	made, err := build(ctx, c, s, time.Now)
	if err != nil {
		return err
	}
	if err := dir.write(made); err != nil {
		return err
	}
	return instructions(out, s, made)
}

// complete checks the flags and fills in what follows from others.
func (s *settings) complete() error {
	if err := checkName(s.apiServer); err != nil {
		return err
	}
	if s.validFor < time.Hour {
		return fmt.Errorf("--valid-for %s: must be at least 1h", s.validFor)
	}
	if err := checkAddress(s.address); err != nil {
		return err
	}
	dir, err := filepath.Abs(s.outputDir)
	if err != nil {
		return fmt.Errorf("--output-dir: %w", err)
	}
	s.outputDir = dir
	switch {
	case s.installPath == "":
		s.installPath = dir
	case !filepath.IsAbs(s.installPath):
		return errors.New("--install-path: must be an absolute path: it is one on the API server's host")
	default:
		s.installPath = filepath.Clean(s.installPath)
	}
	return nil
}
