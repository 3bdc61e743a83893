package event

import "encoding/json"

// Audit is one stage of one API request: the part of an audit.k8s.io/v1 Event
// that rules and responses read.
type Audit struct {
	// AuditID is the request's Audit-ID. The client may set it: show it, never rely on it.
	AuditID string
	// AuditIDReused is set if another request came with the same Audit-ID before: nobody but a client
	// that hides something, or is broken, does that.
	AuditIDReused bool
	Stage         string
	Level         string
	Verb          string
	RequestURI    string
	UserAgent     string
	SourceIPs     []string

	User             AuditUser
	ImpersonatedUser *AuditUser
	ObjectRef        ObjectRef
	// Code, Reason and Message are the response's status.
	Code    int32
	Reason  string
	Message string
	// Annotations as the API server wrote them, keys unchanged.
	Annotations map[string]string
	// RequestObject and ResponseObject are the raw JSON, nil where the audit
	// policy did not record them.
	RequestObject  json.RawMessage
	ResponseObject json.RawMessage

	// Caller is the pod that the credential was bound to, empty for people.
	Caller Pod
	// Target is the pod that the request names (exec, attach, …), empty where it names none.
	Target Pod
}

// AnnotationSession is the audit annotation by which the admission webhook (exec.portcullis.dev) names the session
// that a request asks for: the exact link between a review and its audit event. Clients cannot write it.
const AnnotationSession = "exec.portcullis.dev/session"

// AuditUser is who made a request.
type AuditUser struct {
	Username string
	UID      string
	Groups   []string
	// Extra as the authenticator wrote it, keys unchanged, such as
	// "authentication.kubernetes.io/pod-uid".
	Extra map[string][]string
}

// ObjectRef is the object that a request was about.
type ObjectRef struct {
	APIGroup, APIVersion  string
	Resource, Subresource string
	Namespace, Name, UID  string
}
