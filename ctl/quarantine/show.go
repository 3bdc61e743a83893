package quarantine

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/ctl/output"
)

func showCommand(o Options) *cobra.Command {
	var format output.Format
	c := &cobra.Command{
		Use:     "show NAME…",
		Aliases: []string{"describe"},
		Short:   "Show who is denied, why, until when, and how to end it",
		Example: "  portcullisctl quarantine show pod-0c5e5f2c-7a5e-4f0a-9d35-2f6f1c1f5a10",
		Args:    cobra.MinimumNArgs(1), ValidArgsFunction: completeNames(o),
		RunE: func(c *cobra.Command, args []string) error {
			connected, err := o.Connect()
			if err != nil {
				return err
			}
			for i, name := range args {
				q, err := named(c.Context(), connected, name)
				if err != nil {
					return err
				}
				if !format.IsTable() {
					err = output.Object(o.Streams.Out, format, q)
				} else {
					if i > 0 {
						fmt.Fprintln(o.Streams.Out)
					}
					err = show(o.Streams.Out, q, time.Now())
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	output.AddFlag(c, &format)
	return c
}

// show prints everything about one quarantine that a person may want to know.
func show(w io.Writer, q *v1alpha1.Quarantine, now time.Time) error {
	lines := [][2]string{{"Name", q.Name}, {"Subject", subject(q)}}
	if q.Spec.Subject.UID != "" {
		lines = append(lines, [2]string{"Pod UID", q.Spec.Subject.UID})
	}
	lines = append(lines, [2]string{"Reason", q.Spec.Reason}, [2]string{"Rule", rule(q)})
	if q.Spec.Detection != nil {
		lines = append(lines, [2]string{"Detection", q.Spec.Detection.ID})
	}
	lines = append(lines, [2]string{"Created", moment(q.CreationTimestamp.Time, now)})
	if q.Spec.ExpiresAt == nil {
		lines = append(lines, [2]string{"Expires", "never: it lasts until it is released"})
	} else {
		lines = append(lines, [2]string{"Expires", moment(q.Spec.ExpiresAt.Time, now)})
	}
	lines = append(lines, [2]string{"To release", "portcullisctl quarantine release " + q.Name})

	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, line := range lines {
		fmt.Fprintf(tw, "%s:\t%s\n", line[0], output.Text(line[1]))
	}
	return tw.Flush()
}
