package quarantine

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/event"
)

// Entry is one quarantine in force. It is immutable.
type Entry struct {
	// Name is that of the Quarantine object, which releases it when deleted.
	Name    string
	Subject v1alpha1.Subject
	Reason  string
	// Rule and Detection are empty for a quarantine that people made.
	Rule, Detection string
	// Expires is zero for never.
	Expires time.Time
}

// Active reports whether the entry has not expired.
func (e *Entry) Active(now time.Time) bool {
	return e.Expires.IsZero() || now.Before(e.Expires)
}

// Spec is the response that a rule asks for.
type Spec struct {
	// Subject says which side of the detection is meant.
	Subject v1alpha1.SubjectKind
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

// ErrSubject says that a detection does not identify the subject well enough to
// act on it.
var ErrSubject = errors.New("the detection does not identify the subject")

// The limits of the CRD's fields.
const (
	maxReason   = 1024
	maxUserName = 1024
	maxPodUID   = 64
	maxRule     = 253
	maxDetect   = 128
)

// maxCandidates bounds the pods that one ambiguous detection puts into quarantine.
const maxCandidates = 64

// newEntry is what the detection puts in force for one subject.
func newEntry(d *event.Detection, subject v1alpha1.Subject, spec Spec, now time.Time) *Entry {
	return &Entry{
		Name:      ObjectName(subject),
		Subject:   subject,
		Reason:    cut(firstOf(d.Rule.Title, d.Rule.Name, "a rule fired"), maxReason),
		Rule:      cut(d.Rule.Name, maxRule),
		Detection: cut(d.ID, maxDetect),
		Expires:   spec.Expires(now),
	}
}

// Subjects are those whom the detection puts into quarantine: its pod or its user, or
// every pod that it may be about, if the spec says so. Otherwise a pod whose UID is only a
// guess is nobody to quarantine. The error wraps ErrSubject.
func Subjects(d *event.Detection, spec Spec) ([]v1alpha1.Subject, error) {
	if spec.Subject != v1alpha1.SubjectPod || d.Pod.Confidence != event.Ambiguous || !spec.Ambiguous {
		subject, err := subjectOf(d, spec.Subject)
		if err != nil {
			return nil, err
		}
		return []v1alpha1.Subject{subject}, nil
	}
	uids := slices.Compact(slices.Sorted(slices.Values(d.Pod.Candidates)))
	if len(uids) == 0 || len(uids) > maxCandidates {
		return nil, fmt.Errorf("%w: pod %q may be any of %d, 1 to %d can be quarantined", ErrSubject, d.Pod.String(), len(uids), maxCandidates)
	}
	subjects := make([]v1alpha1.Subject, 0, len(uids))
	for _, uid := range uids {
		candidate := event.Detection{Pod: event.Pod{UID: uid, Namespace: d.Pod.Namespace, Name: d.Pod.Name, Confidence: event.ByName}}
		subject, err := subjectOf(&candidate, spec.Subject)
		if err != nil {
			return nil, err
		}
		subjects = append(subjects, subject)
	}
	return subjects, nil
}

// subjectOf picks the detection's pod or user. A pod whose UID is only a guess is
// nobody to quarantine.
func subjectOf(d *event.Detection, kind v1alpha1.SubjectKind) (v1alpha1.Subject, error) {
	switch kind {
	case v1alpha1.SubjectPod:
		p := d.Pod
		switch {
		case p.UID == "" || p.Namespace == "" || p.Name == "" || len(p.UID) > maxPodUID:
			return v1alpha1.Subject{}, fmt.Errorf("%w: pod %q has the UID %q", ErrSubject, p.String(), p.UID)
		case p.Confidence < event.ByName:
			return v1alpha1.Subject{}, fmt.Errorf("%w: pod %q is %s", ErrSubject, p.String(), p.Confidence)
		}
		return v1alpha1.Subject{Kind: kind, UID: p.UID, Namespace: p.Namespace, Name: p.Name}, nil
	case v1alpha1.SubjectUser:
		if d.User == "" || len(d.User) > maxUserName {
			return v1alpha1.Subject{}, fmt.Errorf("%w: a user name of %d bytes", ErrSubject, len(d.User))
		}
		return v1alpha1.Subject{Kind: kind, Name: d.User}, nil
	default:
		return v1alpha1.Subject{}, fmt.Errorf("%w: unknown kind %q", ErrSubject, kind)
	}
}

// ObjectName is the name of the Quarantine object that a detection of the subject
// makes: the same for every detection of it, unless somebody has given the name to
// another subject (see objectName).
func ObjectName(s v1alpha1.Subject) string {
	if s.Kind == v1alpha1.SubjectPod {
		if plain(s.UID) {
			return "pod-" + s.UID
		}
		// Not "pod-": that is followed by the UID itself, which the CRD checks.
		return "poduid-" + digest(s.UID)
	}
	return strings.ToLower(string(s.Kind)) + "-" + digest(s.Name)
}

// spare begins the names that are used instead of an ObjectName that is taken.
const spare = "portcullis-"

// objectName is the n-th name to try for the subject's object, from 0: ObjectName, then
// spare ones. Every replica tries the same.
func objectName(s v1alpha1.Subject, n int) string {
	if n == 0 {
		return ObjectName(s)
	}
	return fmt.Sprintf("%s%d-%s", spare, n, ObjectName(s))
}

// ordinal is the n with which objectName makes that name.
func ordinal(name string, s v1alpha1.Subject) (n int, ok bool) {
	if name == ObjectName(s) {
		return 0, true
	}
	rest, found := strings.CutPrefix(name, spare)
	digits, rest, dash := strings.Cut(rest, "-")
	n, err := strconv.Atoi(digits)
	ok = found && dash && err == nil && n > 0 && rest == ObjectName(s)
	return n, ok
}

// plain reports whether s can be part of an object's name as it is.
func plain(s string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return s != "" && s[len(s)-1] != '-'
}

// digest is short enough to type and long enough that nobody finds a second name for it.
func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

// managedBy marks the objects that the Manager made.
const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedByUs    = "portcullis"
)

// entryOf is the entry that an object means.
func entryOf(q *v1alpha1.Quarantine) *Entry {
	e := &Entry{Name: q.Name, Subject: q.Spec.Subject, Reason: q.Spec.Reason}
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
	s := v1alpha1.QuarantineSpec{Subject: e.Subject, Reason: e.Reason}
	if e.Detection != "" {
		s.Detection = &v1alpha1.DetectionRef{ID: e.Detection, Rule: e.Rule}
	}
	if !e.Expires.IsZero() {
		t := metav1.NewTime(e.Expires)
		s.ExpiresAt = &t
	}
	return s
}

// merge is what is in force when next comes on top of e: what lasts longer. A
// quarantine that people made and that lasts as long stays as they made it. Both are
// of the same subject: what denies one must never stand for what denies another.
func (e *Entry) merge(next *Entry) *Entry {
	if e.Detection == "" && lasts(e.Expires, next.Expires) {
		return e
	}
	out := *next
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
