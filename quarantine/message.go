package quarantine

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
)

// The bounds of the texts in a message, in characters. A message is read in a
// terminal, and kept in an audit event.
const (
	maxShownName   = 128
	maxShownReason = 256
)

// timeFormat is how people are told a time.
const timeFormat = "2006-01-02 15:04:05 UTC"

// DenyMessage tells the person who is refused what happened, why, until when and
// how to be released, in two lines. unverified says that the pod could not be
// looked up and was judged by its name.
func DenyMessage(r Request, e *Entry, unverified bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is denied: %s is quarantined %s", requestPhrase(&r), subjectPhrase(&r, e), untilPhrase(e.Expires))
	if e.Rule != "" {
		fmt.Fprintf(&b, " by rule \"%s\"", shown(e.Rule, maxShownName))
	}
	if e.Reason != e.Rule {
		fmt.Fprintf(&b, " (%s)", shown(e.Reason, maxShownReason))
	}
	if e.Detection != "" {
		fmt.Fprintf(&b, ", detection %s", shown(e.Detection, maxShownName))
	}
	if r.Session != "" {
		fmt.Fprintf(&b, ", reference %s", shown(r.Session, maxShownName))
	}
	b.WriteString(".")
	if unverified {
		fmt.Fprintf(&b, " Which pod has this name now could not be looked up; the quarantine is of the UID %s.", shown(e.Subject.UID, maxPodUID))
	}
	name := shown(e.Name, maxRule)
	fmt.Fprintf(&b, "\nTo release it: portcullisctl quarantine release %s (or kubectl delete quarantine %s)", name, name)
	return b.String()
}

// requestPhrase is what was asked for.
func requestPhrase(r *Request) string {
	what := doorPhrase(r.Door)
	pod := shown(r.Namespace+"/"+r.Pod, 2*maxShownName)
	switch {
	case r.Resource == resourceServices:
		return fmt.Sprintf("%s service %s", what, shown(r.Namespace+"/"+r.Service, 2*maxShownName))
	case r.Resource == resourceNodes && r.intoPod():
		return fmt.Sprintf("%s %s through the kubelet of node %s", what, pod, shown(r.Node, maxShownName))
	case r.Resource == resourceNodes && r.runs():
		return fmt.Sprintf("%s a container through the kubelet of node %s", what, shown(r.Node, maxShownName))
	case r.Resource == resourceNodes:
		return fmt.Sprintf("%s the kubelet of node %s", what, shown(r.Node, maxShownName))
	default:
		return what + " " + pod
	}
}

func doorPhrase(door string) string {
	switch v1alpha1.Operation(door) {
	case v1alpha1.OperationExec:
		return "exec into"
	case v1alpha1.OperationAttach:
		return "attach to"
	case v1alpha1.OperationPortForward:
		return "port-forward to"
	case v1alpha1.OperationEphemeralContainers:
		return "debug (an ephemeral container) of"
	case v1alpha1.OperationProxy:
		return "proxy to"
	default:
		return shown(door, maxShownName) + " of"
	}
}

// whom is who is in quarantine, as everybody sees it.
func whom(s v1alpha1.Subject) string {
	name := shown(s.Name, maxShownName)
	whole := shown(s.Namespace+"/"+s.Name, 2*maxShownName)
	switch s.Kind {
	case v1alpha1.SubjectPod:
		return "pod " + whole
	case v1alpha1.SubjectUser:
		return fmt.Sprintf("user \"%s\"", name)
	case v1alpha1.SubjectGroup:
		return fmt.Sprintf("group \"%s\"", name)
	case v1alpha1.SubjectServiceAccount:
		return "service account " + whole
	case v1alpha1.SubjectCredential:
		return fmt.Sprintf("credential \"%s\"", name)
	case v1alpha1.SubjectNode:
		return "node " + name
	case v1alpha1.SubjectNamespace:
		return "namespace " + name
	default:
		return "its subject" // of a kind that this version does not know, or that has ended
	}
}

// subjectPhrase is who is quarantined, as whoever made the request sees it.
func subjectPhrase(r *Request, e *Entry) string {
	who := whom(e.Subject)
	switch {
	case !isPod(e):
		return who
	case r.intoPod() && r.Namespace == e.Subject.Namespace && r.Pod == e.Subject.Name:
		return "the pod"
	case r.CallerPod == e.Subject.UID:
		return who + ", whose token this is,"
	case r.Resource == resourceNodes:
		return who + ", which runs there,"
	default:
		return who
	}
}

func untilPhrase(t time.Time) string {
	if t.IsZero() {
		return "until it is released"
	}
	return "until " + t.UTC().Format(timeFormat)
}

// shown makes a text that anybody may have written fit for a terminal and a log:
// bounded, on one line, with control characters and those that reorder text
// written out.
func shown(s string, limit int) string {
	var b strings.Builder
	n := 0
	for _, c := range s {
		if n++; n > limit {
			b.WriteString("…")
			break
		}
		switch {
		case unicode.IsPrint(c):
			b.WriteRune(c)
		default:
			fmt.Fprintf(&b, `\u%04x`, c)
		}
	}
	return b.String()
}
