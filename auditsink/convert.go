package auditsink

import (
	"encoding/json"
	"net/url"
	"path"
	"strings"

	"github.com/portcullis-dev/portcullis/event"
)

// Dataset is event.dataset of audit events, as Elastic's integration calls it:
// rules name it.
const Dataset = "kubernetes.audit_logs"

// The extras by which an authenticator says which pod a token is bound to.
const (
	extraPodUID   = "authentication.kubernetes.io/pod-uid"
	extraPodName  = "authentication.kubernetes.io/pod-name"
	extraNodeName = "authentication.kubernetes.io/node-name"
)

func convert(w *wireEvent, raw []byte, from Delivery) *event.Event {
	source := "audit/" + from.APIServer
	return &event.Event{
		ID:        eventID(source, raw),
		Request:   requestID(source, w),
		Kind:      event.KindAudit,
		Source:    source,
		Time:      w.RequestReceivedTimestamp.Time,
		StageTime: w.StageTimestamp.Time,
		Received:  from.Received,
		Dataset:   Dataset,
		Audit: &event.Audit{
			AuditID:          w.AuditID,
			Stage:            w.Stage,
			Level:            w.Level,
			Verb:             w.Verb,
			RequestURI:       w.RequestURI,
			UserAgent:        w.UserAgent,
			SourceIPs:        w.SourceIPs,
			User:             w.User.convert(),
			ImpersonatedUser: w.ImpersonatedUser.convertOptional(),
			ObjectRef: event.ObjectRef{
				APIGroup: w.ObjectRef.APIGroup, APIVersion: w.ObjectRef.APIVersion,
				Resource: w.ObjectRef.Resource, Subresource: w.ObjectRef.Subresource,
				Namespace: w.ObjectRef.Namespace, Name: w.ObjectRef.Name, UID: w.ObjectRef.UID,
			},
			Code:           w.ResponseStatus.Code,
			Reason:         w.ResponseStatus.Reason,
			Message:        w.ResponseStatus.Message,
			Annotations:    w.Annotations,
			RequestObject:  notNull(w.RequestObject),
			ResponseObject: notNull(w.ResponseObject),
			Caller:         caller(&w.User),
			Target:         target(w),
		},
	}
}

func (u *wireUser) convert() event.AuditUser {
	return event.AuditUser{Username: u.Username, UID: u.UID, Groups: u.Groups, Extra: u.Extra}
}

func (u *wireUser) convertOptional() *event.AuditUser {
	if u == nil {
		return nil
	}
	out := u.convert()
	return &out
}

func notNull(object json.RawMessage) json.RawMessage {
	if string(object) == "null" {
		return nil
	}
	return object
}

// caller is the pod that the credential is bound to. It is asked of the user who
// made the request, never of one that was impersonated: Impersonate-Extra
// headers may claim any pod.
func caller(user *wireUser) event.Pod {
	pod := event.Pod{
		UID:  single(user.Extra[extraPodUID]),
		Name: single(user.Extra[extraPodName]),
		Node: single(user.Extra[extraNodeName]),
	}
	if rest, ok := strings.CutPrefix(user.Username, "system:serviceaccount:"); ok {
		pod.Namespace, _, _ = strings.Cut(rest, ":")
	}
	switch {
	case pod.UID != "":
		pod.Confidence = event.Exact
	case pod.Name == "" || pod.Namespace == "":
		return event.Pod{} // nothing to find a pod by
	}
	return pod
}

// single is the value of an extra that has one; authenticators never write
// several into those asked for here.
func single(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}

// target is the pod that a request reaches into.
func target(w *wireEvent) event.Pod {
	ref := &w.ObjectRef
	switch {
	case ref.APIGroup != "" || ref.Name == "":
		return event.Pod{}
	case ref.Resource == "nodes" && ref.Subresource == "proxy":
		return kubeletTarget(ref.Name, w.RequestURI)
	case ref.Resource != "pods":
		return event.Pod{}
	}
	pod := event.Pod{Namespace: ref.Namespace, Name: ref.Name}
	switch ref.Subresource {
	case "exec", "attach", "portforward", "ephemeralcontainers", "log":
	case "proxy":
		pod.Name = proxiedName(ref.Name)
	default:
		return event.Pod{}
	}
	// A client may send any UID in an object; that the request succeeded says
	// that it was the pod's own.
	if code := w.ResponseStatus.Code; ref.UID != "" && code >= 100 && code < 300 {
		pod.UID, pod.Confidence = ref.UID, event.Exact
	}
	return pod
}

// proxiedName is the object's name in the forms that proxy requests take:
// name, name:port and scheme:name:port.
func proxiedName(name string) string {
	switch parts := strings.Split(name, ":"); len(parts) {
	case 2:
		return parts[0]
	case 3:
		return parts[1]
	default:
		return name
	}
}

// kubeletTarget is the pod that a request through nodes/proxy reaches into, by
// the kubelet's own paths:
//
//	/api/v1/nodes/<node>/proxy/<operation>/<namespace>/<pod>[/<uid>]/<container>
//
// The UID in such a path is the client's claim, and is left to the resolver.
func kubeletTarget(node, requestURI string) event.Pod {
	u, err := url.ParseRequestURI(requestURI)
	if err != nil {
		return event.Pod{}
	}
	parts := strings.Split(path.Clean(u.Path), "/")
	if len(parts) < 9 || parts[3] != "nodes" || parts[5] != "proxy" {
		return event.Pod{}
	}
	switch operation, namespace, pod := parts[6], parts[7], parts[8]; operation {
	case "run", "exec", "attach", "portForward", "containerLogs":
		return event.Pod{Namespace: namespace, Name: pod, Node: proxiedName(node)}
	}
	return event.Pod{}
}
