package quarantine

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/ctl/output"
)

// subject is who is denied, for people.
func subject(q *v1alpha1.Quarantine) string {
	switch s := q.Spec.Subject; s.Kind {
	case v1alpha1.SubjectPod:
		return "pod " + output.Text(s.Namespace+"/"+s.Name)
	case v1alpha1.SubjectUser:
		return "user " + output.Text(s.Name)
	default:
		return output.Text(string(s.Kind) + " " + s.Name)
	}
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
