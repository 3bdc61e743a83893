package auditsink

import (
	"encoding/binary"
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

	mu sync.Mutex
	// places are where each ID's use is, by the ID's hash. The uses are a ring.
	places map[uint64]int32
	uses   []use
	next   int
}

// use is the first request that came with an ID, by hashes.
type use struct {
	id, source, request, content uint64
	// stages has the hash of the event of each stage.
	stages [maxStages]stageUse
}

type stageUse struct{ stage, event uint64 }

// maxStages is how many stages a request can have: received, started, complete and panic.
const maxStages = 4

func newAuditIDs() *auditIDs {
	return &auditIDs{seed: maphash.MakeSeed(), places: make(map[uint64]int32)}
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
	now := use{
		id: a.hash(e.Audit.AuditID), source: a.hash(e.Source), request: a.request(e),
		content: a.hash(e.Audit.Verb, e.Audit.RequestURI, e.Audit.User.Username),
	}
	stage := stageUse{stage: a.hash(e.Audit.Stage), event: a.hash(e.Source, e.Delivered)}
	a.mu.Lock()
	defer a.mu.Unlock()
	place, known := a.places[now.id]
	if !known {
		now.add(stage)
		a.remember(&now)
		return false
	}
	first := &a.uses[place]
	if first.request == now.request {
		return !first.add(stage)
	}
	// One API server passes a request on to another.
	passedOn := first.source != now.source && first.content == now.content
	return !passedOn
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

func (a *auditIDs) remember(u *use) {
	if len(a.uses) < rememberedIDs {
		a.uses = append(a.uses, *u)
	} else {
		delete(a.places, a.uses[a.next].id)
		a.uses[a.next] = *u
	}
	a.places[u.id] = int32(a.next) //nolint:gosec // below rememberedIDs
	a.next = (a.next + 1) % rememberedIDs
}

// request tells requests apart as event.RequestOf does, in a hundredth of the time.
func (a *auditIDs) request(e *event.Event) uint64 {
	r, u := e.Audit, &e.Audit.User
	var h maphash.Hash
	h.SetSeed(a.seed)
	write(&h, e.Source, r.Verb, r.RequestURI, r.UserAgent, u.Username, u.UID)
	writeNumber(&h, e.Time.UnixNano())
	writeList(&h, r.SourceIPs)
	writeList(&h, u.Groups)
	var extra uint64 // of all, in no order
	for key, texts := range u.Extra {
		var each maphash.Hash
		each.SetSeed(a.seed)
		write(&each, key)
		writeList(&each, texts)
		extra += each.Sum64()
	}
	writeNumber(&h, int64(extra))
	return h.Sum64()
}

// hash is keyed, so that nobody can look for two IDs that are one.
func (a *auditIDs) hash(texts ...string) uint64 {
	if len(texts) == 1 {
		return maphash.String(a.seed, texts[0])
	}
	var h maphash.Hash
	h.SetSeed(a.seed)
	write(&h, texts...)
	return h.Sum64()
}

func write(h *maphash.Hash, texts ...string) {
	for _, text := range texts {
		writeNumber(h, int64(len(text)))
		_, _ = h.WriteString(text)
	}
}

func writeNumber(h *maphash.Hash, n int64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(n)) //nolint:gosec // bits are bits
	_, _ = h.Write(b[:])
}

func writeList(h *maphash.Hash, texts []string) {
	writeNumber(h, int64(len(texts)))
	write(h, texts...)
}
