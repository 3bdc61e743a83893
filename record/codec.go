package record

import (
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/portcullis-dev/portcullis/event"
)

// encoding is the version of what a value holds: its first byte. Fields that are
// added need no new one.
const encoding = 1

// The bounds of a record, so that no detection takes the room of many. Subjects beyond the
// bound are acted on, but not remembered.
const (
	maxText        = 256
	maxQuarantines = 64
	maxValue       = 64 << 10
)

// codec turns records into values and back: the version, then CBOR (RFC 8949) with
// numbers for the fields' names. The numbers are for ever.
type codec struct {
	encode cbor.EncMode
	decode cbor.DecMode
}

type stored struct {
	Rule         string             `cbor:"1,keyasint,omitempty"`
	State        event.State        `cbor:"2,keyasint,omitempty"`
	SupersededBy string             `cbor:"3,keyasint,omitempty"`
	Action       event.Action       `cbor:"4,keyasint,omitempty"`
	Why          string             `cbor:"5,keyasint,omitempty"`
	Quarantines  []storedQuarantine `cbor:"6,keyasint,omitempty"`
	Told         uint64             `cbor:"7,keyasint,omitempty"`
	Begun        int64              `cbor:"8,keyasint,omitempty"` // milliseconds
}

type storedQuarantine struct {
	Object  string     `cbor:"1,keyasint,omitempty"`
	Whom    string     `cbor:"2,keyasint,omitempty"`
	Expires int64      `cbor:"3,keyasint,omitempty"` // seconds
	Written bool       `cbor:"4,keyasint,omitempty"`
	Ended   *storedEnd `cbor:"5,keyasint,omitempty"`
}

type storedEnd struct {
	Why string `cbor:"1,keyasint,omitempty"`
	By  string `cbor:"2,keyasint,omitempty"`
	At  int64  `cbor:"3,keyasint,omitempty"` // seconds
}

func newCodec() (*codec, error) {
	encode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		return nil, fmt.Errorf("set up the encoder: %w", err)
	}
	decode, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		UTF8:             cbor.UTF8DecodeInvalid, // a name that was cut may end within a character
		MaxNestedLevels:  8,
		MaxArrayElements: 1024,
		MaxMapPairs:      64,
	}.DecMode()
	if err != nil {
		return nil, fmt.Errorf("set up the decoder: %w", err)
	}
	return &codec{encode: encode, decode: decode}, nil
}

func (c *codec) marshal(r *Record) ([]byte, error) {
	s := stored{
		Rule: cut(r.Rule), State: r.State, SupersededBy: cut(r.SupersededBy),
		Action: r.Action, Why: cut(r.Why), Told: r.Told, Begun: number(r.Begun, time.Time.UnixMilli),
	}
	for _, q := range r.Quarantines[:min(len(r.Quarantines), maxQuarantines)] {
		out := storedQuarantine{
			Object: cut(q.Object), Whom: cut(q.Whom),
			Expires: number(q.Expires, time.Time.Unix), Written: q.Written,
		}
		if e := q.Ended; e != nil {
			out.Ended = &storedEnd{Why: e.Why, By: cut(e.By), At: number(e.At, time.Time.Unix)}
		}
		s.Quarantines = append(s.Quarantines, out)
	}
	value, err := c.encode.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	return append([]byte{encoding}, value...), nil
}

func (c *codec) unmarshal(value []byte) (*Record, error) {
	switch {
	case len(value) == 0:
		return nil, errors.New("empty record")
	case len(value) > maxValue:
		return nil, fmt.Errorf("record of %d bytes, at most %d are allowed", len(value), maxValue)
	case value[0] != encoding:
		return nil, fmt.Errorf("record of encoding %d, this version reads %d", value[0], encoding)
	}
	var s stored
	if err := c.decode.Unmarshal(value[1:], &s); err != nil {
		return nil, fmt.Errorf("decode record: %w", err)
	}
	r := &Record{
		Rule: s.Rule, State: s.State, SupersededBy: s.SupersededBy, Action: s.Action, Why: s.Why,
		Told: s.Told, Begun: moment(s.Begun, time.UnixMilli),
	}
	for _, q := range s.Quarantines {
		in := Quarantine{Object: q.Object, Whom: q.Whom, Expires: moment(q.Expires, seconds), Written: q.Written}
		if q.Ended != nil {
			in.Ended = &End{Why: q.Ended.Why, By: q.Ended.By, At: moment(q.Ended.At, seconds)}
		}
		r.Quarantines = append(r.Quarantines, in)
	}
	return r, nil
}

// number is a time as it is stored: 0 for the zero time.
func number(t time.Time, as func(time.Time) int64) int64 {
	if t.IsZero() {
		return 0
	}
	return as(t)
}

func moment(n int64, as func(int64) time.Time) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return as(n).UTC()
}

func seconds(n int64) time.Time { return time.Unix(n, 0) }

func cut(s string) string { return s[:min(len(s), maxText)] }
