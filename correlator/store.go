package correlator

import (
	"encoding/hex"

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
	// bytes is about what the parts take.
	bytes int64
	// last is the event that was kept last. The candidates of one event come one
	// after the other, and share what is kept of it.
	last     *event.Event
	lastKept *kept
}

// kept is one event.
type kept struct {
	own  string
	part *part
}

// part is what the events of one pod, or the requests of one user, have in
// common; hits is how many are kept of those events.
type part struct {
	text string
	hits int
}

func newStore() *store { return &store{packer: packed.NewPacker(), parts: map[string]*part{}} }

// keep keeps an event for one more hit.
func (s *store) keep(e *event.Event) *kept {
	if s.last != e {
		s.last, s.lastKept = e, s.pack(e)
	}
	s.lastKept.part.hits++
	return s.lastKept
}

func (s *store) pack(e *event.Event) *kept {
	if e.ID == e.Request && len(tieOf(e)) == digestSize { // The hit has it.
		anonymous := *e
		anonymous.ID, anonymous.Request = "", ""
		e = &anonymous
	}
	own, common := s.packer.Pack(e)
	p := s.parts[string(common)]
	if p == nil {
		p = &part{text: string(common)}
		s.parts[p.text] = p
		s.bytes += p.size()
	}
	return &kept{own: string(own), part: p}
}

func (p *part) size() int64 { return int64(len(p.text)) + entryOverhead + textOverhead }

// release gives up what was kept for one hit.
func (s *store) release(payload any) {
	p := payload.(*kept).part // the join hands the engines nothing else
	if p.hits--; p.hits > 0 {
		return
	}
	delete(s.parts, p.text)
	s.bytes -= p.size()
	if s.lastKept != nil && s.lastKept.part == p {
		s.last, s.lastKept = nil, nil // It must not come back without its part.
	}
}

// event returns the event that was kept for a hit, or one that equals it.
func (s *store) event(k *kept, tie string) *event.Event {
	if k == s.lastKept {
		return s.last
	}
	e, err := s.packer.Unpack(k.own, k.part.text)
	if err != nil { // It is as it was packed, in memory.
		panic(err)
	}
	if e.ID == "" {
		e.ID = hex.EncodeToString([]byte(tie))
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
	if len(request) == digestSize {
		return request + "\n"
	}
	return request
}
