package quarantine

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/event"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

// detection is one about the pod shop/web-0 with the UID u1.
func detection(id string) *event.Detection {
	return &event.Detection{
		ID:   id,
		Rule: event.DetectionRule{Name: "token-theft", Title: "Token read, then used"},
		Pod:  event.Pod{UID: "u1", Namespace: "shop", Name: "web-0", Node: "node-1", Confidence: event.Exact},
		User: "system:serviceaccount:shop:web",
	}
}

func podSpec(ttl time.Duration) Spec { return Spec{Subject: v1alpha1.SubjectPod, TTL: ttl} }

func entry(t testing.TB, id string, ttl time.Duration, now time.Time) *Entry {
	t.Helper()
	return entryFor(t, detection(id), podSpec(ttl), now)
}

// entryFor is what the detection puts in force for its only subject.
func entryFor(t testing.TB, d *event.Detection, spec Spec, now time.Time) *Entry {
	t.Helper()
	subjects, err := Subjects(d, spec)
	if err != nil || len(subjects) != 1 {
		t.Fatalf("%d subjects, %v", len(subjects), err)
	}
	return newEntry(d, subjects[0], spec, now)
}

// memory is a Record that forgets nothing.
type memory struct {
	fates map[[2]string]fate // by detection and object
}

type fate struct {
	written bool
	why, by string
	expires time.Time
}

func newMemory() *memory { return &memory{map[[2]string]fate{}} }

func (m *memory) Fate(detection, object string) (written, ended bool) {
	f := m.fates[[2]string{detection, object}]
	return f.written, f.why != ""
}

func (m *memory) note(object string, detections []string, change func(*fate)) {
	for _, id := range detections {
		f := m.fates[[2]string{id, object}]
		change(&f)
		m.fates[[2]string{id, object}] = f
	}
}

func (m *memory) Written(object string, detections ...string) {
	m.note(object, detections, func(f *fate) { f.written = true })
}

func (m *memory) Ended(object, why, by string, detections ...string) {
	m.note(object, detections, func(f *fate) {
		if f.why == "" {
			f.why, f.by = why, by
		}
	})
}

func (m *memory) EndedBy(object, by string, _ time.Time, detections ...string) {
	m.note(object, detections, func(f *fate) {
		if f.why != "" && f.by == "" {
			f.by = by
		}
	})
}

func (m *memory) Standing(visit func(detection, object string, expires time.Time)) {
	for key, f := range maps.Clone(m.fates) {
		if f.written && f.why == "" {
			visit(key[0], key[1], f.expires)
		}
	}
}

// over reports whether what the detection led to for the pod u1 has ended.
func over(s *state, detection string) bool {
	_, ended := s.record.Fate(detection, podU1)
	return ended
}

const podU1 = "pod-u1"

// api is the API server as the state's tests need it: what is stored, and the
// watch events that nobody has read yet.
type api struct {
	version uint64
	objects map[string]*v1alpha1.Quarantine
	log     []change
}

type change struct {
	deleted bool
	q       *v1alpha1.Quarantine
}

func newAPI() *api { return &api{objects: map[string]*v1alpha1.Quarantine{}} }

func (a *api) store(q *v1alpha1.Quarantine) *v1alpha1.Quarantine {
	a.version++
	q = q.DeepCopy()
	q.ResourceVersion = strconv.FormatUint(a.version, 10)
	if q.UID == "" {
		q.UID = types.UID("object-" + q.ResourceVersion)
	}
	a.objects[q.Name] = q
	a.log = append(a.log, change{q: q})
	return q
}

func (a *api) delete(name string) {
	q := a.objects[name].DeepCopy()
	a.version++
	q.ResourceVersion = strconv.FormatUint(a.version, 10)
	delete(a.objects, name)
	a.log = append(a.log, change{deleted: true, q: q})
}

// tell feeds the next watch event to the state.
func (a *api) tell(s *state, now time.Time, fx *effects) {
	c := a.log[0]
	a.log = a.log[1:]
	if c.deleted {
		s.deleted(c.q, now, fx)
	} else {
		s.observed(c.q, now, fx)
	}
}

func (a *api) tellAll(s *state, now time.Time) (fx effects) {
	for len(a.log) > 0 {
		a.tell(s, now, &fx)
	}
	return fx
}

func inForce(s *state, now time.Time) bool {
	return denied(s, "u1", now)
}

// written imposes the detection and writes its object.
func written(t *testing.T, s *state, a *api, id string, ttl time.Duration, now time.Time) {
	t.Helper()
	e, _ := s.impose(entry(t, id, ttl, now), now)
	var fx effects
	s.wrote(s.tracked[e.Name], e, a.store(e.object()), at(0), &fx)
	if s.tracked[e.Name].dirty || len(fx.doom)+len(fx.write) > 0 {
		t.Fatalf("after a write the quarantine is %+v, effects %+v", s.tracked[e.Name], fx)
	}
}

func TestImposeAndRelease(t *testing.T) {
	s, a := newState(&Index{}, newMemory()), newAPI()
	written(t, s, a, "d1", time.Hour, at(0))
	a.tellAll(s, at(1))
	if !inForce(s, at(1)) || s.pending != 0 {
		t.Fatal("the quarantine is not in force and written")
	}
	a.delete(podU1)
	fx := a.tellAll(s, at(2))
	if inForce(s, at(2)) || len(fx.ended) != 1 || fx.ended[0].why != endReleased {
		t.Fatalf("after a release: in force %v, effects %+v", inForce(s, at(2)), fx)
	}
	if _, outcome := s.impose(entry(t, "d1", time.Hour, at(3)), at(3)); outcome != OutcomeReleased || inForce(s, at(3)) {
		t.Errorf("the released detection came back: %v", outcome)
	}
	if _, outcome := s.impose(entry(t, "d2", time.Hour, at(3)), at(3)); outcome != OutcomeApplied || !inForce(s, at(3)) {
		t.Errorf("a new detection is %v", outcome)
	}
}

func TestRepeatsProlongAndNeverShorten(t *testing.T) {
	s := newState(&Index{}, newMemory())
	for _, step := range []struct {
		id      string
		ttl     time.Duration
		now     time.Time
		want    Outcome
		expires time.Time
	}{
		{"d1", time.Hour, at(0), OutcomeApplied, at(3600)},
		{"d1", 9 * time.Hour, at(1), OutcomeRepeated, at(3600)},
		{"d2", time.Minute, at(2), OutcomeProlonged, at(3600)},
		{"d3", time.Hour, at(60), OutcomeProlonged, at(3660)},
		{"d4", 0, at(61), OutcomeProlonged, time.Time{}},
		{"d5", time.Hour, at(62), OutcomeProlonged, time.Time{}},
	} {
		e, outcome := s.impose(entry(t, step.id, step.ttl, step.now), step.now)
		if outcome != step.want || !e.Expires.Equal(step.expires) {
			t.Errorf("%s: %v until %v, want %v until %v", step.id, outcome, e.Expires, step.want, step.expires)
		}
	}
	if s.index.Len() != 1 || s.pending != 1 {
		t.Errorf("%d entries and %d pending writes pile up for one subject", s.index.Len(), s.pending)
	}
}

func TestReleaseWhileTheCreateIsUnderWay(t *testing.T) {
	for _, watchFirst := range []bool{true, false} {
		t.Run(fmt.Sprint("the watch tells first: ", watchFirst), func(t *testing.T) {
			s, a := newState(&Index{}, newMemory()), newAPI()
			e, _ := s.impose(entry(t, "d1", time.Hour, at(0)), at(0))
			began := s.tracked[e.Name]
			answer := a.store(e.object()) // created, the answer is on its way
			a.delete(podU1)               // and somebody releases it at once
			var fx effects
			if watchFirst {
				fx = a.tellAll(s, at(1))
				s.wrote(began, e, answer, at(0), &fx)
			} else {
				s.wrote(began, e, answer, at(0), &fx)
				fx = a.tellAll(s, at(1))
			}
			if inForce(s, at(1)) {
				t.Error("a quarantine that was released is in force")
			}
			if len(s.tracked) > 0 || s.pending != 0 {
				t.Errorf("it will be written again: %+v", s.tracked[podU1])
			}
		})
	}
}

func TestLateCreateAfterARelease(t *testing.T) {
	s, a := newState(&Index{}, newMemory()), newAPI()
	e, _ := s.impose(entry(t, "d1", time.Hour, at(0)), at(0))
	began := s.tracked[e.Name]
	a.store(e.object()) // the answer to this one is lost
	a.delete(podU1)
	a.tellAll(s, at(1))
	late := a.store(e.object()) // the retry, sent before the release was known

	fx := a.tellAll(s, at(2))
	if len(fx.doom) != 1 || fx.doom[0].uid != late.UID || inForce(s, at(2)) {
		t.Errorf("the late object is in force %v, to be deleted: %+v", inForce(s, at(2)), fx.doom)
	}
	fx = effects{}
	s.wrote(began, e, late, at(0), &fx)
	if len(fx.doom) != 1 || fx.doom[0].uid != late.UID {
		t.Errorf("the late answer leaves the object alone: %+v", fx)
	}
}

func TestLateObjectDoesNotReleaseTheNextQuarantine(t *testing.T) {
	s, a := newState(&Index{}, newMemory()), newAPI()
	old, _ := s.impose(entry(t, "d1", time.Hour, at(0)), at(0))
	began := s.tracked[old.Name]
	a.store(old.object())
	a.delete(podU1)
	a.tellAll(s, at(1))
	s.impose(entry(t, "d2", time.Hour, at(2)), at(2))
	late := a.store(old.object())
	a.tellAll(s, at(3))
	var fx effects
	s.wrote(began, old, late, at(0), &fx)
	a.delete(podU1) // as the effects ask for
	a.tellAll(s, at(4))
	if !inForce(s, at(4)) || !s.tracked[podU1].dirty {
		t.Error("the end of the late object ended the new quarantine")
	}
}

func TestExpiry(t *testing.T) {
	s, a := newState(&Index{}, newMemory()), newAPI()
	written(t, s, a, "d1", time.Minute, at(0))
	a.tellAll(s, at(1))
	if inForce(s, at(60)) {
		t.Error("in force after its time, before anybody deleted it")
	}
	var fx effects
	s.end(at(59), never, &fx)
	if len(fx.doom) != 0 {
		t.Fatal("deleted before its time")
	}
	s.end(at(61), never, &fx)
	if len(fx.doom) != 1 || fx.doom[0].version == "" {
		t.Fatalf("to be deleted: %+v, want exactly this version", fx.doom)
	}
	a.delete(podU1)
	fx = a.tellAll(s, at(62))
	if len(fx.ended) != 1 || fx.ended[0].why != endExpired || len(s.tracked) != 0 {
		t.Errorf("effects %+v", fx)
	}
	if _, outcome := s.impose(entry(t, "d1", time.Hour, at(63)), at(63)); outcome != OutcomeReleased {
		t.Errorf("a replay of the expired detection is %v", outcome)
	}
}

func TestProlongedWhileItWasDeletedForExpiry(t *testing.T) {
	s, a := newState(&Index{}, newMemory()), newAPI()
	written(t, s, a, "d1", time.Minute, at(0))
	a.tellAll(s, at(1))
	var fx effects
	s.end(at(61), never, &fx)
	s.impose(entry(t, "d2", time.Hour, at(61)), at(61))
	a.delete(podU1) // the deletion had been sent already
	fx = a.tellAll(s, at(62))
	if !inForce(s, at(62)) || !slices.Contains(fx.write, podU1) || len(fx.ended) != 0 {
		t.Errorf("the new quarantine went with the old object: %+v", fx)
	}
	if s.tracked[podU1].uid != "" {
		t.Error("the write would change an object that is gone")
	}
}

func TestPodGone(t *testing.T) {
	s, a := newState(&Index{}, newMemory()), newAPI()
	written(t, s, a, "d1", 0, at(0))
	var fx effects
	s.end(at(1), func(uid string) bool { return uid == "u1" }, &fx)
	if len(fx.doom) != 1 {
		t.Fatalf("to be deleted: %+v", fx.doom)
	}
	a.delete(podU1)
	if fx = a.tellAll(s, at(2)); len(fx.ended) != 1 || fx.ended[0].why != endPodGone {
		t.Errorf("ended: %+v", fx.ended)
	}
	s.impose(entry(t, "d2", 0, at(3)), at(3))
	fx = effects{}
	s.end(at(4), func(string) bool { return true }, &fx)
	if len(fx.doom) != 0 || len(s.tracked) != 0 || s.pending != 0 {
		t.Errorf("one that never got an object: %+v, %d tracked, %d pending", fx, len(s.tracked), s.pending)
	}
}

func never(string) bool { return false }

func TestRelist(t *testing.T) {
	s, a := newState(&Index{}, newMemory()), newAPI()
	written(t, s, a, "d1", time.Hour, at(0))
	before := strconv.FormatUint(a.version-1, 10)
	var fx effects
	s.replaced(nil, before, at(1), &fx)
	if !inForce(s, at(1)) {
		t.Error("a list older than the object released it")
	}
	s.impose(mustUser(t, "d2", at(1)), at(1))
	s.replaced(nil, strconv.FormatUint(a.version+1, 10), at(2), &fx)
	if inForce(s, at(2)) {
		t.Error("an object that is not on a newer list is in force")
	}
	if s.index.Len() != 1 || s.pending != 1 {
		t.Error("a quarantine not written yet was released by a list")
	}
	hand := byHand("by-hand", time.Time{})
	s.replaced([]*v1alpha1.Quarantine{a.store(hand)}, strconv.FormatUint(a.version, 10), at(3), &fx)
	if !inForce(s, at(3)) {
		t.Error("one that people made while nobody watched is not in force")
	}
}

func mustUser(t *testing.T, id string, now time.Time) *Entry {
	t.Helper()
	return entryFor(t, detection(id), Spec{Subject: v1alpha1.SubjectUser, TTL: time.Hour}, now)
}

// byHand is a quarantine of the pod u1 as people make it.
func byHand(name string, expires time.Time) *v1alpha1.Quarantine {
	q := &v1alpha1.Quarantine{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.QuarantineSpec{
		Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: "u1", Namespace: "shop", Name: "web-0"},
		Reason:  "we look into it",
	}}
	if !expires.IsZero() {
		q.Spec.ExpiresAt = &metav1.Time{Time: expires}
	}
	return q
}

func TestByHand(t *testing.T) {
	s, a := newState(&Index{}, newMemory()), newAPI()
	a.store(byHand(podU1, time.Time{}))
	a.tellAll(s, at(0))
	e, outcome := s.impose(entry(t, "d1", time.Hour, at(1)), at(1))
	if outcome != OutcomeProlonged || e.Reason != "we look into it" || s.pending != 0 {
		t.Errorf("a rule rewrites what people made for longer: %+v, %d pending", e, s.pending)
	}
	a.store(byHand("another", time.Time{}))
	a.tellAll(s, at(2))
	a.delete(podU1)
	a.tellAll(s, at(3))
	if !inForce(s, at(3)) {
		t.Error("releasing one of two quarantines released both")
	}
	a.delete("another")
	a.tellAll(s, at(4))
	if inForce(s, at(4)) {
		t.Error("releasing both did not")
	}
}

func TestStaleWatchEvent(t *testing.T) {
	s, a := newState(&Index{}, newMemory()), newAPI()
	q := a.store(byHand("h", at(100)))
	newer := q.DeepCopy()
	newer.Spec.ExpiresAt = &metav1.Time{Time: at(200)}
	a.store(newer)
	a.tellAll(s, at(0))
	var fx effects
	s.observed(q, at(0), &fx)
	if !inForce(s, at(150)) {
		t.Error("an old state of the object replaced a newer one")
	}
	newer.DeletionTimestamp = &metav1.Time{Time: at(1)}
	s.observed(newer, at(1), &fx)
	if inForce(s, at(2)) {
		t.Error("an object that is being deleted is in force")
	}
}

// flight is a write that was begun and not finished.
type flight struct {
	t        *tracked
	e        *Entry
	uid      types.UID
	answer   *v1alpha1.Quarantine
	notFound bool
}

// sim plays a Manager's writers, an API server, a lagging watch and a person at
// random over one subject.
type sim struct {
	rng     *rand.Rand
	s       *state
	a       *api
	now     time.Time
	next    int
	flights []flight
	todo    effects
	// want is what must hold in the end: nil for either.
	want *bool
	// blurred: a list came in place of deletions that the watch would have told. When
	// they were, before or after a detection, nobody can know any more.
	blurred bool
}

func (m *sim) impose(t testing.TB) {
	m.next++
	certain := m.settledForPerson() && !m.blurred
	_, outcome := m.s.impose(entry(t, fmt.Sprint("d", m.next), time.Hour, m.now), m.now)
	if outcome != OutcomeApplied && outcome != OutcomeProlonged {
		t.Fatalf("a new detection is %v", outcome)
	}
	m.todo.write = append(m.todo.write, podU1)
	m.want = nil
	if certain {
		m.want = new(bool)
		*m.want = true
	}
}

// settledForPerson reports that no deletion is on its way through the watch: a
// detection before it is told belongs to what was released, or not, as it happens.
func (m *sim) settledForPerson() bool {
	return !slices.ContainsFunc(m.a.log, func(c change) bool { return c.deleted })
}

func (m *sim) release() {
	q, ok := m.a.objects[podU1]
	if !ok || over(m.s, q.Spec.Detection.ID) {
		return // nothing to release, or a remnant that is about to go
	}
	m.a.delete(podU1)
	m.want = new(bool)
	if t := m.s.tracked[podU1]; t != nil && !slices.Contains(t.detections, q.Spec.Detection.ID) {
		m.want = nil // it belongs to an earlier quarantine of the subject
	}
}

// begin starts a write as Manager.write does; the API server acts at once, the
// answer is on its way.
func (m *sim) begin() {
	if len(m.todo.write) == 0 || len(m.flights) > 0 {
		return // the queue hands out one task of a name at a time
	}
	m.todo.write = m.todo.write[1:]
	t := m.s.tracked[podU1]
	if t == nil || !t.dirty {
		return
	}
	f := flight{t: t, e: t.entry, uid: t.uid}
	cur, exists := m.a.objects[podU1]
	switch {
	case f.uid == "" && !exists:
		f.answer = m.a.store(f.e.object())
	case !exists || f.uid != "" && cur.UID != f.uid:
		f.notFound = true
	case m.s.revenant(cur):
		m.a.delete(podU1)
		m.todo.write = append(m.todo.write, podU1)
		return
	default:
		next := cur.DeepCopy()
		next.Spec = entryOf(cur).merge(f.e).spec()
		f.answer = m.a.store(next)
	}
	if f.answer != nil && m.rng.IntN(5) == 0 {
		m.todo.write = append(m.todo.write, podU1) // the answer is lost: try again
		return
	}
	m.flights = append(m.flights, f)
}

func (m *sim) finish() {
	if len(m.flights) == 0 {
		return
	}
	f := m.flights[0]
	m.flights = m.flights[1:]
	if f.notFound {
		m.s.vanished(f.t, f.uid, m.now, &m.todo)
		return
	}
	m.s.wrote(f.t, f.e, f.answer, m.now, &m.todo)
}

func (m *sim) doom() {
	if len(m.todo.doom) == 0 {
		return
	}
	d := m.todo.doom[0]
	m.todo.doom = m.todo.doom[1:]
	if q, ok := m.a.objects[d.name]; ok && q.UID == d.uid {
		m.a.delete(d.name)
	}
}

func (m *sim) watch() {
	if len(m.a.log) > 0 {
		m.a.tell(m.s, m.now, &m.todo)
	}
}

func (m *sim) relist() {
	t := m.s.tracked[podU1]
	for _, c := range m.a.log {
		if !c.deleted {
			continue
		}
		m.blurred = true
		answered := slices.ContainsFunc(m.flights, func(f flight) bool { return f.answer != nil && f.answer.UID == c.q.UID })
		if t != nil && t.uid != c.q.UID && !answered {
			// Neither an answer nor the watch will ever say that there was this object.
			m.want = nil
		}
	}
	m.a.log = nil
	m.s.replaced(slices.Collect(maps.Values(m.a.objects)), strconv.FormatUint(m.a.version, 10), m.now, &m.todo)
}

func (m *sim) settle() {
	for len(m.a.log)+len(m.flights)+len(m.todo.write)+len(m.todo.doom) > 0 {
		m.watch()
		m.finish()
		m.doom()
		m.begin()
	}
}

// TestReleaseWinsWhateverTheOrder interleaves detections, writes, lost answers,
// releases, watch events and relists at random. In the end the index must agree
// with the API server, a release that came last must hold, and so must a
// detection that came last.
func TestReleaseWinsWhateverTheOrder(t *testing.T) {
	for seed := range uint64(20_000) {
		m := &sim{rng: rand.New(rand.NewPCG(seed, 11)), s: newState(&Index{}, newMemory()), a: newAPI(), now: at(0)}
		for range 3 + m.rng.IntN(25) {
			m.now = m.now.Add(time.Second)
			switch m.rng.IntN(12) {
			case 0, 1:
				m.impose(t)
			case 2, 3:
				m.release()
			case 4, 5:
				m.begin()
			case 6, 7:
				m.finish()
			case 8, 9, 10:
				m.watch()
			case 11:
				if m.rng.IntN(4) == 0 {
					m.relist()
				} else {
					m.doom()
				}
			}
		}
		m.settle()
		_, stored := m.a.objects[podU1]
		if got := inForce(m.s, m.now); got != stored {
			t.Fatalf("seed %d: in force %v, stored %v", seed, got, stored)
		} else if m.want != nil && got != *m.want {
			t.Fatalf("seed %d: in force %v, want %v", seed, got, *m.want)
		}
		if m.s.pending != 0 {
			t.Fatalf("seed %d: %d pending", seed, m.s.pending)
		}
	}
}
