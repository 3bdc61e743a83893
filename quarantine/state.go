package quarantine

import (
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
)

// maxDetections bounds the detections that are remembered of one quarantine.
const maxDetections = 1024

// state is what the Manager knows of every quarantine. It does no I/O and has no
// clock: what is left to do is returned as effects. The Manager's lock guards it.
type state struct {
	index   *Index
	tracked map[string]*tracked // by the object's name
	// record knows what became of detections, those of earlier processes included.
	record Record
	// nodeOf is the node that a pod runs on, empty if nobody knows. Nil knows none.
	nodeOf   func(uid string) string
	releases releases
	// pending counts the dirty ones.
	pending int
	// listed is the version of the latest complete list; synced is set from the first on.
	listed uint64
	synced bool
}

// tracked is one quarantine with what is known of its object.
type tracked struct {
	entry *Entry
	// detections are those that led to it, oldest first.
	detections []string
	// uid and version are those of the object, empty until one is known to exist.
	uid     types.UID
	version uint64
	// stored is when the object, as it is stored, expires; zero for never.
	stored time.Time
	// dirty: the object does not say what the entry says, since the given time.
	dirty bool
	since time.Time
	// ending is why the Manager is deleting the object, empty while it is not.
	ending string
	status reported
}

// effects are what a change leaves to do.
type effects struct {
	doom     []doomed   // objects to delete
	write    []string   // names of objects to write
	report   []string   // names of objects whose status is to be written
	ended    []ended    // quarantines that are no longer in force
	released []released // of those some, by whom it is known now
}

// doomed is an object to delete, if it is still the one that was seen.
type doomed struct {
	name string
	uid  types.UID
	// version is empty where any version of the object has to go.
	version string
}

// ended is the end of a quarantine and why.
type ended struct {
	entry *Entry
	why   string
}

// Why a quarantine ends.
const (
	endReleased = "released"
	endExpired  = "expired"
	endPodGone  = "pod-gone"
)

// byUs is who ended what expired and what is of no use any more.
const byUs = "portcullis"

// Outcome is what became of a detection's quarantine.
type Outcome string

// The outcomes.
const (
	// OutcomeApplied: the subject is denied from now on.
	OutcomeApplied Outcome = "applied"
	// OutcomeProlonged: the subject was denied already, now for longer or for this reason as well.
	OutcomeProlonged Outcome = "prolonged"
	// OutcomeRepeated: this very detection had been applied before.
	OutcomeRepeated Outcome = "repeated"
	// OutcomeReleased: somebody has released what this detection led to, or it expired.
	OutcomeReleased Outcome = "released"
)

// rank orders outcomes by how much happened.
func (o Outcome) rank() int {
	return slices.Index([]Outcome{"", OutcomeReleased, OutcomeRepeated, OutcomeProlonged, OutcomeApplied}, o)
}

func newState(index *Index, record Record) *state {
	return &state{index: index, tracked: map[string]*tracked{}, record: record}
}

// impose puts the entry in force, under a name that it chooses. The object has to be
// written if it returns OutcomeApplied or OutcomeProlonged.
func (s *state) impose(e *Entry, now time.Time) (*Entry, Outcome) {
	object, detection := ObjectName(e.Subject), e.Detection
	if name := s.nameFor(e.Subject); name != e.Name {
		named := *e
		named.Name = name
		e = &named
	}
	t, known := s.tracked[e.Name]
	if known && slices.Contains(t.detections, e.Detection) {
		return t.entry, OutcomeRepeated
	}
	switch written, ended := s.record.Fate(e.Detection, object); {
	case ended:
		return nil, OutcomeReleased
	case written && (known || !s.synced):
		return nil, OutcomeRepeated
	case written: // Somebody deleted it while nobody watched.
		return nil, OutcomeReleased
	case !e.Active(now): // It was found again after its time.
		s.record.Ended(object, endExpired, byUs, e.Detection)
		return nil, OutcomeReleased
	}
	outcome := OutcomeApplied
	if known {
		if t.entry.Active(now) {
			outcome = OutcomeProlonged
		}
		e = t.entry.merge(e)
	} else {
		t = &tracked{}
		s.tracked[e.Name] = t
	}
	if t.entry != e {
		s.setDirty(t, true)
		t.since = now
	}
	t.ending = ""
	s.note(t, e.Subject, detection)
	s.set(t, e)
	if !t.dirty && t.uid != "" {
		s.inCluster(t) // People have made one that lasts as long.
	}
	return e, outcome
}

func (s *state) set(t *tracked, e *Entry) {
	if n := s.node(e); n != e.Node {
		placed := *e
		placed.Node = n
		e = &placed
	}
	if t.entry == nil || *t.entry != *e {
		t.entry = e
		s.index.put(e)
	}
}

func (s *state) setDirty(t *tracked, dirty bool) {
	switch {
	case dirty && !t.dirty:
		s.pending++
	case !dirty && t.dirty:
		s.pending--
	}
	t.dirty = dirty
}

// note remembers that the detection led to the subject's quarantine.
func (s *state) note(t *tracked, subject v1alpha1.Subject, detection string) {
	if detection == "" || slices.Contains(t.detections, detection) {
		return
	}
	t.detections = append(t.detections, detection)
	if len(t.detections) > maxDetections {
		// Those that are newer see to it that the object is written.
		s.record.Written(ObjectName(subject), t.detections[0])
		t.detections = slices.Delete(t.detections, 0, 1)
	}
}

// observed takes over an object as the API server has it.
func (s *state) observed(q *v1alpha1.Quarantine, now time.Time, fx *effects) {
	if q.DeletionTimestamp != nil {
		s.deleted(q, now, fx)
		return
	}
	e, version := entryOf(q), versionOf(q.ResourceVersion)
	t, known := s.tracked[q.Name]
	if known && version < t.version {
		return // older than what is known
	}
	if s.revenant(q) {
		fx.doom = append(fx.doom, doomed{name: q.Name, uid: q.UID})
		return
	}
	if known && !sameSubject(t.entry.Subject, e.Subject) {
		if t.uid != "" {
			// The subject of an object never changes: this is another, and ours is gone.
			s.gone(t, t.stored, now, fx)
		}
		s.displaced(t, fx)
		known = false
	}
	if !known {
		t = &tracked{}
		s.tracked[q.Name] = t
	}
	t.uid, t.version, t.stored = q.UID, version, e.Expires
	t.status.take(q)
	s.note(t, e.Subject, e.Detection)
	if t.dirty {
		// Ours is not written yet. What people changed meanwhile is merged when it is.
		fx.write = append(fx.write, q.Name)
		return
	}
	s.set(t, e)
	s.inCluster(t)
	s.report(t, now, fx)
}

// inCluster takes down that the object says what is in force.
func (s *state) inCluster(t *tracked) {
	if own(t.entry) {
		s.record.Written(ObjectName(t.entry.Subject), t.detections...)
	}
}

// own reports whether the entry has a name that detections of its subject give. Under
// any other name people can refer to whatever detection they like.
func own(e *Entry) bool {
	_, ok := ordinal(e.Name, e.Subject)
	return ok
}

// revenant reports whether the object is one of ours that came into being, by a
// write that was under way, after its quarantine had been released. It is always
// deleted, never taken for a newer quarantine of the subject: its deletion could
// not be told from a release of that one.
func (s *state) revenant(q *v1alpha1.Quarantine) bool {
	e := entryOf(q)
	if e.Detection == "" || q.Labels[managedByLabel] != managedByUs || !own(e) {
		return false
	}
	_, ended := s.record.Fate(e.Detection, ObjectName(e.Subject))
	return ended
}

// deleted takes over that an object is gone.
func (s *state) deleted(q *v1alpha1.Quarantine, now time.Time, fx *effects) {
	e := entryOf(q)
	t, known := s.tracked[q.Name]
	switch {
	case !known:
	case t.uid == q.UID:
		s.gone(t, e.Expires, now, fx)
	case sameSubject(t.entry.Subject, e.Subject) && slices.Contains(t.detections, e.Detection) && e.Active(now):
		// It was made for this quarantine too, by a write whose answer was lost or
		// has not come yet: who deleted it meant all of it.
		if t.uid != "" {
			fx.doom = append(fx.doom, doomed{name: q.Name, uid: t.uid})
		}
		s.forget(t, endReleased, now, fx)
	default:
		// An earlier object of that name.
	}
	if still := s.tracked[q.Name]; still == nil || !slices.Contains(still.detections, e.Detection) {
		s.ended(e, expiredOr(endReleased, e.Expires, now), e.Detection)
	}
}

// ended takes down that the quarantine is over, for the detections that led to it and
// to no other of the subject: whoever may create objects can refer to any detection in one,
// and have it expire.
func (s *state) ended(e *Entry, why string, detections ...string) {
	if !own(e) {
		return
	}
	by := byUs
	if why == endReleased {
		by = "" // The API server's audit log knows.
	}
	for _, id := range detections {
		if id != "" && !s.elsewhere(e, id) {
			s.record.Ended(ObjectName(e.Subject), why, by, id)
		}
	}
}

// elsewhere reports whether the detection led to a quarantine of the subject under another name.
func (s *state) elsewhere(e *Entry, detection string) bool {
	for _, other := range s.index.Of(e.Subject) {
		t := s.tracked[other.Name]
		if t != nil && other.Name != e.Name && own(other) && slices.Contains(t.detections, detection) {
			return true
		}
	}
	return false
}

// expiredOr is why something ended that was deleted.
func expiredOr(why string, expires, now time.Time) string {
	if !expires.IsZero() && !now.Before(expires) {
		return endExpired
	}
	return why
}

// gone ends the quarantine whose object is gone and expired at the given time.
func (s *state) gone(t *tracked, expires, now time.Time, fx *effects) {
	why := t.ending
	if why == "" {
		why = expiredOr(endReleased, expires, now)
	}
	if why == endExpired && t.dirty && t.entry.Active(now) {
		// It was deleted because it had expired, and had been prolonged here: not a release.
		t.uid, t.version, t.ending = "", 0, ""
		fx.write = append(fx.write, t.entry.Name)
		return
	}
	s.forget(t, why, now, fx)
}

func (s *state) forget(t *tracked, why string, now time.Time, fx *effects) {
	s.ended(t.entry, why, t.detections...)
	s.setDirty(t, false)
	s.index.remove(t.entry.Name)
	delete(s.tracked, t.entry.Name)
	fx.ended = append(fx.ended, ended{t.entry, why})
	gone := *t.entry
	gone.UID = t.uid
	s.departed(departure{entry: &gone, why: why, detections: t.detections, at: now}, fx)
}

// replaced takes over a complete list of the given version: an object that is
// not on it, and is not newer than it, is gone.
func (s *state) replaced(list []*v1alpha1.Quarantine, version string, now time.Time, fx *effects) {
	present := make(map[string]types.UID, len(list))
	for _, q := range list {
		present[q.Name] = q.UID
	}
	s.listed = versionOf(version)
	for name, t := range s.tracked {
		if t.uid != "" && t.version <= s.listed && present[name] != t.uid {
			s.gone(t, t.stored, now, fx)
		}
	}
	for _, q := range list {
		s.observed(q, now, fx)
	}
	if !s.synced {
		s.synced = true
		s.catchUp(now, fx)
	}
}

// catchUp takes over what has ended while nobody watched: what an earlier process has
// written, and the first list does not have.
func (s *state) catchUp(now time.Time, fx *effects) {
	there := map[string]bool{}
	for _, t := range s.tracked {
		if own(t.entry) {
			there[ObjectName(t.entry.Subject)] = true
		}
	}
	s.record.Standing(func(detection, object string, expires time.Time) {
		if there[object] {
			return
		}
		why, by := expiredOr(endReleased, expires, now), ""
		s.record.Ended(object, why, by, detection)
		gone := &Entry{Name: object, Detection: detection}
		fx.ended = append(fx.ended, ended{gone, why})
		s.departed(departure{entry: gone, why: why, detections: []string{detection}, at: now}, fx)
	})
}

// end dooms what has expired or whose pod is gone. Those that never got an object
// are forgotten at once.
func (s *state) end(now time.Time, podGone func(uid string) bool, fx *effects) {
	for name, t := range s.tracked {
		var why string
		switch {
		case !t.entry.Active(now):
			why = endExpired
		case isPod(t.entry) && podGone(t.entry.Subject.UID):
			why = endPodGone
		default:
			s.set(t, t.entry) // It may be known by now where its pod runs.
			s.report(t, now, fx)
			continue
		}
		if t.uid == "" {
			s.forget(t, why, now, fx)
			continue
		}
		t.ending = why
		fx.doom = append(fx.doom, doomed{name, t.uid, strconv.FormatUint(t.version, 10)})
	}
}

// wrote takes over what an own write left in the API server. t and e are the
// quarantine and its entry as they were when the write began.
func (s *state) wrote(t *tracked, e *Entry, q *v1alpha1.Quarantine, now time.Time, fx *effects) {
	if s.tracked[e.Name] != t {
		// Released while it was being written.
		fx.doom = append(fx.doom, doomed{name: q.Name, uid: q.UID})
		return
	}
	version := versionOf(q.ResourceVersion)
	if t.uid != q.UID && version <= s.listed {
		// A list that is newer did not have it: released before the answer came.
		s.forget(t, endReleased, now, fx)
		return
	}
	if version >= t.version {
		t.uid, t.version, t.stored = q.UID, version, entryOf(q).Expires
		t.status.take(q)
	}
	if t.entry != e {
		fx.write = append(fx.write, e.Name)
		return
	}
	s.setDirty(t, false)
	s.set(t, entryOf(q))
	s.inCluster(t)
	s.report(t, now, fx)
}

// vanished takes over that the object to be changed does not exist.
func (s *state) vanished(t *tracked, uid types.UID, now time.Time, fx *effects) {
	if s.tracked[t.entry.Name] == t && t.uid == uid {
		s.gone(t, t.stored, now, fx)
	}
}

// versionOf is a resource version as a number: the API server's are, and grow.
func versionOf(s string) uint64 {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return v
}
