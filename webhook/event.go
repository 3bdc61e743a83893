package webhook

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// eventSource is Event.Source of the events that reviews make.
const eventSource = "admission"

// The stages of an audit event that a review can become.
const (
	stageStarted  = "ResponseStarted"
	stageComplete = "ResponseComplete"
)

// Event is the request as the API server's audit event of it would be, had the API server
// written it already: rules read the same fields in both. Verb and stage, which a review does not tell,
// are those that are most usual; see Variants.
//
// A review does not know, and the event leaves out: the API server's name, the audit ID and level, the source addresses, the user
// agent, the response, the objects of the request and the response, the annotations but for that of the authorization's decision, and
// the query of a proxied request (what a kubelet is to run, that is). The parameters of an exec come in the order in which
// client-go writes them; those that are false are left out, whether the client wrote them or
// not. Of a request that impersonates, user is whom it impersonates: the extras, and Caller with them, are then the client's claim.
//
// The event shares the user's groups and extras with the request, and all variants their annotations: nothing in them may be changed.
func (r *Request) Event(now time.Time) *event.Event {
	return r.event(r.audit(), now, r.verbs()[0], r.stages()[0])
}

// Variants are all audit events that the request can become, the one that Event returns first: a
// session is a get over a websocket and a create over SPDY, a proxied request has any
// method, and all but ephemeral containers have two stages.
func (r *Request) Variants(now time.Time) []*event.Event {
	verbs, stages, a := r.verbs(), r.stages(), r.audit()
	out := make([]*event.Event, 0, len(verbs)*len(stages))
	for _, verb := range verbs {
		for _, stage := range stages {
			out = append(out, r.event(a, now, verb, stage))
		}
	}
	return out
}

func (r *Request) verbs() []string {
	switch r.Subresource {
	case DoorEphemeralContainers:
		return []string{"patch", "update"}
	case DoorProxy:
		return []string{"get", "create", "update", "patch", "delete", ""} // OPTIONS has no verb
	default:
		return []string{"get", "create"}
	}
}

func (r *Request) stages() []string {
	if r.Subresource == DoorEphemeralContainers {
		return []string{stageComplete}
	}
	return []string{stageStarted, stageComplete}
}

// audit is what all variants have in common.
func (r *Request) audit() event.Audit {
	a := event.Audit{
		RequestURI: r.requestURI(),
		User:       event.AuditUser{Username: r.User, UID: r.UserUID, Groups: r.Groups, Extra: r.Extra},
		ObjectRef: event.ObjectRef{
			APIVersion: "v1", Resource: r.Resource, Subresource: r.Subresource, Name: r.Name,
		},
		// Admission comes after authorization.
		Annotations: map[string]string{"authorization.k8s.io/decision": "allow"},
	}
	if r.Resource != nodes {
		a.ObjectRef.Namespace = r.Namespace
	}
	a.Caller, a.Target = event.CallerOf(&a.User), event.TargetOf(&a)
	if r.PodUID != "" {
		a.Target.UID, a.Target.Confidence = r.PodUID, event.Exact
	}
	return a
}

func (r *Request) event(a event.Audit, now time.Time, verb, stage string) *event.Event {
	a.Verb, a.Stage = verb, stage
	e := &event.Event{
		ID: r.digest(verb, stage), Request: r.digest(verb, ""),
		Kind: event.KindAudit, Source: eventSource, Dataset: event.DatasetAudit,
		Time: now, StageTime: now, Received: now,
		Audit: &a,
	}
	if verb != "" {
		e.Action = []string{verb}
	}
	return e
}

// digest is a hash of the review and of what makes this variant of it.
func (r *Request) digest(verb, stage string) string {
	var d event.Digest
	d.List([]string{eventSource, r.ID, verb, stage})
	return d.ID()
}

// requestURI is the request's path and query, as clients that use client-go write them.
func (r *Request) requestURI() string {
	var b strings.Builder
	b.WriteString("/api/v1/")
	if r.Resource != nodes {
		b.WriteString("namespaces/" + r.Namespace + "/")
	}
	b.WriteString(r.Resource + "/" + r.Name + "/" + r.Subresource)
	if r.Subresource == DoorProxy {
		b.WriteString(r.Path)
	}
	uri := url.URL{Path: b.String(), RawQuery: r.query().Encode()}
	return uri.RequestURI()
}

// query is what the options of a stream are written as.
func (r *Request) query() url.Values {
	values := make(url.Values)
	switch r.Subresource {
	case DoorExec:
		if len(r.Command) > 0 {
			values["command"] = r.Command
		}
	case DoorAttach:
	case DoorPortForward:
		for _, port := range r.Ports {
			values.Add("ports", strconv.Itoa(int(port)))
		}
		return values
	default:
		return nil
	}
	if r.Container != "" {
		values.Set("container", r.Container)
	}
	for name, set := range map[string]bool{"stdin": r.Stdin, "stdout": r.Stdout, "stderr": r.Stderr, "tty": r.TTY} {
		if set {
			values.Set(name, "true")
		}
	}
	return values
}
