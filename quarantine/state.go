package quarantine

import (
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
)

// maxReleased bounds the detections that are remembered as done with.
const maxReleased = 20_000

// maxDetections bounds the detections that are remembered of one quarantine.
const maxDetections = 64

// state is what the Manager knows of every quarantine. It does no I/O and has no
// clock: what is left to do is returned as effects. The Manager's lock guards it.
type state struct {
	index    *Index
	tracked  map[string]*tracked // by the object's name
	released *idSet
	// pending counts the dirty ones.
	pending int
	// listed is the version of the latest complete list.
	listed uint64
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
}

// effects are what a change leaves to do.
type effects struct {
	doom  []doomed // objects to delete
	write []string // names of objects to write
	ended []ended  // quarantines that are no longer in force
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

func newState(index *Index) *state {
	return &state{index: index, tracked: map[string]*tracked{}, released: newIDSet(maxReleased)}
}

// impose puts the entry in force, under a name that it chooses. The object has to be
// written if it returns OutcomeApplied or OutcomeProlonged.
func (s *state) impose(e *Entry, now time.Time) (*Entry, Outcome) {
	first := e.Name
	if name := s.nameFor(e.Subject); name != e.Name {
		named := *e
		named.Name = name
		e = &named
	}
	t, known := s.tracked[e.Name]
	if known && slices.Contains(t.detections, e.Detection) {
		return t.entry, OutcomeRepeated
	}
	if s.released.has(releaseID(e.Name, e.Detection)) || s.released.has(releaseID(first, e.Detection)) {
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
	t.note(e.Detection)
	s.set(t, e)
	return e, outcome
}

func (s *state) set(t *tracked, e *Entry) {
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

// note remembers that the detection led to this quarantine.
func (t *tracked) note(detection string) {
	if detection == "" || slices.Contains(t.detections, detection) {
		return
	}
	t.detections = append(t.detections, detection)
	if len(t.detections) > maxDetections {
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
	if known && t.entry.Subject != e.Subject {
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
	t.note(e.Detection)
	if t.dirty {
		// Ours is not written yet. What people changed meanwhile is merged when it is.
		fx.write = append(fx.write, q.Name)
		return
	}
	s.set(t, e)
}

// revenant reports whether the object is one of ours that came into being, by a
// write that was under way, after its quarantine had been released. It is always
// deleted, never taken for a newer quarantine of the subject: its deletion could
// not be told from a release of that one.
func (s *state) revenant(q *v1alpha1.Quarantine) bool {
	d := q.Spec.Detection
	return d != nil && q.Labels[managedByLabel] == managedByUs && s.released.has(releaseID(q.Name, d.ID))
}

// deleted takes over that an object is gone.
func (s *state) deleted(q *v1alpha1.Quarantine, now time.Time, fx *effects) {
	e := entryOf(q)
	t, known := s.tracked[q.Name]
	switch {
	case !known:
	case t.uid == q.UID:
		s.gone(t, e.Expires, now, fx)
	case t.entry.Subject == e.Subject && slices.Contains(t.detections, e.Detection) && e.Active(now):
		// It was made for this quarantine too, by a write whose answer was lost or
		// has not come yet: who deleted it meant all of it.
		if t.uid != "" {
			fx.doom = append(fx.doom, doomed{name: q.Name, uid: t.uid})
		}
		s.forget(t, endReleased, fx)
	default:
		// An earlier object of that name.
	}
	if still := s.tracked[q.Name]; still == nil || !slices.Contains(still.detections, e.Detection) {
		s.released.add(releaseID(q.Name, e.Detection))
	}
}

// gone ends the quarantine whose object is gone and expired at the given time.
func (s *state) gone(t *tracked, expires, now time.Time, fx *effects) {
	why := t.ending
	if why == "" {
		why = endReleased
		if !expires.IsZero() && !now.Before(expires) {
			why = endExpired
		}
	}
	if why == endExpired && t.dirty && t.entry.Active(now) {
		// It was deleted because it had expired, and had been prolonged here: not a release.
		t.uid, t.version, t.ending = "", 0, ""
		fx.write = append(fx.write, t.entry.Name)
		return
	}
	s.forget(t, why, fx)
}

func (s *state) forget(t *tracked, why string, fx *effects) {
	for _, id := range t.detections {
		s.released.add(releaseID(t.entry.Name, id))
	}
	s.setDirty(t, false)
	s.index.remove(t.entry.Name)
	delete(s.tracked, t.entry.Name)
	fx.ended = append(fx.ended, ended{t.entry, why})
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
			continue
		}
		if t.uid == "" {
			s.forget(t, why, fx)
			continue
		}
		t.ending = why
		fx.doom = append(fx.doom, doomed{name, t.uid, strconv.FormatUint(t.version, 10)})
	}
}

// wrote takes over what an own write left in the API server. t and e are the
// quarantine and its entry as they were when the write began.
func (s *state) wrote(t *tracked, e *Entry, q *v1alpha1.Quarantine, fx *effects) {
	if s.tracked[e.Name] != t {
		// Released while it was being written.
		fx.doom = append(fx.doom, doomed{name: q.Name, uid: q.UID})
		return
	}
	version := versionOf(q.ResourceVersion)
	if t.uid != q.UID && version <= s.listed {
		// A list that is newer did not have it: released before the answer came.
		s.forget(t, endReleased, fx)
		return
	}
	if version >= t.version {
		t.uid, t.version, t.stored = q.UID, version, entryOf(q).Expires
	}
	if t.entry != e {
		fx.write = append(fx.write, e.Name)
		return
	}
	s.setDirty(t, false)
	s.set(t, entryOf(q))
}

// vanished takes over that the object to be changed does not exist.
func (s *state) vanished(t *tracked, uid types.UID, now time.Time, fx *effects) {
	if s.tracked[t.entry.Name] == t && t.uid == uid {
		s.gone(t, t.stored, now, fx)
	}
}

// releaseID is what is remembered of the detection of a quarantine that ended. The name is part
// of it: whoever may create Quarantines can refer to any detection in one, and have it expire.
func releaseID(name, detection string) string {
	if detection == "" {
		return ""
	}
	return name + " " + detection
}

// versionOf is a resource version as a number: the API server's are, and grow.
func versionOf(s string) uint64 {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return v
}

// idSet remembers the newest of the ids added to it.
type idSet struct {
	limit int
	ids   map[string]bool
	order []string
}

func newIDSet(limit int) *idSet { return &idSet{limit: limit, ids: map[string]bool{}} }

func (s *idSet) has(id string) bool { return id != "" && s.ids[id] }

func (s *idSet) add(id string) {
	if id == "" || s.ids[id] {
		return
	}
	s.ids[id] = true
	s.order = append(s.order, id)
	if len(s.order) > s.limit {
		delete(s.ids, s.order[0])
		s.order = s.order[1:]
	}
}
