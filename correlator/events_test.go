package correlator

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// cart is the pod that most tests are about.
func cart() event.Pod {
	return event.Pod{UID: "d6cf43d9-2859-4e33-8fbe-bc4380d71ed6", Namespace: "shop", Name: "cart-0", Node: "node1",
		Labels: map[string]string{"app": "cart"}, Confidence: event.Exact}
}

// identify gives an event the IDs that a source would.
func identify(e *event.Event, parts ...any) *event.Event {
	sum := sha256.Sum256([]byte(fmt.Sprint(parts...)))
	e.ID = hex.EncodeToString(sum[:16])
	if e.Request == "" {
		e.Request = e.ID
	}
	if e.StageTime.IsZero() {
		e.StageTime = e.Time
	}
	return e
}

// execIn is a program started at a terminal in a pod, as an agent reports it.
func execIn(pod event.Pod, at time.Duration, args ...string) *event.Event {
	e := &event.Event{
		Kind: event.KindProcess, Source: "agent/node1", Time: noon.Add(at),
		Category: []string{"process"}, Type: []string{"start"}, Action: []string{"exec"},
		Dataset: "portcullis.process", Pod: pod,
		Container: &event.Container{ID: "c0ffee", Name: "main", Image: "registry.example.com/cart:1.2"},
		Process: &event.Process{
			PID: 4242, PPID: 4200, EntityID: "e-4242", Name: args[0], Executable: "/usr/bin/" + args[0], Args: args,
			Interactive: true, TTY: 34816,
			EntryLeader: &event.EntryLeader{PID: 4200, MetaType: "container", Interactive: true},
		},
	}
	return identify(e, "exec", pod.Key(), at, args)
}

// shellIn is the first process of an exec session.
func shellIn(pod event.Pod, at time.Duration, args ...string) *event.Event {
	e := execIn(pod, at, args...)
	e.Process.EntryLeader = &event.EntryLeader{PID: e.Process.PID, MetaType: "container", SameAsProcess: true, Interactive: true}
	return e
}

// opened is a file opened at a terminal in a pod.
func opened(pod event.Pod, at time.Duration, path string) *event.Event {
	e := execIn(pod, at, "cat", path)
	e.Kind, e.Category, e.Type, e.Action = event.KindFile, []string{"file"}, []string{"change"}, []string{"open"}
	e.File = &event.File{Path: path, ResolvedPath: "/run/secrets/kubernetes.io/serviceaccount/..2026_08_22/token"}
	return identify(e, "open", pod.Key(), at, path)
}

// withoutTerminal makes an event one of a process that no person sits at.
func withoutTerminal(e *event.Event) *event.Event {
	e.Process.Interactive, e.Process.TTY, e.Process.EntryLeader.Interactive = false, 0, false
	return e
}

// called is an API request made with a pod's token, answered.
func called(pod event.Pod, at time.Duration, verb, resource string) *event.Event {
	e := &event.Event{
		Kind: event.KindAudit, Source: "audit/kube-apiserver-1", Time: noon.Add(at), StageTime: noon.Add(at + 20*time.Millisecond),
		Dataset: "kubernetes.audit_logs",
		Audit: &event.Audit{
			AuditID: "3b030d4d", Stage: "ResponseComplete", Level: "Metadata", Verb: verb,
			RequestURI: "/api/v1/namespaces/shop/" + resource, SourceIPs: []string{"10.0.0.7"}, UserAgent: "curl/8",
			User: event.AuditUser{Username: "system:serviceaccount:" + pod.Namespace + ":default", Extra: map[string][]string{
				"authentication.kubernetes.io/pod-name": {pod.Name}, "authentication.kubernetes.io/pod-uid": {pod.UID},
			}},
			ObjectRef:   event.ObjectRef{APIVersion: "v1", Resource: resource, Namespace: "shop"},
			Code:        200,
			Annotations: map[string]string{"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "RBAC"},
			Caller:      pod,
		},
	}
	return identify(e, "call", pod.Key(), at, verb, resource)
}

// refused makes a request one that the authorizer forbade.
func refused(e *event.Event) *event.Event {
	e.Audit.Code, e.Audit.Reason = 403, "Forbidden"
	e.Audit.Annotations["authorization.k8s.io/decision"] = "forbid"
	return e
}

// execRequest is a user's exec into a pod, at a stage of it.
func execRequest(pod event.Pod, at time.Duration, verb, stage, query string) *event.Event {
	e := called(event.Pod{}, at, verb, "pods")
	e.Request = fmt.Sprintf("request-%s-%s-%d", pod.Key(), verb, at)
	e.Audit.Stage, e.Audit.Code = stage, 101
	e.Audit.User = event.AuditUser{Username: "alice@example.com", Groups: []string{"devs"}}
	e.Audit.ObjectRef = event.ObjectRef{APIVersion: "v1", Resource: "pods", Subresource: "exec", Namespace: pod.Namespace, Name: pod.Name}
	e.Audit.RequestURI = "/api/v1/namespaces/" + pod.Namespace + "/pods/" + pod.Name + "/exec?" + query
	e.Audit.Caller, e.Audit.Target = event.Pod{}, pod
	if stage == "ResponseComplete" {
		e.StageTime = e.Time.Add(8 * time.Hour)
	}
	return identify(e, "exec request", pod.Key(), at, verb, stage, query)
}

// shuffled returns all orders of a few events.
func shuffled(events []*event.Event) [][]*event.Event {
	if len(events) <= 1 {
		return [][]*event.Event{events}
	}
	var orders [][]*event.Event
	for i := range events {
		rest := slices.Delete(slices.Clone(events), i, i+1)
		for _, order := range shuffled(rest) {
			orders = append(orders, append([]*event.Event{events[i]}, order...))
		}
	}
	return orders
}
