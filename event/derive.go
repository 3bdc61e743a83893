package event

import (
	"encoding/binary"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// The extras by which an authenticator says which pod a token is bound to.
const (
	ExtraPodUID   = "authentication.kubernetes.io/pod-uid"
	ExtraPodName  = "authentication.kubernetes.io/pod-name"
	ExtraNodeName = "authentication.kubernetes.io/node-name"
)

// RequestOf is Event.Request of an audit event: a hash of what all stages of
// one request have in common. The audit ID alone would let a client hide a
// request behind another one. The impersonated user is left out, because the
// API server learns it only after the RequestReceived stage; the request's own
// user, URI, agent, addresses and the microsecond of its arrival are there from
// the beginning.
func RequestOf(source string, received time.Time, a *Audit) string {
	var room [digestRoom]byte
	b := digestText(room[:0], source)
	b = digestText(b, a.AuditID)
	b = digestText(b, a.Verb)
	b = digestText(b, a.RequestURI)
	b = digestText(b, a.UserAgent)
	b = binary.AppendVarint(b, received.UnixNano())
	b = digestList(b, a.SourceIPs)
	b = digestText(b, a.User.Username)
	b = digestText(b, a.User.UID)
	b = digestList(b, a.User.Groups)
	var few [8]string // as many extras as authenticators have
	keys := few[:0]
	for key := range a.User.Extra {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		b = digestText(b, key)
		b = digestList(b, a.User.Extra[key])
	}
	return idOf(b)
}

// CallerOf is the pod that a user's credential is bound to, as the
// authenticator says. It must be asked of the user who made the request, never
// of one that was impersonated: Impersonate-Extra headers may claim any pod.
func CallerOf(user *AuditUser) Pod {
	pod := Pod{
		UID:  single(user.Extra[ExtraPodUID]),
		Name: single(user.Extra[ExtraPodName]),
		Node: single(user.Extra[ExtraNodeName]),
	}
	if rest, ok := strings.CutPrefix(user.Username, "system:serviceaccount:"); ok {
		pod.Namespace, _, _ = strings.Cut(rest, ":")
	}
	switch {
	case pod.UID != "":
		pod.Confidence = Exact
	case pod.Name == "" || pod.Namespace == "":
		return Pod{} // nothing to find a pod by
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

// TargetOf is the pod that a request reaches into, as far as the request names it.
func TargetOf(a *Audit) Pod {
	ref := &a.ObjectRef
	switch {
	case ref.APIGroup != "" || ref.Name == "":
		return Pod{}
	case ref.Resource == "nodes" && ref.Subresource == "proxy":
		return kubeletTarget(ref.Name, a.RequestURI)
	case ref.Resource != "pods":
		return Pod{}
	}
	pod := Pod{Namespace: ref.Namespace, Name: ref.Name}
	switch ref.Subresource {
	case "exec", "attach", "portforward", "ephemeralcontainers", "log":
	case "proxy":
		pod.Name = proxiedName(ref.Name)
	default:
		return Pod{}
	}
	// A client may send any UID in an object; that the request succeeded says
	// that it was the pod's own.
	if ref.UID != "" && a.Code >= 100 && a.Code < 300 {
		pod.UID, pod.Confidence = ref.UID, Exact
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
func kubeletTarget(node, requestURI string) Pod {
	u, err := url.ParseRequestURI(requestURI)
	if err != nil {
		return Pod{}
	}
	parts := strings.Split(u.Path, "/")
	if len(parts) < 7 || parts[3] != "nodes" || parts[5] != "proxy" {
		return Pod{}
	}
	// The API server cleans what comes after "proxy" for itself: dots there lead nowhere above it.
	parts = strings.Split(path.Clean("/"+strings.Join(parts[6:], "/")), "/")
	if len(parts) < 4 {
		return Pod{}
	}
	switch operation, namespace, pod := parts[1], parts[2], parts[3]; operation {
	case "run", "exec", "attach", "portForward", "containerLogs":
		return Pod{Namespace: namespace, Name: pod, Node: proxiedName(node)}
	}
	return Pod{}
}
