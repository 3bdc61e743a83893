package auditsink

import (
	"hash/maphash"
	"sync"

	"github.com/portcullis-dev/portcullis/event"
)

// rememberedIDs is how many audit IDs are remembered: of ten minutes at a hundred requests a second.
const rememberedIDs = 1 << 16

// auditIDs finds requests that come with the Audit-ID of another one. The client may choose it, and honest
// clients do not, or choose a new one each time; the same one twice is how somebody would hide a call from
// whoever believes that it is unique. Here nobody does: this finds whoever tries.
//
// What may well come again is the same event (deliveries repeat), further stages of the same request, and the
// same request at another API server: one that aggregates APIs passes the request on with its ID.
//
// The memory is bounded: an ID that was pushed out by newer ones can be used again unnoticed.
type auditIDs struct {
	seed maphash.Seed

	mu    sync.Mutex
	uses  map[uint64]*use // by the ID's hash
	order [rememberedIDs]uint64
	next  int
}

// use is the first request that came with an ID, by hashes.
type use struct {
	source, request, content uint64
	// stages has the hash of the event of each stage.
	stages [maxStages]stageUse
}

type stageUse struct{ stage, event uint64 }

// maxStages is how many stages a request can have: received, started, complete and panic.
const maxStages = 4

func newAuditIDs() *auditIDs {
	return &auditIDs{seed: maphash.MakeSeed(), uses: make(map[uint64]*use)}
}

// mark sets the flag of events whose audit ID was used before by something else, and returns how many there are.
func (a *auditIDs) mark(events []*event.Event) (reused int) {
	for _, e := range events {
		if e.Audit.AuditID != "" && a.isReused(e) {
			e.Audit.AuditIDReused = true
			reused++
		}
	}
	return reused
}

func (a *auditIDs) isReused(e *event.Event) bool {
	id := a.hash(e.Audit.AuditID)
	now := use{source: a.hash(e.Source), request: a.hash(e.Request), content: a.content(e.Audit)}
	stage := stageUse{stage: a.hash(e.Audit.Stage), event: a.hash(e.ID)}
	a.mu.Lock()
	defer a.mu.Unlock()
	first := a.uses[id]
	switch {
	case first == nil:
		now.add(stage)
		a.remember(id, &now)
		return false
	case first.request == now.request:
		return !first.add(stage)
	default:
		passedOn := first.source != now.source && first.content == now.content
		return !passedOn
	}
}

// add notes a stage of the request. It reports false if the stage is known with another content.
func (u *use) add(s stageUse) bool {
	for i := range u.stages {
		switch u.stages[i] {
		case s:
			return true
		case stageUse{}:
			u.stages[i] = s
			return true
		}
		if u.stages[i].stage == s.stage {
			return false
		}
	}
	return false
}

func (a *auditIDs) remember(id uint64, u *use) {
	if len(a.uses) == rememberedIDs {
		delete(a.uses, a.order[a.next])
	}
	a.uses[id] = u
	a.order[a.next] = id
	a.next = (a.next + 1) % rememberedIDs
}

// content is what a request keeps when one API server passes it on to another.
func (a *auditIDs) content(r *event.Audit) uint64 {
	return a.hash(r.Verb, r.RequestURI, r.User.Username)
}

// hash is keyed, so that nobody can look for two IDs that are one.
func (a *auditIDs) hash(texts ...string) uint64 {
	var h maphash.Hash
	h.SetSeed(a.seed)
	for _, text := range texts {
		maphash.WriteComparable(&h, text)
	}
	return h.Sum64()
}
