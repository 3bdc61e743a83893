package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"

	admission "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	reviewVersion = "admission.k8s.io/v1"
	reviewKind    = "AdmissionReview"
	// maxUID is well above the 36 characters of a UUID.
	maxUID = 128
)

// review is the part of an AdmissionReview that is read. Decoding only that
// costs half of what decoding all of it does.
type review struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Request    *request `json:"request"`
}

type request struct {
	UID         string         `json:"uid"`
	Resource    groupResource  `json:"resource"`
	SubResource string         `json:"subResource"`
	Name        string         `json:"name"`
	Namespace   string         `json:"namespace"`
	Operation   string         `json:"operation"`
	UserInfo    userInfo       `json:"userInfo"`
	Object      *streamOptions `json:"object"`
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

// streamOptions is what PodExecOptions, PodAttachOptions and
// PodPortForwardOptions have in common, and what only some of them have.
type streamOptions struct {
	Kind      string   `json:"kind"`
	Container string   `json:"container"`
	Command   []string `json:"command"`
	Stdin     bool     `json:"stdin"`
	TTY       bool     `json:"tty"`
}

// optionsKind is the kind of the object at each door.
func optionsKind(door string) string {
	switch door {
	case "exec":
		return "PodExecOptions"
	case "attach":
		return "PodAttachOptions"
	case "portforward":
		return "PodPortForwardOptions"
	default:
		return ""
	}
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
func decode(body []byte) (Request, error) {
	var rev review
	if err := json.Unmarshal(body, &rev); err != nil {
		return Request{}, bad("json", "decode the review: %w", err)
	}
	if rev.APIVersion != reviewVersion || rev.Kind != reviewKind {
		return Request{}, bad("version", "got %.64q, %.64q, want %s, %s", rev.APIVersion, rev.Kind, reviewVersion, reviewKind)
	}
	if rev.Request == nil {
		return Request{}, bad("request", "the review has no request")
	}
	return rev.Request.check()
}

// check turns away what is not one of our doors: a webhook configuration that sends
// other things is wrong, and nothing here could judge them.
func (r *request) check() (Request, error) {
	res, kind := r.Resource, optionsKind(r.SubResource)
	switch {
	case r.UID == "" || len(r.UID) > maxUID:
		return Request{}, bad("request", "the request's uid has %d bytes, want 1 to %d", len(r.UID), maxUID)
	case res.Group != "" || res.Version != "v1" || res.Resource != "pods" || kind == "":
		return Request{}, bad("resource", "got %.64q %.64q %.64q/%.64q, want pods/exec, pods/attach or pods/portforward of v1",
			res.Group, res.Version, res.Resource, r.SubResource)
	case r.Operation != string(admission.Connect):
		return Request{}, bad("operation", "got the operation %.64q, want %s", r.Operation, admission.Connect)
	case r.Namespace == "" || r.Name == "":
		return Request{}, bad("request", "the request names no pod")
	case r.Object == nil:
		return Request{}, bad("object", "the request has no object, want %s", kind)
	case r.Object.Kind != kind:
		return Request{}, bad("object", "the object of %s is %.64q, want %s", r.SubResource, r.Object.Kind, kind)
	}
	return Request{
		ID: r.UID, Session: SessionID(r.UID),
		Door: r.SubResource, Namespace: r.Namespace, Pod: r.Name, Operation: r.Operation,
		User: r.UserInfo.Username, UserUID: r.UserInfo.UID, Groups: r.UserInfo.Groups, Extra: r.UserInfo.Extra,
		Container: r.Object.Container, Command: r.Object.Command, Stdin: r.Object.Stdin, TTY: r.Object.TTY,
	}, nil
}

// encode is the review that answers.
func encode(uid string, a answer) ([]byte, error) {
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
