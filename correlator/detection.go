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

// newDetection concludes a detection from a chain of events, in the rule's order. What is done about one that is known
// was decided when it was concluded first, here or in an earlier process.
func (j *join) newDetection(r *rule.Rule, id string, events []*event.Event, now time.Time, known bool) *event.Detection {
	d, unfit := conclude(r, id, events, now, j.options.Session)
	switch asked := r.Response; {
	case asked == nil, known:
	case unfit.open:
		d.Action, d.Why = event.ActionAwaitUser, unfit.why
	case asked.Quarantine != nil:
		decide(d, unfit.why, j.options.enforce(), r, event.ActionQuarantine, event.ActionWouldQuarantine)
	case asked.KillSession:
		decide(d, "", j.options.enforce(), r, event.ActionKillSession, event.ActionWouldKillSession)
	case j.options.retold:
		decide(d, "", j.options.enforce(), r, event.ActionDeny, event.ActionWouldDeny)
	default:
		d.Why = "the request had passed admission when it was seen: it can be refused there only"
	}
	return d
}

// conclude is a detection before it is decided what to do, and what makes it unfit for the
// quarantine that its rule asks for, if it does.
func conclude(r *rule.Rule, id string, events []*event.Event, now time.Time, session func(string) *event.Session) (d *event.Detection, unfit doubt) {
	pod, podDoubt := podOf(events)
	user, userDoubt := personOf(events, session)
	d = &event.Detection{
		ID: id, Rule: describe(r), Time: events[len(events)-1].Time, At: now,
		Events: events, Pod: pod, User: user, Sessions: sessionsOf(events, session), Action: event.ActionNone,
	}
	if r.Response != nil && r.Response.Quarantine != nil {
		unfit = doubtOf(r.Response.Quarantine, d, podDoubt, userDoubt)
	}
	return d, unfit
}

// decide says what is done about a detection, and why, where that is less than its rule asks for.
func decide(d *event.Detection, unfit string, enforce Enforce, r *rule.Rule, action, would event.Action) {
	if unfit != "" {
		d.Why = unfit
		return
	}
	enforced, why := enforce(r, d)
	d.Action, d.Why = would, why
	if enforced {
		d.Action = action
	}
}

// doubtOf is what makes a detection unfit for the quarantine that its rule asks
// for, empty if nothing does.
func doubtOf(asked *rule.Quarantine, d *event.Detection, podDoubt, userDoubt doubt) doubt {
	switch {
	case asked.Subject == rule.SubjectUser:
		return userDoubt
	case asked.Subject == rule.SubjectServiceAccount, asked.Subject == rule.SubjectCredential:
		return requesterOf(d)
	case podDoubt.ambiguous && asked.Ambiguous && len(d.Pod.Candidates) > maxIdentities:
		return doubt{why: fmt.Sprintf("the pod may be any of %d, which are too many to deny them all", len(d.Pod.Candidates))}
	case podDoubt.ambiguous && asked.Ambiguous:
		return doubt{}
	default:
		return doubt{why: podDoubt.why}
	}
}

// requesterOf says what is unfit about whoever made a detection's requests.
func requesterOf(d *event.Detection) doubt {
	if _, err := d.Requester(); err != nil {
		return doubt{why: err.Error()}
	}
	return doubt{}
}

// doubt is what makes a subject unfit for a quarantine; nothing, if why is empty.
type doubt struct {
	why string
	// ambiguous: it is only that the pod may be any of its candidates.
	ambiguous bool
	// open: it is only not known yet who asked for a session.
	open bool
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

// podOf is the pod that a chain is about, and what makes it unfit for a quarantine.
func podOf(events []*event.Event) (event.Pod, doubt) {
	pods := podsOf(events)
	if len(pods) == 0 {
		return event.Pod{}, doubt{why: "no event of it names a pod"}
	}
	pod := slices.MaxFunc(pods, func(a, b event.Pod) int { return cmp.Compare(a.Confidence, b.Confidence) })
	var candidates []string
	for _, p := range pods {
		switch {
		case p.Confidence == event.Ambiguous && (p.Key() == pod.Key() || slices.Contains(p.Candidates, pod.UID)):
			candidates = append(candidates, p.Candidates...)
		case p.Key() != pod.Key():
			return pod, doubt{why: fmt.Sprintf("its events are about different pods, %s and %s", pods[0], other(pods))}
		}
	}
	for _, e := range events { // The request that joined with it may be another pod's.
		if e.Audit != nil && e.Audit.Caller.Confidence == event.Ambiguous && slices.Contains(e.Audit.Caller.Candidates, pod.UID) {
			candidates = append(candidates, e.Audit.Caller.Candidates...)
		}
	}
	if len(candidates) > 0 {
		slices.Sort(candidates)
		pod.Confidence, pod.Candidates = event.Ambiguous, slices.Compact(candidates)
	}
	return pod, judged(pod)
}

// podsOf are the pods that the telemetry of a chain happened in, or without any
// those that its requests were about.
func podsOf(events []*event.Event) []event.Pod {
	var pods []event.Pod
	for _, e := range events {
		if !e.Pod.IsZero() {
			pods = append(pods, e.Pod)
		}
	}
	if len(pods) > 0 {
		return pods
	}
	for _, e := range events {
		if p := e.SubjectPod(); !p.IsZero() {
			pods = append(pods, p)
		}
	}
	return pods
}

// other is the first of some pods that is not like the first of them.
func other(pods []event.Pod) event.Pod {
	i := slices.IndexFunc(pods, func(p event.Pod) bool { return p.Key() != pods[0].Key() })
	return pods[max(i, 0)]
}

// judged says what makes a pod unfit for a quarantine.
func judged(pod event.Pod) doubt {
	switch {
	case pod.Confidence == event.Ambiguous:
		return doubt{why: "the pod's identity is ambiguous, it may be any of " + strings.Join(pod.Candidates, ", "), ambiguous: true}
	case pod.UID == "":
		return doubt{why: "the pod's UID is not known"}
	case pod.Confidence < event.ByName:
		return doubt{why: "it is not known how the pod's UID was found"}
	default:
		return doubt{}
	}
}

// Person is the human behind a detection whose Action is event.ActionAwaitUser, by what is known of its sessions now, or why there is none;
// open says that there may be one later.
func Person(d *event.Detection, session func(id string) *event.Session) (user, why string, open bool) {
	user, unfit := personOf(d.Events, session)
	return user, unfit.why, unfit.open
}

// personOf is the human behind a chain: who asked for the session in which it happened, where it happened in one, or else who
// made its requests. It says what makes that unfit for a quarantine.
func personOf(events []*event.Event, session func(string) *event.Session) (user string, unfit doubt) {
	user, err := (&event.Detection{Events: events}).Requester()
	if err != nil {
		unfit.why = err.Error()
	}
	asked, open := "", doubt{}
	telemetry := slices.DeleteFunc(slices.Clone(events), func(e *event.Event) bool { return e.Audit != nil })
	for _, s := range sessionsOf(telemetry, session) {
		switch {
		case s.Attribution != event.AttributionExact:
			open = doubt{why: "it is not certain yet who asked for session " + s.ID + ": " + candidates(s), open: true}
		case asked == "":
			asked, user, unfit = s.User, s.User, doubt{}
		case s.User != asked:
			return user, doubt{why: fmt.Sprintf("it happened in sessions of different users, %q and %q", asked, s.User)}
		}
	}
	if open.open {
		return user, open
	}
	return user, unfit
}

func candidates(s *event.Session) string {
	if len(s.Candidates) == 0 {
		return "nobody is known to have"
	}
	return "it may be any of " + strings.Join(s.Candidates, ", ")
}

// sessionsOf are the sessions that a chain happened in, or asked for, as they are known now.
func sessionsOf(events []*event.Event, session func(string) *event.Session) []*event.Session {
	var all []*event.Session
	for _, e := range events {
		if e.Session == nil {
			continue
		}
		s := cmp.Or(session(e.Session.ID), e.Session)
		if !slices.ContainsFunc(all, func(other *event.Session) bool { return other.ID == s.ID }) {
			all = append(all, s)
		}
	}
	return all
}
