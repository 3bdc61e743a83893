package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	admission "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/portcullis-dev/portcullis/event"
)

const (
	reviewVersion = "admission.k8s.io/v1"
	reviewKind    = "AdmissionReview"
	// maxUID is well above the 36 characters of a UUID.
	maxUID = 128
	// extraCredentialID names the extra by which an authenticator says which credential was shown.
	extraCredentialID = "authentication.kubernetes.io/credential-id"
)

// review is the part of an AdmissionReview that is read. Decoding only that
// costs half of what decoding all of it does.
type review struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Request    *request `json:"request"`
}

type request struct {
	UID         string        `json:"uid"`
	Resource    groupResource `json:"resource"`
	SubResource string        `json:"subResource"`
	Name        string        `json:"name"`
	Namespace   string        `json:"namespace"`
	Operation   string        `json:"operation"`
	UserInfo    userInfo      `json:"userInfo"`
	Object      *object       `json:"object"`
	OldObject   *object       `json:"oldObject"`
}

type groupResource struct {
	Group    string `json:"group"`
	Version  string `json:"version"`
	Resource string `json:"resource"`
}

type userInfo struct {
	Username string              `json:"username"`
	UID      string              `json:"uid"`
	Groups   []string            `json:"groups"`
	Extra    map[string][]string `json:"extra"`
}

// object is what is read of the objects of all doors: the options of a CONNECT, or a pod.
type object struct {
	Kind string `json:"kind"`

	Container string   `json:"container"`
	Command   []string `json:"command"`
	Stdin     bool     `json:"stdin"`
	Stdout    bool     `json:"stdout"`
	Stderr    bool     `json:"stderr"`
	TTY       bool     `json:"tty"`
	Ports     []int32  `json:"ports"`
	Path      string   `json:"path"`

	Metadata struct {
		UID string `json:"uid"`
	} `json:"metadata"`
	Spec struct {
		EphemeralContainers []ephemeralContainer `json:"ephemeralContainers"`
	} `json:"spec"`
}

type ephemeralContainer struct {
	Name    string   `json:"name"`
	Image   string   `json:"image"`
	Command []string `json:"command"`
	Args    []string `json:"args"`
	Stdin   bool     `json:"stdin"`
	TTY     bool     `json:"tty"`
	Target  string   `json:"targetContainerName"`
}

// callError is a call that is no review to judge.
type callError struct {
	status int
	// reason is the label of the metrics.
	reason string
	err    error
}

func (e *callError) Error() string { return e.err.Error() }

func (e *callError) Unwrap() error { return e.err }

func bad(reason, format string, args ...any) *callError {
	return &callError{http.StatusBadRequest, reason, fmt.Errorf(format, args...)}
}

// decode reads a request from a review's body. The error is a *callError; values from the
// body are quoted and cut in its text.
func decode(body []byte) (*Request, error) {
	rev, ok := scanned(body)
	if !ok {
		rev = review{}
		if err := json.Unmarshal(body, &rev); err != nil {
			return nil, bad("json", "decode the review: %w", err)
		}
	}
	if rev.APIVersion != reviewVersion || rev.Kind != reviewKind {
		return nil, bad("version", "got %.64q, %.64q, want %s, %s", rev.APIVersion, rev.Kind, reviewVersion, reviewKind)
	}
	if rev.Request == nil {
		return nil, bad("request", "the review has no request")
	}
	return rev.Request.check()
}

// check turns away what is not one of our doors: a webhook configuration that sends
// other things is wrong, and nothing here could judge them.
func (r *request) check() (*Request, error) {
	res, sub := r.Resource, lookup(r.Resource.Resource, r.SubResource)
	switch {
	case r.UID == "" || len(r.UID) > maxUID:
		return nil, bad("request", "the request's uid has %d bytes, want 1 to %d", len(r.UID), maxUID)
	case res.Group != "" || res.Version != "v1" || sub.kind == "":
		return nil, bad("resource", "got %.64q %.64q %.64q/%.64q, want pods/exec, pods/attach, pods/portforward, "+
			"pods/ephemeralcontainers, or proxy of pods, services or nodes, of v1", res.Group, res.Version, res.Resource, r.SubResource)
	case r.Operation != string(sub.operation):
		return nil, bad("operation", "got the operation %.64q, want %s", r.Operation, sub.operation)
	case r.Name == "" || (r.Namespace == "") != (res.Resource == nodes):
		return nil, bad("request", "the request of %s names no %s", res.Resource, strings.TrimSuffix(res.Resource, "s"))
	case r.Object == nil:
		return nil, bad("object", "the request has no object, want %s", sub.kind)
	case r.Object.Kind != sub.kind:
		return nil, bad("object", "the object of %s is %.64q, want %s", r.SubResource, r.Object.Kind, sub.kind)
	}
	return r.request(), nil
}

// request is what a checked review asks for.
func (r *request) request() *Request {
	o := r.Object
	out := &Request{
		ID: r.UID, Session: SessionID(r.UID), Operation: r.Operation,
		Resource: r.Resource.Resource, Subresource: r.SubResource, Namespace: r.Namespace, Name: r.Name,
		User: r.UserInfo.Username, UserUID: r.UserInfo.UID, Groups: r.UserInfo.Groups, Extra: r.UserInfo.Extra,
		Credentials: r.UserInfo.Extra[extraCredentialID], CallerPod: event.CallerOf(&event.AuditUser{Extra: r.UserInfo.Extra}).UID,
		Container: o.Container, Command: o.Command, Path: o.Path, Ports: o.Ports,
		Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, TTY: o.TTY,
	}
	out.reach(o, r.OldObject)
	return out
}

// encode is the review that answers.
func encode(uid string, a *answer) ([]byte, error) {
	if body, ok := encodeUsual(uid, a); ok {
		return body, nil
	}
	resp := &admission.AdmissionResponse{
		UID: types.UID(uid), Allowed: a.verdict.Allowed, AuditAnnotations: a.annotations, Warnings: a.warnings,
	}
	if !a.verdict.Allowed {
		resp.Result = &metav1.Status{
			Status: metav1.StatusFailure, Code: a.code, Reason: a.reason, Message: a.verdict.Message,
		}
	}
	return json.Marshal(admission.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: reviewVersion, Kind: reviewKind},
		Response: resp,
	})
}

// encodeUsual is the answer to nearly all requests, which pass without further words, as json.Marshal would have it.
// json.Marshal, which sorts the annotations by reflection, was a fiftieth of what a verdict takes of a processor.
func encodeUsual(uid string, a *answer) (body []byte, ok bool) {
	session, decision := a.annotations[annotationSession], a.annotations[annotationDecision]
	if !a.verdict.Allowed || len(a.warnings) > 0 || len(a.annotations) != 2 || !isPlain(uid) || !isPlain(session) || !isPlain(decision) {
		return nil, false
	}
	body = make([]byte, 0, 256)
	for _, text := range [...]string{
		`{"kind":"` + reviewKind + `","apiVersion":"` + reviewVersion + `","response":{"uid":"`, uid,
		`","allowed":true,"auditAnnotations":{"` + annotationDecision + `":"`, decision, `","` + annotationSession + `":"`, session, `"}}}`,
	} {
		body = append(body, text...)
	}
	return body, true
}

// isPlain reports whether a text stands for itself in JSON.
func isPlain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= utf8.RuneSelf || strings.IndexByte(`"\<>&`, c) >= 0 {
			return false
		}
	}
	return true
}
