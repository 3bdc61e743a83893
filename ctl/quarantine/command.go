package quarantine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
)

// Options are what the commands need; all are required.
type Options struct {
	// Connect reaches the cluster.
	Connect func() (client.WithWatch, error)
	// Namespace is the one of pods that are named without.
	Namespace func() (string, error)
	Streams   genericiooptions.IOStreams
}

// New returns the command with its sub-commands.
func New(o Options) *cobra.Command {
	c := &cobra.Command{
		Use:     "quarantine",
		Aliases: []string{"quarantines", "quar"},
		Short:   "Show who is denied, release them, or deny somebody by hand",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(listCommand(o), showCommand(o), releaseCommand(o), addCommand(o))
	return c
}

// errNotInstalled replaces the API server's "could not find the requested resource".
var errNotInstalled = errors.New("this cluster knows no quarantines: Portcullis is not installed in it (helm install portcullis …)")

// explain turns the API server's answers to requests for quarantines into what they mean.
func explain(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case notInstalled(err):
		return errNotInstalled
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%s: %w\nthe cluster roles portcullis-viewer, portcullis-releaser and portcullis-quarantiner give these rights", what, err)
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

// notInstalled tells a missing kind from a missing object: to a path that it does
// not serve the API server answers in plain text, which client-go notes as a cause.
func notInstalled(err error) bool {
	return apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// all lists the quarantines, oldest first.
func all(ctx context.Context, c client.Reader) (*v1alpha1.QuarantineList, error) {
	list := &v1alpha1.QuarantineList{}
	if err := c.List(ctx, list); err != nil {
		return nil, explain("list quarantines", err)
	}
	slices.SortStableFunc(list.Items, func(a, b v1alpha1.Quarantine) int {
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("QuarantineList"))
	for i := range list.Items {
		setKind(&list.Items[i])
	}
	return list, nil
}

// named reads one quarantine.
func named(ctx context.Context, c client.Reader, name string) (*v1alpha1.Quarantine, error) {
	q := &v1alpha1.Quarantine{}
	err := c.Get(ctx, client.ObjectKey{Name: name}, q)
	if apierrors.IsNotFound(err) && !notInstalled(err) {
		return nil, fmt.Errorf("there is no quarantine %q: released or expired already? portcullisctl quarantine list shows those in force", name)
	}
	if err != nil {
		return nil, explain("read quarantine "+name, err)
	}
	setKind(q)
	return q, nil
}

// setKind: the client leaves the kind out of what it decodes; printers need it.
func setKind(q *v1alpha1.Quarantine) {
	q.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Quarantine"))
}

// completeNames completes the names of quarantines that are not on the line yet.
func completeNames(o Options) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		connected, err := o.Connect()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		list, err := all(c.Context(), connected)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []cobra.Completion
		for i := range list.Items {
			if q := &list.Items[i]; !slices.Contains(args, q.Name) {
				names = append(names, cobra.CompletionWithDesc(q.Name, subject(q)))
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
