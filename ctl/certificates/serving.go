package certificates

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/portcullis-dev/portcullis/pki"
)

func servingCommand(o Options) *cobra.Command {
	return &cobra.Command{
		Use:   "serving",
		Short: "Replace the CA of the webhook and of the agents' endpoint",
		Long: "Begins to replace the CA that signs the certificate of the webhook, of the agents' endpoint\n" +
			"and of the metrics. The server does the rest by itself, within about two hours, and nobody\n" +
			"is locked out meanwhile. It also does so in time before the CA ends: this command is for\n" +
			"when its key may be known to somebody.\n\n" +
			"You need to be allowed to update the Secrets of Portcullis' namespace.",
		Example: "  portcullisctl certificates rotate serving",
		Args:    cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			return o.with(c.Context(), o.rotateServing)
		},
	}
}

func (o Options) rotateServing(ctx context.Context, s *site) error {
	if s.foreignServing() {
		return errors.New("the server's certificate is somebody else's (pki.servingTLSSecret in the chart's values): whoever issues it replaces its CA")
	}
	before, err := s.store.ServingState(ctx)
	if err == nil {
		err = s.started(before)
	}
	if err == nil && !before.Changing() {
		err = s.store.RotateServingCA(ctx)
	}
	if err != nil {
		return s.explain("replace the serving CA", err)
	}
	after, err := s.store.ServingState(ctx)
	if err != nil {
		return s.explain("read the serving CA", err)
	}
	return o.saysServing(before.Changing(), after)
}

// saysServing prints what happens next, and when.
func (o Options) saysServing(already bool, state pki.State) error {
	begun := "The next serving CA is made."
	if already {
		begun = "The serving CA is being replaced already; nothing was changed."
	}
	now, steps := o.Now(), ""
	if next := state.Next(); next != nil {
		steps = fmt.Sprintf("  within a minute   the next CA is trusted beside the old one: by API servers, and by agents a minute later\n"+
			"  %-17s it signs: the server shows another certificate\n"+
			"  an hour later     the old one is trusted no more\n", soon(next.Changes, now))
	}
	for _, a := range state.Authorities {
		if a.Role == pki.RoleRetired {
			steps = fmt.Sprintf("  %-17s the old one, which signs no more, is trusted no more\n", soon(a.Changes, now))
		}
	}
	_, err := fmt.Fprintf(o.Streams.Out, "%s The server goes on by itself, as long as it runs:\n\n%s\nHow far it is: portcullisctl certificates show\n", begun, steps)
	return err
}
