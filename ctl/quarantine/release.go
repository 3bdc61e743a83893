package quarantine

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
)

func releaseCommand(o Options) *cobra.Command {
	var everybody, yes bool
	c := &cobra.Command{
		Use:     "release NAME…",
		Aliases: []string{"delete"},
		Short:   "End quarantines: their subjects may exec again",
		Long: "Ends quarantines by deleting them. Detections up to now do not bring them back;\n" +
			"a new detection does.",
		Example: `  portcullisctl quarantine release pod-0c5e5f2c-7a5e-4f0a-9d35-2f6f1c1f5a10
  portcullisctl quarantine release --all --yes`,
		ValidArgsFunction: completeNames(o),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkRelease(args, everybody, yes); err != nil {
				return err
			}
			connected, err := o.Connect()
			if err != nil {
				return err
			}
			if everybody {
				return releaseAll(c.Context(), connected, o.Streams)
			}
			var failed []error
			for _, name := range args {
				q, err := named(c.Context(), connected, name)
				if err == nil {
					err = release(c.Context(), connected, q, o.Streams.Out)
				}
				failed = append(failed, err)
			}
			return errors.Join(failed...)
		},
	}
	c.Flags().BoolVar(&everybody, "all", false, "Release everybody; needs --yes")
	c.Flags().BoolVar(&yes, "yes", false, "Confirm --all")
	return c
}

func checkRelease(args []string, everybody, yes bool) error {
	switch {
	case everybody && len(args) > 0:
		return errors.New("give names or --all, not both")
	case everybody && !yes:
		return errors.New("--all releases everybody who is denied: add --yes if that is what you want")
	case yes && !everybody:
		return errors.New("--yes only goes with --all: names need no confirmation")
	case !everybody && len(args) == 0:
		return errors.New("which one? portcullisctl quarantine list shows the names; --all --yes releases everybody")
	}
	return nil
}

// release deletes exactly that object: one that was made since under the same
// name is another decision.
func release(ctx context.Context, c client.Client, q *v1alpha1.Quarantine, w io.Writer) error {
	uid := q.UID
	if err := c.Delete(ctx, q, client.Preconditions{UID: &uid}); err != nil {
		return explain("release "+q.Name, err)
	}
	_, err := fmt.Fprintf(w, "released %s (quarantine %s)\n", subject(q), q.Name)
	return err
}

func releaseAll(ctx context.Context, c client.Client, streams genericiooptions.IOStreams) error {
	found, err := all(ctx, c)
	if err != nil {
		return err
	}
	if len(found.Items) == 0 {
		fmt.Fprintln(streams.ErrOut, "Nobody is denied: there are no quarantines.")
		return nil
	}
	var failed []error
	for i := range found.Items {
		failed = append(failed, release(ctx, c, &found.Items[i], streams.Out))
	}
	return errors.Join(failed...)
}
