package record

import (
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// Record is what became of one detection.
type Record struct {
	// Rule is the rule's name.
	Rule string
	// State and SupersededBy are those of the detection as it was last concluded.
	State        event.State
	SupersededBy string
	// Action is what was decided at first, and in the end what came of it; Why is
	// empty unless that fell short of what the rule asks for.
	Action event.Action
	Why    string
	// Quarantines are those that the detection led to.
	Quarantines []Quarantine
	// Told is a fingerprint of what people were told last, zero while they have not
	// been told of the present State.
	Told uint64
	// Begun is when the detection was first recorded, in milliseconds; quarantines last from
	// then on. It is zero for detections of which nothing else is known than how a
	// quarantine ended.
	Begun time.Time
}

// Quarantine is one that a detection led to.
type Quarantine struct {
	// Object is the name of the Quarantine object that the subject is given first;
	// it stands for the subject.
	Object string
	// Whom says who that is, for people: namespace/name of a pod, or the user.
	Whom string
	// Expires is when it ends as far as this detection goes, in seconds; zero for never.
	Expires time.Time
	// Written is set once the object is in the cluster. If it is missing after
	// that, somebody has deleted it.
	Written bool
	// Ended is nil while it is in force, or on its way there.
	Ended *End
}

// End is how a quarantine ended.
type End struct {
	// Why is a short constant such as "released", "expired" or "pod-gone".
	Why string
	// By is who did it, empty where only the API server's audit log knows.
	By string
	// At is when that was noticed, in seconds.
	At time.Time
}

// Phase is how far the consequences of a detection are.
type Phase string

// The phases.
const (
	// Acting: something may have been done, and something may be left to do.
	Acting Phase = "acting"
	// Done: everything was done.
	Done Phase = "done"
)

// Phase is Done if everything was done about the detection's present state.
func (r *Record) Phase() Phase {
	if r.Begun.IsZero() || r.Told == 0 || !r.Settled() {
		return Acting
	}
	return Done
}

// Settled reports whether each quarantine is in the cluster or has ended.
func (r *Record) Settled() bool {
	for i := range r.Quarantines {
		if !r.Quarantines[i].Settled() {
			return false
		}
	}
	return true
}

// Settled reports whether it is in the cluster or has ended.
func (q *Quarantine) Settled() bool { return q.Written || q.Ended != nil }

// quarantine returns the one of that object, or nil.
func (r *Record) quarantine(object string) *Quarantine {
	for i := range r.Quarantines {
		if r.Quarantines[i].Object == object {
			return &r.Quarantines[i]
		}
	}
	return nil
}
