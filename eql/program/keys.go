package program

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// MaxKeys is how many keys one event can have in one stage. A key of several
// values stands for each of them, several such keys for every combination; an
// attacker who fills two lists must not make an event a million times as costly.
const MaxKeys = 256

// key is one of the fields by which a stage joins.
type key struct {
	slot int
	// known is false for fields that no event has.
	known bool
	// optional says that the field's absence is a value like any other.
	optional bool
}

func (c compiler) key(f *ast.Field) key {
	known, ok := c.info.Fields[f]
	return key{slot: known.Slot, known: ok, optional: f.Optional}
}

func (k key) value(r value.Record) value.Value {
	if !k.known {
		return value.Missing()
	}
	return r.Field(k.slot)
}

// Joined returns how many fields the stage joins by.
func (s *Stage) Joined() int { return len(s.keys) }

// JoinsLike reports whether the stages join by the same fields: then they have
// the same Keys for every event.
func (s *Stage) JoinsLike(other *Stage) bool { return slices.Equal(s.keys, other.keys) }

// Keys appends the keys by which an event joins in this stage, and returns how
// many more there would have been beyond MaxKeys. Two events join if they have a
// key in common.
//
// There is one key, the empty one, if the stage has no by; none if a field is
// missing that was not written ?field; and several if a field has several
// values. A key stands for the values of all fields, each with its type and
// length, so that no two lists of values share one; a reference is in it by its
// key, and joins with nothing if it has none. Keys are not for people to read,
// and have at most 32 bytes.
func (s *Stage) Keys(r value.Record, dst []string) (keys []string, dropped int) {
	var buf [128]byte
	b := buf[:0]
	for _, k := range s.keys {
		v := k.value(r)
		if v.Len() > 1 {
			return s.product(r, dst)
		}
		var ok bool
		if b, ok = k.appendPart(b, v); !ok {
			return dst, 0
		}
	}
	return append(dst, short(b)), 0
}

// short returns what stands for an encoded list of values: itself, or its digest
// if that is shorter. Their lengths differ, so that neither is taken for the other.
func short(b []byte) string {
	if len(b) < sha256.Size {
		return string(b)
	}
	digest := sha256.Sum256(b)
	return string(digest[:])
}

// product is Keys where at least one field has several values.
func (s *Stage) product(r value.Record, dst []string) (keys []string, dropped int) {
	parts := make([][]string, len(s.keys))
	total := 1
	for i, k := range s.keys {
		if parts[i] = k.parts(k.value(r)); len(parts[i]) == 0 {
			return dst, 0
		}
		total = min(total*len(parts[i]), math.MaxInt32)
	}
	at := make([]int, len(parts))
	var b []byte
	for range min(total, MaxKeys) {
		b = b[:0]
		for i, list := range parts {
			b = append(b, list[at[i]]...)
		}
		dst = append(dst, short(b))
		for i := len(at) - 1; i >= 0; i-- { // count up, the last place fastest
			if at[i]++; at[i] < len(parts[i]) {
				break
			}
			at[i] = 0
		}
	}
	return dst, max(0, total-MaxKeys)
}

// parts returns the encoded values of one field, each once.
func (k key) parts(v value.Value) []string {
	if v.Len() <= 1 {
		if b, ok := k.appendPart(nil, v); ok {
			return []string{string(b)}
		}
		return nil
	}
	var out []string
	seen := make(map[string]struct{}, v.Len())
	for i := range v.Len() {
		b, _ := k.appendPart(nil, v.At(i))
		part := string(b)
		if _, again := seen[part]; !again {
			seen[part] = struct{}{}
			out = append(out, part)
		}
	}
	return out
}

// appendPart appends one value so that where it ends, and of what type it is,
// can be told from its bytes. It returns false for what joins with nothing.
func (k key) appendPart(b []byte, v value.Value) ([]byte, bool) {
	switch v.Kind() {
	case value.KindString:
		switch {
		case !v.IsRef():
			return appendText(append(b, 's'), v.Text()), true
		case v.Key() != "":
			return appendText(append(b, 'r'), v.Key()), true
		default:
			return b, false
		}
	case value.KindStrings: // of one value
		return appendText(append(b, 's'), v.Texts()[0]), true
	case value.KindInt:
		return appendBits(append(b, 'i'), uint64(v.Int())), true //nolint:gosec // the bits are what counts
	case value.KindFloat:
		f := v.Float()
		if i := int64(f); float64(i) == f && math.Abs(f) < 1<<53 {
			return appendBits(append(b, 'i'), uint64(i)), true //nolint:gosec // as above
		}
		return appendBits(append(b, 'f'), math.Float64bits(f)), true
	case value.KindBool:
		if v.Bool() {
			return append(b, 't'), true
		}
		return append(b, 'u'), true
	default:
		return append(b, 'n'), k.optional
	}
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendBits(b []byte, bits uint64) []byte { return binary.BigEndian.AppendUint64(b, bits) }
