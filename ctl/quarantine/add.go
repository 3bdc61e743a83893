package quarantine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/ctl/output"
)

// prefix is what the names of quarantines that people made start with; the API
// server adds a few letters. Those that Portcullis makes are called otherwise,
// so the two never change each other.
const prefix = "manual-"

// addition is what the flags of all sub-commands say.
type addition struct {
	reason     string
	duration   time.Duration
	operations operations
	format     output.Format
}

func addCommand(o Options) *cobra.Command {
	c := &cobra.Command{
		Use:   "add",
		Short: "Deny somebody or something by hand",
		Long: "Denies exec, attach, port-forward, debug containers and proxy requests, or with --operations\n" +
			"some of them. It works the same as a quarantine that Portcullis makes.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	for _, k := range kinds() {
		c.AddCommand(addSubject(o, k))
	}
	return c
}

// addSubject is the command that denies one kind of subject.
func addSubject(o Options, k kind) *cobra.Command {
	var a addition
	c := &cobra.Command{
		Use:     k.word + " " + k.argument + " --reason TEXT",
		Aliases: k.aliases,
		Short:   k.short,
		Long:    k.long,
		Example: k.example,
		Args:    cobra.ExactArgs(1), ValidArgsFunction: k.completion(o),
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.check(args[0]); err != nil {
				return err
			}
			connected, err := o.Connect()
			if err != nil {
				return err
			}
			subject, err := k.find(c.Context(), o, connected, args[0])
			if err != nil {
				return err
			}
			return add(c.Context(), connected, subject, a, o)
		},
	}
	c.Flags().StringVar(&a.reason, "reason", "", "Why; the person who is denied reads it")
	c.Flags().DurationVar(&a.duration, "duration", 0, "How long, such as 30m or 4h; until it is released unless set")
	c.Flags().Var(&a.operations, "operations", "What is denied, with commas between: "+strings.Join(allOperations(), ", ")+"; all unless set")
	_ = c.RegisterFlagCompletionFunc("operations", completeOperations)
	_ = c.MarkFlagRequired("reason")
	output.AddFlag(c, &a.format)
	return c
}

func (a addition) check(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case strings.TrimSpace(a.reason) == "":
		return errors.New("--reason is empty: the person who is denied reads it")
	case a.duration < 0:
		return fmt.Errorf("--duration %s is negative", a.duration)
	}
	return nil
}

func add(ctx context.Context, c client.Client, who v1alpha1.Subject, a addition, o Options) error {
	q := &v1alpha1.Quarantine{
		ObjectMeta: metav1.ObjectMeta{GenerateName: prefix},
		Spec:       v1alpha1.QuarantineSpec{Subject: who, Operations: a.operations, Reason: a.reason},
	}
	now := time.Now()
	if a.duration > 0 {
		q.Spec.ExpiresAt = &metav1.Time{Time: now.Add(a.duration)}
	}
	if err := c.Create(ctx, q); err != nil {
		return explain("add quarantine", err)
	}
	setKind(q)
	if !a.format.IsTable() {
		return output.Object(o.Streams.Out, a.format, q)
	}
	return show(o.Streams.Out, q, now)
}

// operations is a flag. It is strict, so that no slip of the pen leaves a door open, or closes all of them.
type operations []v1alpha1.Operation

func allOperations() []string {
	return []string{
		string(v1alpha1.OperationExec), string(v1alpha1.OperationAttach), string(v1alpha1.OperationPortForward),
		string(v1alpha1.OperationEphemeralContainers), string(v1alpha1.OperationProxy),
	}
}

func (l *operations) String() string { return strings.Join(operationNames(*l), ",") }
func (l *operations) Type() string   { return "list" }

func (l *operations) Set(text string) error {
	for _, name := range strings.Split(text, ",") {
		name = strings.TrimSpace(name)
		if !slices.Contains(allOperations(), name) {
			return fmt.Errorf("%q is none of %s", name, strings.Join(allOperations(), ", "))
		}
		if op := v1alpha1.Operation(name); !slices.Contains(*l, op) {
			*l = append(*l, op)
		}
	}
	return nil
}

// completeOperations completes the last of a list.
func completeOperations(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	before := typed[:strings.LastIndexByte(typed, ',')+1]
	var found []cobra.Completion
	for _, name := range allOperations() {
		if !slices.Contains(strings.Split(before, ","), name) {
			found = append(found, before+name)
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

func operationNames(list []v1alpha1.Operation) []string {
	names := make([]string, 0, len(list))
	for _, op := range list {
		names = append(names, string(op))
	}
	return names
}
