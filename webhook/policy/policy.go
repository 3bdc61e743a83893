// Package policy knows the gate's second bolt: the ValidatingAdmissionPolicy that the chart
// installs, with which API servers refuse what Quarantines deny by themselves, also while no
// process of Portcullis runs.
//
// API servers ask it before any webhook, and its first denial is the last word: the webhook never
// hears of such a request. What it decided is in the request's audit event. The annotations
// [AnnotationQuarantine] and [AnnotationBreakGlass] say it to programs; the message of the response
// says it to the person who was refused, and [Parse] finds the quarantine in it.
//
// # What it can judge
//
// An expression of the policy sees what an AdmissionReview shows: names and the user, neither the UID of a
// pod that somebody execs into, nor a clock. So
//
//   - a pod is judged by its namespace and name: until Portcullis notices that the pod is gone and ends the
//     quarantine, it refuses a successor of that name as well. Ephemeral containers are judged by the UID;
//   - a quarantine whose time is over refuses until Portcullis, which ends it, is back. The message says so;
//   - requests into pods by way of a Service's proxy, or into the pods of a Node in quarantine, pass: what is
//     behind them cannot be seen. The webhook judges those;
//   - requests to the kubelet of a quarantined pod's node that execute something (exec, run, attach,
//     portForward, cri) are refused whatever pod they name, and so are paths with dots or of more than 1,024
//     bytes, of which it cannot be told. Before the node is known (spec.subject.nodeName, status.nodeName)
//     they pass;
//   - impersonation (kubectl --as) shows the impersonated user only.
//
// An expression that fails is ignored, and so it would be a way past the gate. The test of this package
// therefore tries the policy, as the chart renders it, with everything that a client can make long, on a real
// API server.
//
// # What it costs, and when it is not there yet
//
// API servers evaluate it once per Quarantine, at every request that it matches, so their number has a bound
// (gate.breaker.maxQuarantines); docs/performance.md has the measurements.
//
// A Quarantine acts as soon as API servers hear of it, the policy itself a second later. An API
// server that has just been started may say that it is ready before it knows what a Quarantine is: it asks its
// own discovery, and if that is incomplete, again after 30 seconds. Meanwhile it ignores the policy, and a
// request passes unless the webhook denies it; with the chart's gate.policy.failurePolicy set to Fail it
// refuses everybody. This happened in one to five of eight starts, the more the busier the machine.
package policy

import (
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Name is that of the policy and of its binding.
const Name = "portcullis-quarantine"

// The policy's annotations of audit events. With several quarantines the value has the names of all, joined
// by ", ".
const (
	// AnnotationQuarantine has the name of the Quarantine that denies the request.
	AnnotationQuarantine = Name + "/quarantine"
	// AnnotationBreakGlass has the group that let it pass all the same.
	AnnotationBreakGlass = Name + "/break-glass"
)

// What API servers write around the policy's message, and how that begins and ends.
const (
	refused = "is forbidden: ValidatingAdmissionPolicy '" + Name + "' with binding '" + Name + "' denied request: portcullis: "
	release = "; to release it: kubectl delete quarantine "
)

// Parse returns the name of the quarantine by which the policy refused a request, from the
// message of the API server's answer, which is also the responseStatus.message of the audit event. It is
// strict: nobody can make an API server write such a message about a request by the names in it.
func Parse(message string) (quarantine string, ok bool) {
	_, rest, ok := strings.Cut(message, " ") // pods, services or nodes
	if !ok {
		return "", false
	}
	// The object's name, quoted as Go does: what the client put into it cannot end it.
	if strings.HasPrefix(rest, `"`) {
		name, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return "", false
		}
		rest = strings.TrimPrefix(rest[len(name):], " ")
	}
	text, ok := strings.CutPrefix(rest, refused)
	if !ok || strings.ContainsAny(text, "\r\n") {
		return "", false
	}
	// The last one: a reason may hold the same words.
	at := strings.LastIndex(text, release)
	if at < 0 {
		return "", false
	}
	name := text[at+len(release):]
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return "", false
	}
	return name, true
}
