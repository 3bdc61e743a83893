package quarantine

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/ctl/output"
)

// kind is a kind of subject, and the command that denies one.
type kind struct {
	// word is the command's name, argument what it takes.
	word, argument       string
	aliases              []string
	short, long, example string
	// find makes the subject of the argument.
	find func(context.Context, Options, client.Client, string) (v1alpha1.Subject, error)
	// list is for the completion of the argument; nil where nobody knows what there is.
	list func(Options) (client.ObjectList, []client.ListOption, error)
}

func kinds() []kind {
	return []kind{
		podKind(),
		{
			word: "user", argument: "NAME", short: "Deny a user, into any pod",
			long: "Denies a user, into any pod. The name is the user name as the API server knows it:\n" +
				"kubectl auth whoami shows your own.",
			example: `  portcullisctl quarantine add user mallory --reason "credentials leaked" --duration 24h`,
			find:    byName(v1alpha1.SubjectUser),
		},
		{
			word: "group", argument: "NAME", short: "Deny the members of a group, into any pod",
			long: "Denies the members of a group, into any pod. Break-glass groups get in all the same; a group\n" +
				"that everybody is in, such as system:authenticated, shuts out everybody else.",
			example: `  portcullisctl quarantine add group contractors --operations exec,attach --reason "freeze until Monday"`,
			find:    byName(v1alpha1.SubjectGroup),
		},
		serviceAccountKind(),
		{
			word: "credential", argument: "ID", short: "Deny whoever uses one token or client certificate",
			long: "Denies requests that are made with one token or client certificate, whoever uses it. Its ID is in\n" +
				"the audit event, in user.extra[\"authentication.kubernetes.io/credential-id\"], and begins with JTI= or X509SHA256=.",
			example: `  portcullisctl quarantine add credential JTI=7a5e4f0a-9d35-4c5e-8f2c-2f6f1c1f5a10 --reason "token was printed in a log"`,
			find:    byName(v1alpha1.SubjectCredential),
		},
		{
			word: "node", argument: "NAME", aliases: []string{"no"}, short: "Deny everybody into the pods of a node, and to its kubelet",
			long:    "Denies everybody into all pods of a node, and to its kubelet through the API server.",
			example: `  portcullisctl quarantine add node worker-3 --reason "kernel is being examined"`,
			find:    existing(v1alpha1.SubjectNode, "node", func() client.Object { return &corev1.Node{} }),
			list:    func(Options) (client.ObjectList, []client.ListOption, error) { return &corev1.NodeList{}, nil, nil },
		},
		{
			word: "namespace", argument: "NAME", aliases: []string{"ns"}, short: "Deny everybody into the pods and services of a namespace",
			long: "Denies everybody into the pods and services of a namespace. What its service accounts do\n" +
				"elsewhere is not denied.",
			example: `  portcullisctl quarantine add namespace shop --reason "incident 4711" --duration 2h`,
			find:    existing(v1alpha1.SubjectNamespace, "namespace", func() client.Object { return &corev1.Namespace{} }),
			list: func(Options) (client.ObjectList, []client.ListOption, error) {
				return &corev1.NamespaceList{}, nil, nil
			},
		},
	}
}

// byName is for what exists in no object: users, groups and credentials are what requests say.
func byName(k v1alpha1.SubjectKind) func(context.Context, Options, client.Client, string) (v1alpha1.Subject, error) {
	return func(_ context.Context, _ Options, _ client.Client, name string) (v1alpha1.Subject, error) {
		return v1alpha1.Subject{Kind: k, Name: name}, nil
	}
}

// existing is for what exists, so that no slip of the pen denies nobody. Who may not look is believed.
func existing(k v1alpha1.SubjectKind, word string, object func() client.Object) func(context.Context, Options, client.Client, string) (v1alpha1.Subject, error) {
	return func(ctx context.Context, _ Options, c client.Client, name string) (v1alpha1.Subject, error) {
		name = strings.TrimPrefix(name, word+"/")
		err := c.Get(ctx, client.ObjectKey{Name: name}, object())
		switch {
		case apierrors.IsNotFound(err):
			return v1alpha1.Subject{}, fmt.Errorf("there is no %s %q", word, name)
		case err != nil && !apierrors.IsForbidden(err):
			return v1alpha1.Subject{}, fmt.Errorf("look for the %s: %w", word, err)
		}
		return v1alpha1.Subject{Kind: k, Name: name}, nil
	}
}

func podKind() kind {
	return kind{
		word: "pod", argument: "NAME", aliases: []string{"po"}, short: "Deny everybody into a pod, and what is asked with its token",
		long: "Denies everybody into a pod, and requests that are made with its token. It is meant by its\n" +
			"UID: a later pod of the same name is not denied.",
		example: `  portcullisctl quarantine add pod web-0 -n shop --reason "under investigation, ask #security" --duration 4h`,
		find: func(ctx context.Context, o Options, c client.Client, name string) (v1alpha1.Subject, error) {
			namespace, err := o.Namespace()
			if err != nil {
				return v1alpha1.Subject{}, err
			}
			return pod(ctx, c, namespace, strings.TrimPrefix(name, "pod/"))
		},
		list: func(o Options) (client.ObjectList, []client.ListOption, error) {
			namespace, err := o.Namespace()
			return &corev1.PodList{}, []client.ListOption{client.InNamespace(namespace)}, err
		},
	}
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
	return v1alpha1.Subject{
		Kind: v1alpha1.SubjectPod, UID: string(p.UID), Namespace: p.Namespace, Name: p.Name,
		// The way by the node's kubelet is shut with it.
		NodeName: p.Spec.NodeName,
	}, nil
}

func serviceAccountKind() kind {
	return kind{
		word: "serviceaccount", argument: "NAMESPACE/NAME", aliases: []string{"sa"}, short: "Deny a service account, into any pod",
		long:    "Denies a service account, into any pod. Without NAMESPACE/ it is the one that -n says, or the current one.",
		example: `  portcullisctl quarantine add serviceaccount shop/cart --reason "token was stolen"`,
		find: func(ctx context.Context, o Options, c client.Client, name string) (v1alpha1.Subject, error) {
			namespace, name, err := serviceAccount(o, name)
			if err != nil {
				return v1alpha1.Subject{}, err
			}
			err = c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &corev1.ServiceAccount{})
			switch {
			case apierrors.IsNotFound(err):
				return v1alpha1.Subject{}, fmt.Errorf("there is no service account %q in namespace %s", name, namespace)
			case err != nil && !apierrors.IsForbidden(err):
				return v1alpha1.Subject{}, fmt.Errorf("look for the service account: %w", err)
			}
			return v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: namespace, Name: name}, nil
		},
		list: func(Options) (client.ObjectList, []client.ListOption, error) {
			return &corev1.ServiceAccountList{}, nil, nil
		},
	}
}

// serviceAccount reads NAMESPACE/NAME, NAME, and the user name of one.
func serviceAccount(o Options, text string) (namespace, name string, err error) {
	if user, ok := strings.CutPrefix(text, "system:serviceaccount:"); ok {
		text = strings.Replace(user, ":", "/", 1)
	}
	namespace, name, both := strings.Cut(text, "/")
	if !both {
		name = text
		namespace, err = o.Namespace()
	}
	if err == nil && (namespace == "" || name == "" || strings.Contains(name, "/")) {
		err = fmt.Errorf("%q is not NAMESPACE/NAME", text)
	}
	return namespace, name, err
}

// completion completes the argument with what there is.
func (k kind) completion(o Options) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if k.list == nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		list, options, err := k.list(o)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		connected, err := o.Connect()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		if err := connected.List(c.Context(), list, options...); err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return namesOf(list), cobra.ShellCompDirectiveNoFileComp
	}
}

func namesOf(list client.ObjectList) (names []cobra.Completion) {
	add := func(name string) { names = append(names, output.Text(name)) }
	switch list := list.(type) {
	case *corev1.PodList:
		for i := range list.Items {
			add(list.Items[i].Name)
		}
	case *corev1.NodeList:
		for i := range list.Items {
			add(list.Items[i].Name)
		}
	case *corev1.NamespaceList:
		for i := range list.Items {
			add(list.Items[i].Name)
		}
	case *corev1.ServiceAccountList:
		for i := range list.Items {
			add(list.Items[i].Namespace + "/" + list.Items[i].Name)
		}
	}
	return names
}
