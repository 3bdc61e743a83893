package correlator

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule"
)

// detectionID names what was concluded: rule, join key and completing request.
// Lengths are part of what is hashed, so no two triples look alike.
func detectionID(ruleName, key, request string) string {
	h := sha256.New()
	for _, part := range []string{ruleName, key, request} {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// requestOf is what makes the stages of one request one.
func requestOf(e *event.Event) string { return cmp.Or(e.Request, e.ID) }

// newDetection concludes a detection from a chain of events, in the rule's order.
func newDetection(r *rule.Rule, mode rule.Mode, id string, events []*event.Event, now time.Time) *event.Detection {
	pod, podDoubt := podOf(events)
	user, userDoubt := userOf(events)
	d := &event.Detection{
		ID: id, Rule: describe(r), Time: events[len(events)-1].Time, At: now,
		Events: events, Pod: pod, User: user, Action: event.ActionNone,
	}
	if r.Response == nil || r.Response.Quarantine == nil {
		return d
	}
	doubt := podDoubt
	if r.Response.Quarantine.Subject == rule.SubjectUser {
		doubt = userDoubt
	}
	switch {
	case doubt != "":
		d.Why = doubt
	case mode == rule.Enforce:
		d.Action = event.ActionQuarantine
	default:
		d.Action = event.ActionWouldQuarantine
	}
	return d
}

func describe(r *rule.Rule) event.DetectionRule {
	d := event.DetectionRule{
		Name: r.Name, Title: r.Title, Description: r.Description,
		Severity: string(r.Severity), RiskScore: r.RiskScore, Tags: r.Tags,
	}
	for _, t := range r.Threats {
		d.Threats = append(d.Threats, event.Threat(t))
	}
	return d
}

// podOf is the pod that a chain is about, and what makes it unfit for a
// quarantine, empty if nothing does.
func podOf(events []*event.Event) (pod event.Pod, doubt string) {
	var pods []event.Pod
	for _, e := range events {
		if !e.Pod.IsZero() {
			pods = append(pods, e.Pod)
		}
	}
	if len(pods) == 0 { // No telemetry: what the requests were about.
		for _, e := range events {
			if p := e.SubjectPod(); !p.IsZero() {
				pods = append(pods, p)
			}
		}
	}
	if len(pods) == 0 {
		return event.Pod{}, "no event of it names a pod"
	}
	pod = pods[0]
	for _, p := range pods[1:] {
		if p.Key() != pod.Key() {
			return pod, fmt.Sprintf("its events are about different pods, %s and %s", pod, p)
		}
		if p.Confidence > pod.Confidence {
			pod = p
		}
	}
	return judged(pod, events)
}

// judged lowers a pod's confidence to that of the request that joined with it,
// and says what makes it unfit.
func judged(pod event.Pod, events []*event.Event) (event.Pod, string) {
	for _, e := range events {
		if e.Audit == nil || e.Audit.Caller.Confidence != event.Ambiguous {
			continue
		}
		if slices.Contains(e.Audit.Caller.Candidates, pod.UID) {
			pod.Confidence, pod.Candidates = event.Ambiguous, e.Audit.Caller.Candidates
		}
	}
	switch {
	case pod.Confidence == event.Ambiguous:
		return pod, "the pod's identity is ambiguous, it may be any of " + strings.Join(pod.Candidates, ", ")
	case pod.UID == "":
		return pod, "the pod's UID is not known"
	case pod.Confidence < event.ByName:
		return pod, "it is not known how the pod's UID was found"
	default:
		return pod, ""
	}
}

// userOf is the user who made a chain's requests, and what makes that unfit for
// a quarantine.
func userOf(events []*event.Event) (user, doubt string) {
	for _, e := range events {
		if e.Audit == nil || e.Audit.User.Username == "" {
			continue
		}
		switch name := e.Audit.User.Username; {
		case user == "":
			user = name
		case user != name:
			return user, fmt.Sprintf("its requests are of different users, %q and %q", user, name)
		}
	}
	if user == "" {
		return "", "no event of it names a user"
	}
	return user, ""
}
