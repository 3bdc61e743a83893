package sessions

import (
	"context"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// DefaultNamespace is where Portcullis is installed unless somebody says otherwise.
const DefaultNamespace = "portcullis"

// Server is a way to the server's endpoint.
type Server struct {
	// HTTP calls it, and says who calls.
	HTTP *http.Client
	// URL is where the endpoint is, without a path.
	URL string
	// Close gives the way up.
	Close func()
}

// Options are what the commands need. Those without a default are required.
type Options struct {
	// Connect reaches the server of the Portcullis in a namespace.
	Connect func(ctx context.Context, namespace string) (*Server, error)
	// Namespace is the one that the flag of all commands names, or the fallback.
	Namespace func(fallback string) string
	Streams   genericiooptions.IOStreams
	// Now is the time; the computer's unless set.
	Now func() time.Time
	// Retry is how long a follower who has lost the server waits each time; from a second to half a minute unless set.
	Retry wait.Backoff
}

const long = `Shows exec sessions: who ran what in which pod with kubectl exec, attach, cp, debug or
port-forward, or past the API server, what was started and done there, and how it ended.

USER is who asked. A name alone is certain. Names with a question mark are those who may have
asked, where Portcullis cannot tell them apart; it never guesses. ATTRIBUTION says the same in a word:
  exact       nobody else can have asked
  candidates  one of several asked, or it is not certain yet
  none        nobody is known to have asked

What looks like a secret in arguments is shown as [redacted]. The server keeps a bounded history, of a
week at most. To read it you need the role portcullis-sessions in Portcullis' namespace.`

// New returns the command with its sub-commands.
func New(o Options) *cobra.Command {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Retry.Duration == 0 {
		o.Retry = wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.1, Steps: 100, Cap: 30 * time.Second}
	}
	c := &cobra.Command{
		Use:     "sessions",
		Aliases: []string{"session"},
		Short:   "Show who ran what in which pod",
		Long:    long,
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	r := &run{Options: o}
	for _, sub := range []*cobra.Command{listCommand(r), showCommand(r), followCommand(r)} {
		sub.Flags().StringVar(&r.home, "portcullis-namespace", DefaultNamespace, "The namespace that Portcullis is installed in")
		_ = sub.RegisterFlagCompletionFunc("portcullis-namespace", cobra.NoFileCompletions)
		c.AddCommand(sub)
	}
	return c
}

// run is what the sub-commands share.
type run struct {
	Options
	// home is the namespace that Portcullis is installed in.
	home string
}

// with reaches the server for as long as do takes.
func (r *run) with(ctx context.Context, do func(feed) error) error {
	server, err := r.Connect(ctx, r.home)
	if err != nil {
		return err
	}
	defer server.Close()
	return do(feed{server})
}

// completeIDs completes the IDs of the latest sessions.
func (r *run) completeIDs(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	const atMost, patience = 50, 10 * time.Second
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	var ids []cobra.Completion
	err := r.with(ctx, func(f feed) error {
		found, err := f.list(ctx, filter{namespace: r.Namespace(""), limit: atMost}.values(r.Now()), false)
		for i := range found {
			ids = append(ids, cobra.CompletionWithDesc(id(&found[i]), summary(&found[i])))
		}
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return ids, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}
