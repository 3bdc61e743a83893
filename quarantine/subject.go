package quarantine

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/validation"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/event"
)

// ErrSubject says that a detection does not identify the subject well enough to
// act on it.
var ErrSubject = errors.New("the detection does not identify the subject")

// The limits of the CRD's fields.
const (
	maxReason    = 1024
	maxName      = 1024
	maxPodUID    = 64
	maxNamespace = 63
	maxNode      = 253
	maxRule      = 253
	maxDetect    = 128
	maxObject    = 253
)

// maxCandidates bounds the pods that one ambiguous detection puts into quarantine.
const maxCandidates = 64

// KindOf is the kind that a rule calls so, such as "serviceaccount". Rules cannot ask for all kinds: no
// detection identifies a group.
func KindOf(name string) (v1alpha1.SubjectKind, bool) {
	for _, kind := range []v1alpha1.SubjectKind{
		v1alpha1.SubjectPod, v1alpha1.SubjectUser, v1alpha1.SubjectServiceAccount,
		v1alpha1.SubjectCredential, v1alpha1.SubjectNode, v1alpha1.SubjectNamespace,
	} {
		if name == strings.ToLower(string(kind)) {
			return kind, true
		}
	}
	return "", false
}

// Subjects are those whom the detection puts into quarantine: the one of the kind that the spec names, or
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
		subject, err := podSubject(event.Pod{UID: uid, Namespace: d.Pod.Namespace, Name: d.Pod.Name, Confidence: event.ByName})
		if err != nil {
			return nil, err
		}
		subjects = append(subjects, subject)
	}
	return subjects, nil
}

// subjectOf picks the subject of that kind.
func subjectOf(d *event.Detection, kind v1alpha1.SubjectKind) (v1alpha1.Subject, error) {
	switch kind {
	case v1alpha1.SubjectPod:
		return podSubject(d.Pod)
	case v1alpha1.SubjectUser:
		return named(kind, d.User, maxName)
	case v1alpha1.SubjectServiceAccount:
		requester, err := d.Requester()
		if err != nil {
			return v1alpha1.Subject{}, fmt.Errorf("%w: %w", ErrSubject, err)
		}
		return serviceAccountSubject(requester)
	case v1alpha1.SubjectCredential:
		id, err := d.Credential()
		if err != nil {
			return v1alpha1.Subject{}, fmt.Errorf("%w: %w", ErrSubject, err)
		}
		return named(kind, id, maxName)
	case v1alpha1.SubjectNode:
		if d.Pod.Confidence < event.ByName {
			return v1alpha1.Subject{}, fmt.Errorf("%w: the node of pod %q, which is %s", ErrSubject, d.Pod.String(), d.Pod.Confidence)
		}
		return named(kind, d.Pod.Node, maxNode)
	case v1alpha1.SubjectNamespace:
		return named(kind, d.Pod.Namespace, maxNamespace)
	default:
		return v1alpha1.Subject{}, fmt.Errorf("%w: no detection identifies a %q", ErrSubject, kind)
	}
}

// podSubject is the pod. One whose UID is only a guess is nobody to quarantine.
func podSubject(p event.Pod) (v1alpha1.Subject, error) {
	switch {
	case p.UID == "" || p.Namespace == "" || p.Name == "" || len(p.UID) > maxPodUID || len(p.Namespace) > maxNamespace || len(p.Name) > maxName:
		return v1alpha1.Subject{}, fmt.Errorf("%w: pod %q has the UID %q", ErrSubject, p.String(), p.UID)
	case p.Confidence < event.ByName:
		return v1alpha1.Subject{}, fmt.Errorf("%w: pod %q is %s", ErrSubject, p.String(), p.Confidence)
	}
	s := v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: p.UID, Namespace: p.Namespace, Name: p.Name}
	if isObjectName(p.Node) {
		s.NodeName = p.Node
	}
	return s, nil
}

func serviceAccountSubject(user string) (v1alpha1.Subject, error) {
	namespace, name, ok := event.ServiceAccountOf(user)
	if !ok || len(namespace) > maxNamespace || len(name) > maxName {
		return v1alpha1.Subject{}, fmt.Errorf("%w: user %q is no service account", ErrSubject, shown(user, maxShownName))
	}
	return v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: namespace, Name: name}, nil
}

func named(kind v1alpha1.SubjectKind, name string, limit int) (v1alpha1.Subject, error) {
	if name == "" || len(name) > limit {
		return v1alpha1.Subject{}, fmt.Errorf("%w: the name of the %s has %d bytes", ErrSubject, kind, len(name))
	}
	return v1alpha1.Subject{Kind: kind, Name: name}, nil
}

// sameSubject reports whether both are the same. Where a pod runs is not part of who it is: not
// everybody who names it knows.
func sameSubject(a, b v1alpha1.Subject) bool {
	a.NodeName, b.NodeName = "", ""
	return a == b
}

// ObjectName is the name of the Quarantine object that a detection of the subject
// makes: the same for every detection of it, unless somebody has given the name to
// another subject (see objectName).
func ObjectName(s v1alpha1.Subject) string {
	kind := strings.ToLower(string(s.Kind))
	// The spelt-out names are in the CRD: whoever has one of them is its subject.
	spelt, hashed := "", kind+"-"+digest(s.Name)
	switch s.Kind {
	case v1alpha1.SubjectPod:
		spelt, hashed = kind+"-"+s.UID, "poduid-"+digest(s.UID)
		if !plain(s.UID) {
			spelt = ""
		}
	case v1alpha1.SubjectServiceAccount:
		// No namespace has a dot.
		spelt, hashed = kind+"-"+s.Namespace+"."+s.Name, kind+"id-"+digest(s.Namespace+"/"+s.Name)
		if strings.Contains(s.Namespace, ".") {
			spelt = ""
		}
	case v1alpha1.SubjectNode, v1alpha1.SubjectNamespace:
		spelt, hashed = kind+"-"+s.Name, kind+"id-"+digest(s.Name)
	case v1alpha1.SubjectUser, v1alpha1.SubjectGroup, v1alpha1.SubjectCredential:
	}
	if isObjectName(spelt) {
		return spelt
	}
	return hashed
}

// isObjectName reports whether the API server takes it for the name of an object.
func isObjectName(s string) bool {
	return s != "" && len(s) <= maxObject && len(validation.NameIsDNSSubdomain(s, false)) == 0
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
