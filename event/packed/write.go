package packed

import (
	"encoding/binary"
	"encoding/hex"
	"reflect"
	"slices"
	"time"
)

// writer appends values to out.
type writer struct {
	out []byte
	// numbers are those of the common texts, seen of those that were written.
	// first is the number of the first of the latter.
	numbers, seen map[string]int
	first         int
	last          time.Time
	keys          []string
}

// How a text is written: the lower two bits of its first number.
const (
	plainText = iota // the bytes; the number is how many
	hexText          // two digits a byte; the number is how many bytes
	uuidText         // 16 bytes
	knownText        // the number of a common text, or of one before
)

// repeated is how long a text must be for its number to be remembered.
const repeated = 3

func (w *writer) begin() {
	clear(w.seen)
	w.last = time.Unix(0, 0)
}

// write appends a value.
func (w *writer) write(s *shape, v reflect.Value) {
	switch s.kind {
	case aStruct:
		w.structure(s, v)
	case aPointer:
		w.out = append(w.out, present(!v.IsNil()))
		if !v.IsNil() {
			w.write(s.element, v.Elem())
		}
	case aList:
		w.size(v)
		for i := range v.Len() {
			w.write(s.element, v.Index(i))
		}
	case aMap:
		w.entries(s, v)
	case aText:
		w.text(v.String())
	case someBytes:
		w.size(v)
		w.out = append(w.out, v.Bytes()...)
	case aTime:
		w.time(v.Interface().(time.Time)) // shapeOf has looked
	case aBool:
		w.out = append(w.out, present(v.Bool()))
	case anInt:
		w.out = binary.AppendVarint(w.out, v.Int())
	case aUint:
		w.out = binary.AppendUvarint(w.out, v.Uint())
	}
}

func present(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// structure writes a bit for each field that is not zero, and these fields. Of a
// pointer and of a boolean the bit has said it already.
func (w *writer) structure(s *shape, v reflect.Value) {
	bits := len(w.out)
	w.out = append(w.out, make([]byte, (len(s.fields)+7)/8)...)
	for i, f := range s.fields {
		field := v.Field(i)
		if field.IsZero() {
			continue
		}
		w.out[bits+i/8] |= 1 << (i % 8)
		switch f.kind {
		case aBool:
		case aPointer:
			w.write(f.element, field.Elem())
		default:
			w.write(f, field)
		}
	}
}

// entries writes a map, sorted by key: equal maps have equal texts.
func (w *writer) entries(s *shape, v reflect.Value) {
	w.size(v)
	from := len(w.keys)
	for _, k := range v.MapKeys() {
		w.keys = append(w.keys, k.String())
	}
	keys := w.keys[from:]
	slices.Sort(keys)
	for _, k := range keys {
		w.text(k)
		w.write(s.element, v.MapIndex(reflect.ValueOf(k).Convert(s.typ.Key())))
	}
	clear(keys)
	w.keys = w.keys[:from]
}

func (w *writer) number(n int) { w.out = binary.AppendUvarint(w.out, uint64(n)) } //nolint:gosec // a length

// size writes how long a list or map is. None at all is another than an empty one.
func (w *writer) size(v reflect.Value) {
	if v.IsNil() {
		w.number(0)
		return
	}
	w.number(v.Len() + 1)
}

// header writes how a text is written.
func (w *writer) header(form, n int) { w.number(n<<2 | form) }

func (w *writer) text(s string) {
	if n, ok := w.numbers[s]; ok {
		w.header(knownText, n)
		return
	}
	if n, ok := w.seen[s]; ok {
		w.header(knownText, w.first+n)
		return
	}
	if len(s) >= repeated {
		w.seen[s] = len(w.seen)
	}
	switch {
	case isUUID(s):
		w.header(uuidText, 0)
		for _, part := range []string{s[:8], s[9:13], s[14:18], s[19:23], s[24:]} {
			w.out = appendHex(w.out, part)
		}
	case isHex(s):
		w.header(hexText, len(s)/2)
		w.out = appendHex(w.out, s)
	default:
		w.header(plainText, len(s))
		w.out = append(w.out, s...)
	}
}

// isHex reports whether a text is made of pairs of lower case digits.
func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != "" && len(s)%2 == 0
}

func isUUID(s string) bool {
	return len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' &&
		isHex(s[:8]) && isHex(s[9:13]) && isHex(s[14:18]) && isHex(s[19:23]) && isHex(s[24:])
}

// appendHex appends what isHex has looked at.
func appendHex(dst []byte, digits string) []byte {
	dst, _ = hex.AppendDecode(dst, []byte(digits))
	return dst
}

// time writes a time as the nanoseconds since the one before, and 0 and all of
// it if these are too many.
func (w *writer) time(t time.Time) {
	d := int64(t.Sub(w.last))
	if d > -maxDifference && d < maxDifference {
		w.out = binary.AppendUvarint(w.out, uint64(d<<1^d>>63)+1) //nolint:gosec // the bits are what counts
	} else {
		w.out = binary.AppendVarint(binary.AppendVarint(append(w.out, 0), t.Unix()), int64(t.Nanosecond()))
	}
	w.last = t
}

// maxDifference is what there is room for: 73 years.
const maxDifference = 1 << 61
