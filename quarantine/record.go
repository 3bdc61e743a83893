package quarantine

import "time"

// Record remembers, for longer than the process lives, what became of the
// quarantines that detections led to. Objects go by the name that ObjectName gives them,
// whatever theirs is. Its methods are called under a lock and must not wait for a disk.
// *record.Book is one.
type Record interface {
	// Fate says whether the quarantine was ever in the cluster, and whether it is over.
	Fate(detection, object string) (written, ended bool)
	// Written notes that the quarantine is in the cluster.
	Written(object string, detections ...string)
	// Ended notes that it is over, why, and by whom if that is known. What is noted first stays.
	Ended(object, why, by string, detections ...string)
	// EndedBy notes who has released it, and when, for what was noted as released by nobody known.
	EndedBy(object, by string, at time.Time, detections ...string)
	// Standing calls visit with everything that was written and is not over, and when it
	// expires. The function may use the Record.
	Standing(visit func(detection, object string, expires time.Time))
}
