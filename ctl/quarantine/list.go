package quarantine

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/ctl/output"
)

func listCommand(o Options) *cobra.Command {
	var format output.Format
	var follow, bare bool
	c := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls", "get"},
		Short:   "List who is denied",
		Example: `  portcullisctl quarantine list
  portcullisctl quarantine list -o wide
  portcullisctl quarantine list --watch`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			connected, err := o.Connect()
			if err != nil {
				return err
			}
			if follow {
				return watchAll(c.Context(), connected, newPrinter(o.Streams.Out, format, bare))
			}
			return list(c.Context(), connected, format, bare, o)
		},
	}
	output.AddFlag(c, &format)
	c.Flags().BoolVarP(&follow, "watch", "w", false, "Go on and tell what changes")
	c.Flags().BoolVar(&bare, "no-headers", false, "Leave the table's header out")
	return c
}

var columns = []output.Column{
	{Name: "Name"}, {Name: "Subject"}, {Name: "Enforced"}, {Name: "Rule"}, {Name: "Expires"}, {Name: "Age"},
	{Name: "Denied", Wide: true}, {Name: "Reason", Wide: true}, {Name: "Node", Wide: true}, {Name: "Pod UID", Wide: true},
	{Name: "Detection", Wide: true},
}

func row(q *v1alpha1.Quarantine, now time.Time) []string {
	return []string{
		q.Name, subject(q), enforced(q), rule(q), expiry(q, now), age(q, now),
		denied(q), q.Spec.Reason, node(q), q.Spec.Subject.UID, detection(q),
	}
}

func list(ctx context.Context, c client.Client, format output.Format, bare bool, o Options) error {
	found, err := all(ctx, c)
	switch {
	case err != nil:
		return err
	case format == output.Name:
		return names(o.Streams.Out, found)
	case !format.IsTable():
		return output.Object(o.Streams.Out, format, found)
	case len(found.Items) == 0:
		fmt.Fprintln(o.Streams.ErrOut, "Nobody is denied: there are no quarantines.")
		return nil
	}
	now := time.Now()
	rows := make([][]string, 0, len(found.Items))
	for i := range found.Items {
		rows = append(rows, row(&found.Items[i], now))
	}
	return table(o.Streams.Out, format, bare, columns).Print(rows...)
}

func table(w io.Writer, format output.Format, bare bool, columns []output.Column) *output.Rows {
	rows := output.NewRows(w, format, columns...)
	if bare {
		return rows.WithoutHeaders()
	}
	return rows
}

func names(w io.Writer, found *v1alpha1.QuarantineList) error {
	for i := range found.Items {
		if err := output.Object(w, output.Name, &found.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

// watchAll prints what is there and then every change, until ctx ends. The
// watch survives lost connections. A first list tells errors, such as missing
// rights, which the watch would try again for ever.
func watchAll(ctx context.Context, c client.WithWatch, p printer) error {
	first, err := all(ctx, c)
	if err != nil {
		return err
	}
	present := make(map[types.UID]bool, len(first.Items))
	for i := range first.Items {
		present[first.Items[i].UID] = true
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_, _, changes, done := watchtools.NewIndexerInformerWatcherWithLogger(logr.Discard(), source(c), &v1alpha1.Quarantine{})
	defer func() { <-done }()
	defer changes.Stop()

	for {
		select {
		case <-ctx.Done():
			return nil
		case change, open := <-changes.ResultChan():
			if !open {
				return nil
			}
			q, ok := change.Object.(*v1alpha1.Quarantine)
			if !ok {
				continue
			}
			setKind(q)
			word := words[change.Type]
			if change.Type == watch.Added && present[q.UID] {
				word = "present"
			}
			if err := p.print(word, q); err != nil {
				return err
			}
		}
	}
}

// words are what a watch calls its changes, as a person would.
var words = map[watch.EventType]string{
	watch.Added: "added", watch.Modified: "changed", watch.Deleted: "released",
}

// source reads quarantines for an informer.
func source(c client.WithWatch) cache.ListerWatcher {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			found := &v1alpha1.QuarantineList{}
			return found, c.List(ctx, found, &client.ListOptions{Raw: &o})
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return c.Watch(ctx, &v1alpha1.QuarantineList{}, &client.ListOptions{Raw: &o})
		},
	}
}

// printer prints one change after the other.
type printer struct {
	w      io.Writer
	format output.Format
	rows   *output.Rows
}

func newPrinter(w io.Writer, format output.Format, bare bool) printer {
	p := printer{w: w, format: format}
	if format.IsTable() {
		p.rows = table(w, format, bare, append([]output.Column{{Name: "Change"}}, columns...))
	}
	return p
}

func (p printer) print(word string, q *v1alpha1.Quarantine) error {
	if p.rows == nil {
		return output.Object(p.w, p.format, q)
	}
	return p.rows.Print(append([]string{word}, row(q, time.Now())...))
}
