package quarantine

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
)

const (
	// mirrorLabel marks mirrors; the policy in the API server finds them by it.
	mirrorLabel, mirrorLabelled = "portcullis.dev/quarantine", "true"
	// mirrorPrefix begins their names: what has the label and another name is not ours to delete, and the policy does not go by it.
	mirrorPrefix = "portcullis-quarantine-"
	// mirrorField begins the annotations that are the fields.
	mirrorField = "portcullis.dev/"
)

// MirrorOf is the LimitRange, without its namespace, that tells API servers what the Quarantine says: one that was just
// started may not know yet what a Quarantine is. Its annotations are what the chart's policy portcullis-quarantine-mirror reads, and it
// limits nothing. The template of that policy says why it is a LimitRange.
//
// It belongs to the object with that UID: when that is deleted, garbage collection deletes the mirror.
func MirrorOf(q *v1alpha1.Quarantine) *corev1.LimitRange {
	e := *entryOf(q)
	e.Node = q.Status.NodeName
	return e.mirror()
}

// mirror is the mirror of the entry's object. The entry's Node is what the object's status says.
func (e *Entry) mirror() *corev1.LimitRange {
	fields := map[string]string{
		// Always there: the policy takes what lacks one of these for no mirror.
		mirrorField + "quarantine": e.Name,
		mirrorField + "kind":       string(e.Subject.Kind),
		mirrorField + "name":       e.Subject.Name,
		mirrorField + "namespace":  e.Subject.Namespace,
		mirrorField + "uid":        e.Subject.UID,
	}
	for key, value := range map[string]string{
		"nodeName": e.Subject.NodeName, "runsOn": e.Node, "operations": joined(e.Operations),
		"reason": e.Reason, "rule": e.Rule, "detection": e.Detection,
	} {
		if value != "" {
			fields[mirrorField+key] = value
		}
	}
	if !e.Expires.IsZero() {
		fields[mirrorField+"expiresAt"] = e.Expires.UTC().Format(time.RFC3339)
	}
	return &corev1.LimitRange{
		ObjectMeta: metav1.ObjectMeta{
			// By the UID: a quarantine that is made anew never meets the mirror of an earlier one.
			Name:   mirrorPrefix + string(e.UID),
			Labels: map[string]string{mirrorLabel: mirrorLabelled, managedByLabel: managedByUs},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: "Quarantine", Name: e.Name, UID: e.UID,
			}},
			Annotations: fields,
		},
		Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{}},
	}
}

// joined is the set in one string, empty for all.
func joined(s Operations) string {
	list := s.List()
	names := make([]string, len(list))
	for i, o := range list {
		names[i] = string(o)
	}
	return strings.Join(names, ",")
}
