// Package policy knows the gate's second bolt: the ValidatingAdmissionPolicy that the chart
// installs, with which API servers refuse what Quarantines deny by themselves, also while no
// process of Portcullis runs.
//
// There are two of it that say the same. One goes by the Quarantines themselves: it acts at once, and on those that are
// made while Portcullis is down. The other goes by their mirrors, LimitRanges that Portcullis writes: an API server knows
// what a LimitRange is from its first moment. Either denies alone.
//
// API servers ask them before any webhook, and the first denial is the last word: the webhook never
// hears of such a request. What they decided is in the request's audit event. Its annotations say it to programs
// ([Decided]); the message of the response says it to the person who was refused, and [Parse] finds the
// quarantine in it.
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
// # What they cost, and when they are not there yet
//
// API servers evaluate both once per Quarantine, at every request that they match, so their number has a bound
// (gate.breaker.maxQuarantines); docs/performance.md has the measurements.
//
// A Quarantine acts as soon as API servers hear of it, the policy itself a second later. An API
// server that has just been started may say that it is ready before it knows what a Quarantine is: it asks its
// own discovery, and if that is incomplete, again after 30 seconds. Meanwhile it ignores the policy of Quarantines,
// and that of the mirrors stands alone. What has no mirror passes then, unless the webhook denies it: a quarantine that was made while
// Portcullis was down. The busier the machine is when it starts, the likelier this is. With the chart's
// gate.policy.failurePolicy set to Fail it refuses everybody instead.
//
// # Releases
//
// Deleting the Quarantine releases. Portcullis deletes the mirror at once; while it is down Kubernetes' garbage
// collection does, a moment later, as the Quarantine owns it. So
//
//   - kubectl delete --cascade=orphan keeps the mirror until Portcullis is back, which deletes what belongs to
//     no Quarantine. Until then the way out is to delete the LimitRanges with the label portcullis.dev/quarantine=true;
//   - what is changed in a Quarantine while Portcullis is down, its mirror does not say before Portcullis is back. Until
//     then what either denies is denied.
package policy

import (
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// The policies' names, which are also those of their bindings.
const (
	// Name is that of the policy that goes by Quarantines.
	Name = "portcullis-quarantine"
	// MirrorName is that of the policy that goes by their mirrors.
	MirrorName = Name + "-mirror"
)

// The annotations of audit events, behind the policy's name. With several quarantines the value has the names of all,
// joined by ", ".
const (
	// annotationQuarantine has the name of the Quarantine that denies the request.
	annotationQuarantine = "/quarantine"
	// annotationBreakGlass has the group that let it pass all the same.
	annotationBreakGlass = "/break-glass"
)

// Decided is what either policy decided of a request, from the annotations of its audit event: the name of the
// quarantine that denies it, the first of several, and the group that let it pass all the same. Both decide the same as a rule, and
// it is one decision. Empty is none.
func Decided(annotations map[string]string) (quarantine, breakGlass string) {
	for _, policy := range []string{Name, MirrorName} {
		names, group := annotations[policy+annotationQuarantine], annotations[policy+annotationBreakGlass]
		if first, _, _ := strings.Cut(names, ","); quarantine == "" {
			quarantine = strings.TrimSpace(first)
		}
		if breakGlass == "" {
			breakGlass = group
		}
	}
	return quarantine, breakGlass
}

// What API servers write around the policy's message, and how that begins and ends.
const (
	refused = "is forbidden: ValidatingAdmissionPolicy '%[1]s' with binding '%[1]s' denied request: portcullis: "
	release = "; to release it: kubectl delete quarantine "
)

// Parse returns the name of the quarantine by which either policy refused a request, from the
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
	text, ok := strings.CutPrefix(rest, fmt.Sprintf(refused, Name))
	if !ok {
		text, ok = strings.CutPrefix(rest, fmt.Sprintf(refused, MirrorName))
	}
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
