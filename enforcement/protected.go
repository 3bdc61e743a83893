package enforcement

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/event"
)

// Protected are those whom no rule puts into quarantine, beside kubelets, the users of the control plane and
// the members of break-glass groups, who always are.
type Protected struct{ Namespaces, Users, Groups []string }

const (
	nodesGroup  = "system:nodes"
	kubePrefix  = "system:kube-"
	nodePrefix  = "system:node:"
	apiserver   = "system:apiserver"
	protectedBy = "which no rule may put into quarantine"
)

// guard knows who is protected.
type guard struct{ namespaces, users, groups []string }

func newGuard(p Protected, breakGlass []string) guard {
	return guard{
		namespaces: slices.Clone(p.Namespaces),
		users:      append(slices.Clone(p.Users), apiserver),
		groups:     append(slices.Concat(p.Groups, breakGlass), nodesGroup),
	}
}

// protects says why the subject must not be put into quarantine because of the detection; empty if it may.
func (g guard) protects(d *event.Detection, s v1alpha1.Subject) string {
	switch s.Kind {
	case v1alpha1.SubjectPod:
		return g.namespace(fmt.Sprintf("pod %s/%s is", s.Namespace, s.Name), s.Namespace)
	case v1alpha1.SubjectNamespace:
		return g.namespace("it is", s.Name)
	case v1alpha1.SubjectServiceAccount:
		if why := g.namespace(fmt.Sprintf("service account %s/%s is", s.Namespace, s.Name), s.Namespace); why != "" {
			return why
		}
		return g.caller(d, "system:serviceaccount:"+s.Namespace+":"+s.Name)
	case v1alpha1.SubjectUser:
		return g.caller(d, s.Name)
	case v1alpha1.SubjectCredential:
		return g.caller(d, d.User)
	case v1alpha1.SubjectGroup:
		return g.group("", s.Name)
	default:
		return ""
	}
}

func (g guard) namespace(what, namespace string) string {
	if slices.Contains(g.namespaces, namespace) {
		return fmt.Sprintf("%s of the namespace %s, %s", what, namespace, protectedBy)
	}
	return ""
}

// caller protects who made the detection's requests, by the user's name and by the groups.
func (g guard) caller(d *event.Detection, user string) string {
	if slices.Contains(g.users, user) || strings.HasPrefix(user, kubePrefix) || strings.HasPrefix(user, nodePrefix) {
		return fmt.Sprintf("it is user %q, %s", user, protectedBy)
	}
	if namespace, _, ok := event.ServiceAccountOf(user); ok {
		if why := g.namespace(fmt.Sprintf("user %q is", user), namespace); why != "" {
			return why
		}
	}
	for _, group := range d.Groups() {
		if why := g.group(fmt.Sprintf("user %q is a member of ", user), group); why != "" {
			return why
		}
	}
	return ""
}

func (g guard) group(what, group string) string {
	if slices.Contains(g.groups, group) {
		return fmt.Sprintf("%sthe group %s, %s", what, group, protectedBy)
	}
	return ""
}
