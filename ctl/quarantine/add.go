package quarantine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/ctl/output"
)

// prefix is what the names of quarantines that people made start with; the API
// server adds a few letters. Those that Portcullis makes are called otherwise,
// so the two never change each other.
const prefix = "manual-"

// addition is what the flags of both sub-commands say.
type addition struct {
	reason   string
	duration time.Duration
	format   output.Format
}

func addCommand(o Options) *cobra.Command {
	c := &cobra.Command{
		Use:   "add",
		Short: "Deny a pod or a user by hand",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(addPodCommand(o), addUserCommand(o))
	return c
}

func addPodCommand(o Options) *cobra.Command {
	return addSubject(o, &cobra.Command{
		Use:   "pod NAME --reason TEXT",
		Short: "Deny exec, attach and port-forward into a pod",
		Long: "Denies exec, attach and port-forward into a pod. It is meant by its UID: a later pod\n" +
			"of the same name is not denied.",
		Example: `  portcullisctl quarantine add pod web-0 -n shop --reason "under investigation, ask #security" --duration 4h`,
	}, func(ctx context.Context, c client.Client, name string) (v1alpha1.Subject, error) {
		namespace, err := o.Namespace()
		if err != nil {
			return v1alpha1.Subject{}, err
		}
		return pod(ctx, c, namespace, strings.TrimPrefix(name, "pod/"))
	})
}

func addUserCommand(o Options) *cobra.Command {
	return addSubject(o, &cobra.Command{
		Use:   "user NAME --reason TEXT",
		Short: "Deny a user exec, attach and port-forward into any pod",
		Long: "Denies a user exec, attach and port-forward into any pod. The name is the user name as\n" +
			"the API server knows it: kubectl auth whoami shows your own. A service account's is\n" +
			"system:serviceaccount:NAMESPACE:NAME.",
		Example: `  portcullisctl quarantine add user mallory --reason "credentials leaked" --duration 24h`,
	}, func(_ context.Context, _ client.Client, name string) (v1alpha1.Subject, error) {
		return v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: name}, nil
	})
}

// addSubject completes a command that denies the subject of one argument.
func addSubject(o Options, c *cobra.Command, find func(context.Context, client.Client, string) (v1alpha1.Subject, error)) *cobra.Command {
	var a addition
	c.Args = cobra.ExactArgs(1)
	c.ValidArgsFunction = cobra.NoFileCompletions
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := a.check(args[0]); err != nil {
			return err
		}
		connected, err := o.Connect()
		if err != nil {
			return err
		}
		subject, err := find(c.Context(), connected, args[0])
		if err != nil {
			return err
		}
		return add(c.Context(), connected, subject, a, o)
	}
	c.Flags().StringVar(&a.reason, "reason", "", "Why; the person who is denied reads it")
	c.Flags().DurationVar(&a.duration, "duration", 0, "How long, such as 30m or 4h; until it is released unless set")
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

func pod(ctx context.Context, c client.Client, namespace, name string) (v1alpha1.Subject, error) {
	p := &corev1.Pod{}
	err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, p)
	if apierrors.IsNotFound(err) {
		return v1alpha1.Subject{}, fmt.Errorf("there is no pod %q in namespace %s: -n says which namespace", name, namespace)
	}
	if err != nil {
		return v1alpha1.Subject{}, fmt.Errorf("find the pod's UID: %w", err)
	}
	return v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: string(p.UID), Namespace: p.Namespace, Name: p.Name}, nil
}

func add(ctx context.Context, c client.Client, who v1alpha1.Subject, a addition, o Options) error {
	q := &v1alpha1.Quarantine{
		ObjectMeta: metav1.ObjectMeta{GenerateName: prefix},
		Spec:       v1alpha1.QuarantineSpec{Subject: who, Reason: a.reason},
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
