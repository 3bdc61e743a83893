package value

import (
	"math"
	"strconv"
	"unsafe"
)

// Kind says what a Value holds.
type Kind uint8

// The kinds of values.
const (
	KindMissing Kind = iota
	KindString
	KindStrings
	KindInt
	KindFloat
	KindBool
)

// Value is what one field holds in one event. The zero Value is missing.
// Values are small, made without allocating, and not comparable with ==.
//
// Text and lists are kept as pointer and length in the fields that numbers use
// too: an event has forty fields, a rule set reads them thousands of times per
// second, and a struct with room for every kind side by side would be more than
// twice the size.
type Value struct {
	_    [0]func()
	data unsafe.Pointer // the text's bytes, or the first of the strings
	bits uint64         // length of text or list, or the number or boolean itself
	key  string         // what a reference joins by
	kind Kind
	ref  bool
}

// Missing returns the value of a field that an event does not have.
func Missing() Value { return Value{} }

// String returns a text. The empty text is a value, not missing.
func String(s string) Value {
	return Value{
		kind: KindString, bits: uint64(len(s)),
		data: unsafe.Pointer(unsafe.StringData(s)), //nolint:gosec // see Value: Text is the inverse
	}
}

// Strings returns several texts; none of them means missing. The slice is
// borrowed: it must not change while the value is in use.
func Strings(s []string) Value {
	if len(s) == 0 {
		return Value{}
	}
	return Value{
		kind: KindStrings, bits: uint64(len(s)),
		data: unsafe.Pointer(unsafe.SliceData(s)), //nolint:gosec // see Value: At is the inverse
	}
}

// Int returns a whole number.
func Int(i int64) Value {
	return Value{kind: KindInt, bits: uint64(i)} //nolint:gosec // the bits, not the number, are kept
}

// Float returns a number with a fraction. NaN compares with nothing and is missing.
func Float(f float64) Value {
	if math.IsNaN(f) {
		return Value{}
	}
	return Value{kind: KindFloat, bits: math.Float64bits(f)}
}

// Bool returns true or false.
func Bool(b bool) Value {
	v := Value{kind: KindBool}
	if b {
		v.bits = 1
	}
	return v
}

// Ref returns a text that joins by key instead of by itself. Without a key
// nothing is known of what it refers to: it is then a text that joins with
// nothing. Without a text it is the empty text. Without both it is missing.
func Ref(text, key string) Value {
	if text == "" && key == "" {
		return Value{}
	}
	v := String(text)
	v.key, v.ref = key, true
	return v
}

// Kind says what the value holds. A reference is a KindString.
func (v Value) Kind() Kind { return v.kind }

// IsMissing reports whether the event does not have the field.
func (v Value) IsMissing() bool { return v.kind == KindMissing }

// IsRef reports whether the value joins by Key instead of by its text.
func (v Value) IsRef() bool { return v.ref }

// Key returns what a reference joins by, empty for all other values.
func (v Value) Key() string { return v.key }

// Len returns how many values the field holds.
func (v Value) Len() int {
	switch v.kind {
	case KindMissing:
		return 0
	case KindStrings:
		return int(v.bits) //nolint:gosec // it was a length
	default:
		return 1
	}
}

// Text returns the text of a KindString, empty for all others.
func (v Value) Text() string {
	if v.kind != KindString {
		return ""
	}
	return unsafe.String((*byte)(v.data), int(v.bits)) //nolint:gosec // String and Ref are the inverse
}

// Texts returns the texts of a KindStrings, nil for all others.
func (v Value) Texts() []string {
	if v.kind != KindStrings {
		return nil
	}
	return unsafe.Slice((*string)(v.data), int(v.bits)) //nolint:gosec // Strings is the inverse
}

// At returns the i-th of Len values, each of them a single one. It panics if
// there is none.
func (v Value) At(i int) Value {
	if v.kind == KindStrings {
		return String(v.Texts()[i])
	}
	if i < 0 || i >= v.Len() {
		panic("value: index " + strconv.Itoa(i) + " out of range")
	}
	return v
}

// Int returns the number of a KindInt, 0 for all others.
func (v Value) Int() int64 {
	if v.kind != KindInt {
		return 0
	}
	return int64(v.bits) //nolint:gosec // Int is the inverse
}

// Float returns the number of a KindFloat or KindInt, 0 for all others.
func (v Value) Float() float64 {
	switch v.kind {
	case KindFloat:
		return math.Float64frombits(v.bits)
	case KindInt:
		return float64(v.Int())
	default:
		return 0
	}
}

// Bool returns the truth of a KindBool, false for all others.
func (v Value) Bool() bool { return v.kind == KindBool && v.bits != 0 }

// Equal reports whether both hold the same, kind for kind.
func (v Value) Equal(w Value) bool {
	if v.kind != w.kind || v.bits != w.bits || v.ref != w.ref || v.key != w.key {
		return false
	}
	if v.Text() != w.Text() {
		return false
	}
	for i, s := range v.Texts() {
		if s != w.Texts()[i] {
			return false
		}
	}
	return true
}

// String returns the value for messages: texts in quotes, a reference with its key.
func (v Value) String() string {
	switch v.kind {
	case KindString:
		if v.ref {
			return strconv.Quote(v.Text()) + "→" + strconv.Quote(v.key)
		}
		return strconv.Quote(v.Text())
	case KindStrings:
		s := ""
		for i, text := range v.Texts() {
			if i > 0 {
				s += ", "
			}
			s += strconv.Quote(text)
		}
		return "[" + s + "]"
	case KindInt:
		return strconv.FormatInt(v.Int(), 10)
	case KindFloat:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	case KindBool:
		return strconv.FormatBool(v.Bool())
	default:
		return "missing"
	}
}
