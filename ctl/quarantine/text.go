package quarantine

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/ctl/output"
)

// subject is who is denied, for people.
func subject(q *v1alpha1.Quarantine) string {
	s := q.Spec.Subject
	name := s.Name
	if s.Namespace != "" {
		name = s.Namespace + "/" + s.Name
	}
	return output.Text(strings.ToLower(string(s.Kind)) + " " + name)
}

// denied are the operations, for people.
func denied(q *v1alpha1.Quarantine) string {
	if len(q.Spec.Operations) == 0 {
		return "all"
	}
	return strings.Join(operationNames(q.Spec.Operations), ",")
}

// node is where the subject, a pod, runs, as far as is known.
func node(q *v1alpha1.Quarantine) string {
	return cmp.Or(q.Spec.Subject.NodeName, q.Status.NodeName)
}

// enforced is whether it is in force, as Portcullis says: yes, no, or a dash where it has said nothing yet.
func enforced(q *v1alpha1.Quarantine) string {
	switch c := meta.FindStatusCondition(q.Status.Conditions, v1alpha1.ConditionEnforced); {
	case c == nil || c.Status == metav1.ConditionUnknown:
		return "-"
	case c.Status == metav1.ConditionTrue:
		return "yes"
	default:
		return "no"
	}
}

// inForce is enforced with the reason why not.
func inForce(q *v1alpha1.Quarantine) string {
	c := meta.FindStatusCondition(q.Status.Conditions, v1alpha1.ConditionEnforced)
	if c == nil {
		return "not known: Portcullis has not said so yet"
	}
	text := enforced(q)
	if c.Status == metav1.ConditionTrue {
		return text
	}
	return text + ": " + cmp.Or(c.Message, c.Reason)
}

// expiry is when it ends by itself.
func expiry(q *v1alpha1.Quarantine, now time.Time) string {
	if q.Spec.ExpiresAt == nil {
		return "never"
	}
	left := q.Spec.ExpiresAt.Sub(now)
	if left <= 0 {
		return "expired"
	}
	return "in " + duration.HumanDuration(left)
}

// rule is what denied the subject.
func rule(q *v1alpha1.Quarantine) string {
	if q.Spec.Detection == nil {
		return "(by hand)"
	}
	return q.Spec.Detection.Rule
}

func detection(q *v1alpha1.Quarantine) string {
	if q.Spec.Detection == nil {
		return ""
	}
	return q.Spec.Detection.ID
}

func age(q *v1alpha1.Quarantine, now time.Time) string {
	return duration.HumanDuration(max(0, now.Sub(q.CreationTimestamp.Time)))
}

// moment is a time for people, with how far away it is.
func moment(t time.Time, now time.Time) string {
	text := t.UTC().Format("2006-01-02 15:04:05 UTC")
	if away := t.Sub(now); away > 0 {
		return fmt.Sprintf("%s (in %s)", text, duration.HumanDuration(away))
	}
	return fmt.Sprintf("%s (%s ago)", text, duration.HumanDuration(now.Sub(t)))
}
