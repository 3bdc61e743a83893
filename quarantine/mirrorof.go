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
)

// MirrorOf is the ConfigMap, without its namespace, that tells API servers what the Quarantine says: one that was just
// started may not know yet what a Quarantine is. Its data is what the chart's policy portcullis-quarantine-mirror reads.
//
// It belongs to the object with that UID: when that is deleted, garbage collection deletes the mirror.
func MirrorOf(q *v1alpha1.Quarantine) *corev1.ConfigMap {
	e := *entryOf(q)
	e.Node = q.Status.NodeName
	return e.mirror()
}

// mirror is the mirror of the entry's object. The entry's Node is what the object's status says.
func (e *Entry) mirror() *corev1.ConfigMap {
	data := map[string]string{
		// Always there: the policy takes what lacks one of these for no mirror.
		"quarantine": e.Name,
		"kind":       string(e.Subject.Kind), "name": e.Subject.Name, "namespace": e.Subject.Namespace, "uid": e.Subject.UID,
	}
	for key, value := range map[string]string{
		"nodeName": e.Subject.NodeName, "runsOn": e.Node, "operations": joined(e.Operations),
		"reason": e.Reason, "rule": e.Rule, "detection": e.Detection,
	} {
		if value != "" {
			data[key] = value
		}
	}
	if !e.Expires.IsZero() {
		data["expiresAt"] = e.Expires.UTC().Format(time.RFC3339)
	}
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			// By the UID: a quarantine that is made anew never meets the mirror of an earlier one.
			Name:   mirrorPrefix + string(e.UID),
			Labels: map[string]string{mirrorLabel: mirrorLabelled, managedByLabel: managedByUs},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: "Quarantine", Name: e.Name, UID: e.UID,
			}},
		},
		Data: data,
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
