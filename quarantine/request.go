package quarantine

import (
	"time"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
)

// Request is what the Gate has to know of a request. Names and paths are normalised already.
type Request struct {
	// Session is the id of what the review asks for; empty for what came without one.
	Session string
	// Door is the operation, whatever way it comes: what is done through nodes/proxy
	// has the door of what the kubelet's path does.
	Door string
	// Resource is "pods", "services" or "nodes"; pods if empty.
	Resource string
	// Namespace, Pod and Service are what is reached into. With the resource nodes they are what the
	// kubelet's path names, if it does.
	Namespace, Pod, Service string
	// PodUID is set only where the request itself carries it. It is the client's claim.
	PodUID string
	// Node is set with the resource nodes only.
	Node      string
	Container string
	Command   []string

	User   string
	Groups []string
	// Credentials are the credential-ids of who asks.
	Credentials []string
	// CallerPod is the UID of the pod whose token asks.
	CallerPod string

	// At is when the API server had it; now if zero.
	At time.Time
}

// The resources of requests.
const (
	resourcePods     = "pods"
	resourceServices = "services"
	resourceNodes    = "nodes"
)

// runs reports whether the request runs or reaches something in a pod, rather than reading
// what the kubelet or a server tells of itself.
func (r *Request) runs() bool { return r.Door != string(v1alpha1.OperationProxy) }

// intoPod reports whether it names a pod that it reaches into. What the kubelet tells of a pod, such as
// its logs, reaches into nothing.
func (r *Request) intoPod() bool {
	return r.Pod != "" && (r.Resource == "" || r.Resource == resourcePods || r.Resource == resourceNodes && r.runs())
}

// Verdict is the Gate's answer.
type Verdict struct {
	Allowed bool
	// Exempt: nothing was judged, and nothing is to be told of the request.
	Exempt bool
	// Message is for the person; empty if nothing stands against the request.
	Message string
	// Entry is the quarantine that decided, nil if there was none.
	Entry *Entry
	// BreakGlass is the group that let a quarantined request pass, empty otherwise.
	BreakGlass string
	// Unverified: no pod of that name is known, the quarantine's name decided.
	Unverified bool
	// Repeat: the same person was refused the same a moment ago. kubectl asks a
	// second time, over another protocol, when it is refused.
	Repeat bool
	// Session is that of the first request of the action that this one repeats, else the
	// request's own.
	Session string
}

// Annotations are what the audit event should say of the verdict.
func (v Verdict) Annotations() map[string]string {
	if v.Entry == nil {
		return nil
	}
	out := map[string]string{"quarantine": v.Entry.Name}
	if v.Entry.Detection != "" {
		out["detection"], out["rule"] = v.Entry.Detection, v.Entry.Rule
	}
	if v.BreakGlass != "" {
		out["break-glass"] = v.BreakGlass
	}
	return out
}
