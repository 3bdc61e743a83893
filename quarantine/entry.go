package quarantine

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/event"
)

// Entry is one quarantine in force. It is immutable.
type Entry struct {
	// Name is that of the Quarantine object, which releases it when deleted. UID is the object's,
	// empty while there is none.
	Name    string
	UID     types.UID
	Subject v1alpha1.Subject
	// Operations are what is denied.
	Operations Operations
	Reason     string
	// Rule and Detection are empty for a quarantine that people made.
	Rule, Detection string
	// Expires is zero for never.
	Expires time.Time
	// Node is where the subject, a pod, runs; empty while nobody knows.
	Node string
}

// Active reports whether the entry has not expired.
func (e *Entry) Active(now time.Time) bool {
	return e.Expires.IsZero() || now.Before(e.Expires)
}

// Denies reports whether the entry stands against the operation.
func (e *Entry) Denies(door string, now time.Time) bool {
	return e.Operations.Has(door) && e.Active(now)
}

// Spec is the response that a rule asks for.
type Spec struct {
	// Subject says which side of the detection is meant.
	Subject v1alpha1.SubjectKind
	// Operations are what is denied; all if zero.
	Operations Operations
	// TTL is how long it lasts; zero for until it is released.
	TTL time.Duration
	// Since is when it began, for a detection that is dealt with again after a restart; zero for now.
	Since time.Time
	// Ambiguous: where it is not known which of several pods is meant, all of them are.
	Ambiguous bool
}

// Expires is when a quarantine that begins now, or has begun at Since, ends; zero for never.
func (s Spec) Expires(now time.Time) time.Time {
	if s.TTL <= 0 {
		return time.Time{}
	}
	if !s.Since.IsZero() {
		now = s.Since
	}
	// Kubernetes keeps whole seconds; rounding up never ends early.
	return now.Add(s.TTL + time.Second - 1).Truncate(time.Second).UTC()
}

// newEntry is what the detection puts in force for one subject.
func newEntry(d *event.Detection, subject v1alpha1.Subject, spec Spec, now time.Time) *Entry {
	return &Entry{
		Name:       ObjectName(subject),
		Subject:    subject,
		Operations: spec.Operations,
		Reason:     cut(firstOf(d.Rule.Title, d.Rule.Name, "a rule fired"), maxReason),
		Rule:       cut(d.Rule.Name, maxRule),
		Detection:  cut(d.ID, maxDetect),
		Expires:    spec.Expires(now),
		Node:       subject.NodeName,
	}
}

// managedBy marks the objects that the Manager made.
const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedByUs    = "portcullis"
)

// entryOf is the entry that an object means.
func entryOf(q *v1alpha1.Quarantine) *Entry {
	e := &Entry{
		Name: q.Name, UID: q.UID, Subject: q.Spec.Subject, Operations: OperationsOf(q.Spec.Operations...), Reason: q.Spec.Reason,
		Node: firstOf(q.Status.NodeName, q.Spec.Subject.NodeName),
	}
	if d := q.Spec.Detection; d != nil {
		e.Rule, e.Detection = d.Rule, d.ID
	}
	if q.Spec.ExpiresAt != nil {
		e.Expires = q.Spec.ExpiresAt.UTC()
	}
	return e
}

// object is the object that means the entry.
func (e *Entry) object() *v1alpha1.Quarantine {
	return &v1alpha1.Quarantine{
		ObjectMeta: metav1.ObjectMeta{Name: e.Name, Labels: map[string]string{managedByLabel: managedByUs}},
		Spec:       e.spec(),
	}
}

func (e *Entry) spec() v1alpha1.QuarantineSpec {
	s := v1alpha1.QuarantineSpec{Subject: e.Subject, Operations: e.Operations.List(), Reason: e.Reason}
	if e.Detection != "" {
		s.Detection = &v1alpha1.DetectionRef{ID: e.Detection, Rule: e.Rule}
	}
	if !e.Expires.IsZero() {
		t := metav1.NewTime(e.Expires)
		s.ExpiresAt = &t
	}
	return s
}

// merge is what is in force when next comes on top of e: what lasts longer, and what either denies. A
// quarantine that people made and that goes as far stays as they made it. Both are
// of the same subject: what denies one must never stand for what denies another.
func (e *Entry) merge(next *Entry) *Entry {
	if e.Detection == "" && lasts(e.Expires, next.Expires) && e.Operations.covers(next.Operations) {
		return e
	}
	out := *next
	// The object is the same, and its subject is as it was created.
	out.UID, out.Subject, out.Node = e.UID, e.Subject, firstOf(e.Node, next.Node)
	out.Operations = e.Operations.union(next.Operations)
	if lasts(e.Expires, next.Expires) {
		out.Expires = e.Expires
	}
	return &out
}

// lasts reports whether expiry a is not before b; zero is never.
func lasts(a, b time.Time) bool {
	return a.IsZero() || !b.IsZero() && !a.Before(b)
}

func firstOf(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}

// cut shortens s to at most limit bytes, whole characters.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "")
}
