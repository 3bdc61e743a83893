package correlator

import (
	"encoding/hex"
	"strings"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/event/packed"
)

// hitOverhead is about what a hit costs the engine and the store, besides its texts.
const hitOverhead = 176

// store keeps the events of open sequences. There may be a million, and few are
// looked at again: they are packed, and what many events have in common is kept
// once.
type store struct {
	packer *packed.Packer
	parts  map[string]*part
	// owners have accounts of it while there is too much, nil otherwise: it takes as much to know
	// who keeps how much as to keep some of it. perHit is what a hit weighs besides its bytes.
	owners *owners
	perHit int64
	// born counts the parts, name is where owners' names are put together.
	born uint32
	name []byte
	// bytes is about what the parts take.
	bytes int64
	// last is the event that was kept last. The candidates of one event come one
	// after the other, and share what is kept of it.
	last     *event.Event
	lastKept kept
}

// kept is one event, for one hit.
type kept struct {
	own  string
	part *part
}

// part is what the events of one pod, or the requests of one user, have in
// common. Whose they are is among that.
type part struct {
	text, owner string
	// hits is how many are kept of those events, and bytes what they take besides.
	bytes int64
	hits  int32
	// born tells parts apart that came earlier.
	born uint32
}

func newStore(perHit int64) *store {
	return &store{packer: packed.NewPacker(), parts: map[string]*part{}, perHit: perHit}
}

// keep keeps an event for one more hit.
func (s *store) keep(e *event.Event) *kept {
	if s.last != e {
		s.last, s.lastKept = e, s.pack(e)
	}
	k := s.lastKept
	k.part.hits++
	k.part.bytes += int64(k.size())
	if s.owners != nil {
		s.charge(k.part, 1, int64(k.size()))
	}
	return &k
}

func (s *store) pack(e *event.Event) kept {
	if e.ID == e.Request && len(tieOf(e)) == digestSize { // The hit has it.
		anonymous := *e
		anonymous.ID, anonymous.Request = "", ""
		e = &anonymous
	}
	own, common := s.packer.Pack(e)
	p := s.parts[string(common)]
	if p == nil {
		s.name = e.AppendOwner(s.name[:0])
		s.born++
		p = &part{text: string(common), owner: string(s.name), born: s.born}
		s.parts[p.text] = p
		s.bytes += p.size()
	}
	return kept{own: string(own), part: p}
}

func (p *part) size() int64 { return int64(len(p.text)) + entryOverhead + textOverhead }

// release gives up what was kept for one hit.
func (s *store) release(k *kept) {
	p := k.part
	p.hits--
	p.bytes -= int64(k.size())
	if s.owners != nil {
		s.charge(p, -1, -int64(k.size()))
	}
	if p.hits > 0 {
		return
	}
	delete(s.parts, p.text)
	s.bytes -= p.size()
	if s.last != nil && s.lastKept.part == p {
		s.last, s.lastKept = nil, kept{} // It must not come back without its part.
	}
}

// charge charges a part's owner for hits of so many bytes: for the part as well
// with the first of them, and until the last is gone.
func (s *store) charge(p *part, hits int, bytes int64) {
	weight := bytes + int64(hits)*s.perHit
	switch {
	case hits > 0 && p.hits == int32(hits): //nolint:gosec // as many as the part has
		weight += p.size()
	case p.hits == 0:
		weight -= p.size()
	}
	s.owners.charge(p.owner, p.born, hits, weight)
}

// account finds out who keeps how much, and keeps that up to date from now on.
func (s *store) account() {
	s.owners = newOwners()
	for _, p := range s.parts {
		s.charge(p, int(p.hits), p.bytes)
	}
}

// favour notes which rule keeps a hit of an owner.
func (s *store) favour(k *kept, r *joined) {
	if s.owners == nil {
		return
	}
	if of := s.owners.byName[k.part.owner]; of != nil {
		of.recent = r
	}
}

// event returns the event that was kept for a hit, or one that equals it.
func (s *store) event(k *kept, tie string) *event.Event {
	if s.last != nil && *k == s.lastKept && tie == tieOf(s.last) {
		return s.last
	}
	e, err := s.packer.Unpack(k.own, k.part.text)
	if err != nil { // It is as it was packed, in memory.
		panic(err)
	}
	if e.ID == "" {
		e.ID = requestOfTie(tie)
		e.Request = e.ID
	}
	return e
}

// size is about what a hit of the event costs.
func (k *kept) size() int { return hitOverhead + len(k.own) }

// digestSize is how long what tells requests apart is, in bytes.
const digestSize = 16

// tieOf is what tells the requests of one moment apart, and orders them: the
// digest that a request goes by, at half the length that it has as text. What
// else may stand there, in events from documents, is never as long.
func tieOf(e *event.Event) string {
	request := requestOf(e)
	if len(request) == 2*digestSize {
		if b, err := hex.DecodeString(request); err == nil && hex.EncodeToString(b) == request {
			return string(b)
		}
	}
	if len(request) >= digestSize && strings.Trim(request[digestSize:], "\n") == "" {
		return request + "\n"
	}
	return request
}

// requestOfTie is what tieOf made a tie of.
func requestOfTie(tie string) string {
	switch {
	case len(tie) == digestSize:
		return hex.EncodeToString([]byte(tie))
	case len(tie) > digestSize && strings.Trim(tie[digestSize:], "\n") == "":
		return tie[:len(tie)-1]
	default:
		return tie
	}
}
