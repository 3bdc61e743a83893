package rule

import (
	"time"

	"github.com/portcullis-dev/portcullis/rule/document"
)

// Response is what to do about a detection. At least one of its fields is set.
type Response struct {
	// Deny refuses the very request that the rule is about, at admission: the rule is evaluated on
	// the review, before the API server lets anybody in. Only rules of single events can.
	Deny bool
	// Quarantine is nil where nobody is to be denied from then on.
	Quarantine *Quarantine
	// KillSession ends the exec sessions that the detection is about.
	KillSession bool
}

// Quarantine denies the subject for a while.
type Quarantine struct {
	Subject  Subject
	Duration time.Duration
	// Operations are denied, of the words in Operations; all of them if empty.
	Operations []string
	// Ambiguous: where it is not certain which pod a detection is about, every pod
	// that it may be is denied. Without it, none is.
	Ambiguous bool
}

// Subject says who of a detection is meant.
type Subject string

// The subjects.
const (
	// SubjectPod is the pod in which it happened, or that somebody reached into.
	SubjectPod Subject = "pod"
	// SubjectUser is who made the requests; in a session, the human behind it.
	SubjectUser Subject = "user"
	// SubjectServiceAccount is the service account that made the requests.
	SubjectServiceAccount Subject = "serviceaccount"
	// SubjectCredential is the one token or certificate that the requests were made with.
	SubjectCredential Subject = "credential"
	// SubjectNode is the node that the pod runs on.
	SubjectNode Subject = "node"
	// SubjectNamespace is the pod's namespace.
	SubjectNamespace Subject = "namespace"
)

// Operations are what can be denied, called like the API's subresources.
func Operations() []string {
	return []string{"exec", "attach", "portforward", "ephemeralcontainers", "proxy"}
}

// What a rule may say about ambiguous pods.
const (
	ambiguousDeny  = "deny"
	ambiguousAllow = "allow"
)

func responseShape() *document.Shape {
	return document.AnyOf(
		document.Optional("deny", document.Boolean(),
			"Refuse the very request that the rule matches, at admission. For rules of one exec, attach, port-forward, debug or proxy request."),
		document.Optional("quarantine", quarantineShape(), "Whom to deny exec, attach, port-forward, debug containers and proxies from then on."),
		document.Optional("killSession", document.Boolean(), "End the exec sessions that the detection is about, and nothing else in the pod."),
	)
}

func quarantineShape() *document.Shape {
	return document.Object(
		document.Required("subject",
			document.OneOf(SubjectPod, SubjectUser, SubjectServiceAccount, SubjectCredential, SubjectNode, SubjectNamespace),
			"Whom: the pod, its node or namespace, or the user, service account or credential that the detection is about."),
		document.Required("duration", document.Duration(time.Second, maxDuration), "For how long, such as 1h."),
		document.Optional("operations", document.List(document.OneOf(Operations()...), len(Operations())),
			"What is denied. Without it, everything that can be."),
		document.Optional("ambiguous", document.OneOf(ambiguousDeny, ambiguousAllow),
			"Whether pods may be quarantined where it is not certain which one it was: none (deny, the default) or every one that it may have been (allow)."),
	)
}

// response reads what a rule, whose query is compiled, asks for.
func (p *parser) response(v document.Value, r *Rule) {
	if !v.Exists() {
		return
	}
	asked := &Response{
		Deny:        v.Field("deny").Boolean(),
		KillSession: v.Field("killSession").Boolean(),
		Quarantine:  quarantineOf(v.Field("quarantine")),
	}
	if asked.Deny && r.Program != nil && r.Program.IsSequence() {
		v.Field("deny").Problem("is for rules of a single event: when a sequence is complete, its requests have been admitted already")
	}
	if asked.Deny || asked.KillSession || asked.Quarantine != nil {
		r.Response = asked
	}
}

func quarantineOf(v document.Value) *Quarantine {
	if !v.Exists() {
		return nil
	}
	q := &Quarantine{
		Subject: Subject(v.Field("subject").Text()), Duration: v.Field("duration").Duration(),
		Operations: v.Field("operations").Texts(),
	}
	ambiguous := v.Field("ambiguous")
	q.Ambiguous = ambiguous.Text() == ambiguousAllow
	if ambiguous.Exists() && q.Subject != "" && q.Subject != SubjectPod {
		ambiguous.Problem("is for pods: no other subject is ever ambiguous")
	}
	return q
}
