package packed

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// reader reads what a writer wrote. Whatever else it is given ends in an error.
type reader struct {
	in string
	// common are the common texts, seen those that were read.
	common, seen []string
	last         time.Time
	err          error
}

// read reads a whole text into a zero value.
func (r *reader) read(text string, s *shape, v reflect.Value) error {
	r.in, r.seen, r.last, r.err = text, r.seen[:0], time.Unix(0, 0), nil
	r.value(s, v)
	if r.err == nil && r.in != "" {
		r.fail("%d bytes are left", len(r.in))
	}
	clear(r.seen) // they would keep the event's memory
	return r.err
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
	}
	r.in = "" // whatever is read from now on is zero and short
}

func (r *reader) value(s *shape, v reflect.Value) {
	switch s.kind {
	case aStruct:
		r.structure(s, v)
	case aPointer:
		if r.byte() != 0 {
			v.Set(reflect.New(s.element.typ))
			r.value(s.element, v.Elem())
		}
	case aList:
		r.list(s, v)
	case aMap:
		r.entries(s, v)
	case aText:
		v.SetString(r.text())
	case someBytes:
		if n, ok := r.size(); ok {
			v.SetBytes([]byte(r.bytes(n)))
		}
	case aTime:
		v.Set(reflect.ValueOf(r.time()))
	case aBool:
		v.SetBool(r.byte() != 0)
	case anInt:
		n := r.varint()
		if v.OverflowInt(n) {
			r.fail("%d is too large", n)
			return
		}
		v.SetInt(n)
	case aUint:
		n := r.uvarint()
		if v.OverflowUint(n) {
			r.fail("%d is too large", n)
			return
		}
		v.SetUint(n)
	}
}

func (r *reader) structure(s *shape, v reflect.Value) {
	bits := r.bytes((len(s.fields) + 7) / 8)
	if r.err != nil {
		return
	}
	for i, f := range s.fields {
		if bits[i/8]&(1<<(i%8)) == 0 {
			continue
		}
		field := v.Field(i)
		switch f.kind {
		case aBool:
			field.SetBool(true)
		case aPointer:
			field.Set(reflect.New(f.element.typ))
			r.value(f.element, field.Elem())
		default:
			r.value(f, field)
		}
	}
}

func (r *reader) list(s *shape, v reflect.Value) {
	n, ok := r.size()
	if !ok {
		return
	}
	v.Set(reflect.MakeSlice(s.typ, n, n))
	for i := range n {
		r.value(s.element, v.Index(i))
	}
}

func (r *reader) entries(s *shape, v reflect.Value) {
	n, ok := r.size()
	if !ok {
		return
	}
	v.Set(reflect.MakeMapWithSize(s.typ, n))
	for range n {
		key := reflect.ValueOf(r.text()).Convert(s.typ.Key())
		element := reflect.New(s.element.typ).Elem()
		r.value(s.element, element)
		if r.err != nil {
			return
		}
		v.SetMapIndex(key, element)
	}
}

// size reads how many elements or bytes follow, each of which takes at least one
// byte. It returns false for a list or map that is not there.
func (r *reader) size() (n int, ok bool) {
	size := r.uvarint()
	if size > uint64(len(r.in))+1 {
		r.fail("%d elements in %d bytes", size-1, len(r.in))
		return 0, false
	}
	return int(size) - 1, size > 0 //nolint:gosec // no more than a length
}

func (r *reader) bytes(n int) string {
	if n > len(r.in) {
		r.fail("%d bytes, but %d are there", n, len(r.in))
		return ""
	}
	b := r.in[:n]
	r.in = r.in[n:]
	return b
}

func (r *reader) byte() byte {
	b := r.bytes(1)
	if b == "" {
		return 0
	}
	return b[0]
}

func (r *reader) uvarint() uint64 {
	n, size := binary.Uvarint([]byte(r.in[:min(len(r.in), binary.MaxVarintLen64)]))
	return r.took(n, size)
}

func (r *reader) varint() int64 {
	n, size := binary.Varint([]byte(r.in[:min(len(r.in), binary.MaxVarintLen64)]))
	return int64(r.took(uint64(n), size)) //nolint:gosec // the bits are what counts
}

// took goes on behind a number of some bytes.
func (r *reader) took(n uint64, size int) uint64 {
	if size <= 0 {
		r.fail("a number does not end")
		return 0
	}
	r.in = r.in[size:]
	return n
}

func (r *reader) text() string {
	n := r.uvarint()
	form := n & 3
	n >>= 2
	if form == knownText {
		return r.known(n)
	}
	text := r.written(form, n)
	if len(text) >= repeated {
		r.seen = append(r.seen, text)
	}
	return text
}

func (r *reader) known(n uint64) string {
	switch {
	case n < uint64(len(r.common)):
		return r.common[n]
	case n-uint64(len(r.common)) < uint64(len(r.seen)):
		return r.seen[n-uint64(len(r.common))]
	default:
		r.fail("text number %d, but there are %d", n, len(r.common)+len(r.seen))
		return ""
	}
}

// written reads a text that is written out.
func (r *reader) written(form, n uint64) string {
	if form == uuidText {
		n = 16
	}
	if n > uint64(len(r.in)) {
		r.fail("a text of %d bytes in %d", n, len(r.in))
		return ""
	}
	b := r.bytes(int(n))
	switch form {
	case hexText:
		return hex.EncodeToString([]byte(b))
	case uuidText:
		digits := hex.EncodeToString([]byte(b))
		return strings.Join([]string{digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]}, "-")
	default:
		return strings.Clone(b)
	}
}

func (r *reader) time() time.Time {
	if n := r.uvarint(); n != 0 {
		n--
		r.last = r.last.Add(time.Duration(n>>1) ^ -time.Duration(n&1))
	} else {
		r.last = time.Unix(r.varint(), r.varint())
	}
	r.last = r.last.UTC()
	return r.last
}
