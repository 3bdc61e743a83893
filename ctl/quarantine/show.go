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
	expires, last := "never: it lasts until it is released", ""
	if q.Spec.ExpiresAt != nil {
		expires = moment(q.Spec.ExpiresAt.Time, now)
	}
	if q.Status.LastDenied != nil {
		last = moment(q.Status.LastDenied.Time, now)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, line := range [][2]string{
		{"Name", q.Name}, {"Subject", subject(q)}, {"Pod UID", q.Spec.Subject.UID}, {"Node", node(q)},
		{"Denied", denied(q)}, {"In force", inForce(q)}, {"Reason", q.Spec.Reason}, {"Rule", rule(q)}, {"Detection", detection(q)},
		{"Created", moment(q.CreationTimestamp.Time, now)}, {"Expires", expires}, {"Last denied", last},
		{"To release", "portcullisctl quarantine release " + q.Name},
	} {
		if line[1] != "" {
			fmt.Fprintf(tw, "%s:\t%s\n", line[0], output.Text(line[1]))
		}
	}
	return tw.Flush()
}
