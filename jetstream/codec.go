package jetstream

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/fxamacker/cbor/v2"
	"github.com/klauspost/compress/s2"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/event"
)

// encoding is the version of what a message holds: its first byte. Fields that are added to
// event.Event or bus.Candidate need no new one: they are stored by name, and absent in what was
// stored before. One that is renamed, or changes its meaning, does.
const encoding = 1

// maxDecoded bounds what a message may decompress to.
const maxDecoded = 64 << 20

// codec turns candidates into a message and back: the version, then, compressed,
// CBOR (RFC 8949) with the names of Go's fields, so that nothing can be
// forgotten. The same candidates are always the same bytes.
type codec struct {
	encode cbor.UserBufferEncMode
	decode cbor.DecMode
	// buffers are *buffers, for what is between candidates and messages.
	buffers sync.Pool
}

// buffers are used for one message at a time.
type buffers struct {
	plain  bytes.Buffer
	packed []byte
}

// keepBuffer is how large a buffer may be to be used again.
const keepBuffer = 4 << 20

// free gives buffers back.
func (c *codec) free(b *buffers) {
	if b.plain.Cap()+cap(b.packed) <= keepBuffer {
		b.plain.Reset()
		c.buffers.Put(b)
	}
}

// message is what is stored: each event once, however many candidates it is.
type message struct {
	_          struct{} `cbor:",toarray"`
	Events     []*event.Event
	Candidates []stored
}

// stored is a candidate whose event is one of the message's.
type stored struct {
	_         struct{} `cbor:",toarray"`
	Event     uint32
	Candidate bus.Candidate // without its event
}

func newCodec() (*codec, error) {
	encode, err := cbor.EncOptions{
		Sort: cbor.SortBytewiseLexical, // of maps: Go's have no order
		Time: cbor.TimeRFC3339NanoUTC,
	}.UserBufferEncMode()
	if err != nil {
		return nil, fmt.Errorf("set up the encoder: %w", err)
	}
	decode, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		UTF8:              cbor.UTF8DecodeInvalid, // a command line is whatever bytes it is
		MaxNestedLevels:   16,
		TagsMd:            cbor.TagsAllowed, // times are tagged
	}.DecMode()
	if err != nil {
		return nil, fmt.Errorf("set up the decoder: %w", err)
	}
	return &codec{encode: encode, decode: decode, buffers: sync.Pool{New: func() any { return new(buffers) }}}, nil
}

// marshal encodes candidates in their order.
func (c *codec) marshal(candidates []bus.Candidate) ([]byte, error) {
	m := message{Candidates: make([]stored, len(candidates))}
	index := make(map[*event.Event]uint32)
	for i, candidate := range candidates {
		e := candidate.Event
		at, ok := index[e]
		if !ok {
			at = uint32(len(m.Events)) //nolint:gosec // far fewer
			index[e] = at
			m.Events = append(m.Events, e)
		}
		candidate.Event = nil
		m.Candidates[i] = stored{Event: at, Candidate: candidate}
	}
	b := c.buffers.Get().(*buffers) // the pool makes nothing else
	defer c.free(b)
	if err := c.encode.MarshalToBuffer(m, &b.plain); err != nil {
		return nil, err
	}
	if b.plain.Len() > maxDecoded {
		return nil, errTooLarge
	}
	b.packed = s2.Encode(b.packed[:cap(b.packed)], b.plain.Bytes())
	return append(append(make([]byte, 0, 1+len(b.packed)), encoding), b.packed...), nil
}

var errTooLarge = errors.New("too large")

// unmarshal decodes a message. Its events are new, and shared by its candidates
// as they were when it was encoded.
func (c *codec) unmarshal(data []byte) ([]bus.Candidate, error) {
	switch {
	case len(data) == 0:
		return nil, errors.New("empty message")
	case data[0] != encoding:
		return nil, fmt.Errorf("message of encoding %d, this version reads %d", data[0], encoding)
	}
	size, err := s2.DecodedLen(data[1:])
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if size > maxDecoded {
		return nil, fmt.Errorf("decompress: %d bytes, at most %d are allowed", size, maxDecoded)
	}
	b := c.buffers.Get().(*buffers) // the pool makes nothing else
	defer c.free(b)
	if b.packed, err = s2.Decode(b.packed[:cap(b.packed)], data[1:]); err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	var m message
	if err = c.decode.Unmarshal(b.packed, &m); err != nil { // It copies all that it keeps.
		return nil, fmt.Errorf("decode: %w", err)
	}
	return m.candidates()
}

func (m *message) candidates() ([]bus.Candidate, error) {
	candidates := make([]bus.Candidate, len(m.Candidates))
	for i, s := range m.Candidates {
		if int(s.Event) >= len(m.Events) || m.Events[s.Event] == nil {
			return nil, fmt.Errorf("candidate %d names event %d, which is not there", i, s.Event)
		}
		candidates[i] = s.Candidate
		candidates[i].Event = m.Events[s.Event]
	}
	return candidates, nil
}
