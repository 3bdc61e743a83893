package program

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/portcullis-dev/portcullis/eql/pattern"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// Positions and lengths count characters, not bytes.
func characters(s string) int { return utf8.RuneCountInString(s) }

// offset returns the byte at which the n-th character of s begins, its length
// if there are fewer.
func offset(s string, n int) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}

// substring returns the characters from start up to end, both counted from the
// end if negative, end being optional.
func substring(s string, start, end value.Value) value.Value {
	if start.Kind() != value.KindInt || !end.IsMissing() && end.Kind() != value.KindInt {
		return value.Missing()
	}
	n := int64(characters(s))
	from, to := start.Int(), n
	if from < 0 {
		from = max(0, from+n)
	}
	if !end.IsMissing() {
		if to = end.Int(); to < 0 {
			to = max(0, to+n)
		}
		to = min(to, n)
	}
	if from >= to {
		return value.String("")
	}
	first := offset(s, int(from))
	return value.String(s[first : first+offset(s[first:], int(to-from))])
}

// indexOf returns the position of the first part at or behind start; it is
// missing if there is none.
func indexOf(s, part string, start value.Value, fold bool) value.Value {
	var from int64
	if !start.IsMissing() {
		if start.Kind() != value.KindInt {
			return value.Missing()
		}
		from = max(0, start.Int())
	}
	if from > int64(characters(s)) {
		return value.Missing()
	}
	first := offset(s, int(from))
	at, _ := pattern.Index(s[first:], part, fold)
	if at < 0 {
		return value.Missing()
	}
	return value.Int(from + int64(characters(s[first:first+at])))
}

// between returns the text from behind the first left up to the next right, or
// up to the last right if greedy; it is empty if there is none.
func between(s, left string, right value.Value, greedy, fold bool) value.Value {
	if right.Kind() != value.KindString {
		return value.Missing()
	}
	_, from := pattern.Index(s, left, fold)
	if from < 0 {
		return value.String("")
	}
	rest := s[from:]
	to, _ := pattern.Index(rest, right.Text(), fold)
	if greedy {
		to = pattern.LastIndex(rest, right.Text(), fold)
	}
	if to < 0 {
		return value.String("")
	}
	return value.String(rest[:to])
}

// number reads a text as a number. White space around it is ignored, 0x in
// front of the digits means base 16, and a fraction needs base 10.
func (x *expr) number(f *frame) value.Value {
	v := x.args[0].eval(f)
	if v.Kind() != value.KindString {
		return value.Missing()
	}
	base := 0
	if len(x.args) > 1 {
		base = int(x.args[1].eval(f).Int())
	}
	text := strings.TrimSpace(v.Text())
	if len(text) > 64 { // no number is longer; strconv would copy it into an error
		return value.Missing()
	}
	sign, digits := "", text
	if strings.HasPrefix(text, "-") || strings.HasPrefix(text, "+") {
		sign, digits = text[:1], text[1:]
	}
	if len(digits) > 2 && (digits[:2] == "0x" || digits[:2] == "0X") && (base == 0 || base == 16) {
		return parseInt(sign, digits[2:], 16)
	}
	if base == 0 {
		base = 10
	}
	if n := parseInt(sign, digits, base); !n.IsMissing() || base != 10 {
		return n
	}
	return parseFloat(text)
}

// parseInt reads digits. It does so itself, since the errors of strconv allocate
// and what it reads is written by attackers.
func parseInt(sign, digits string, base int) value.Value {
	if digits == "" {
		return value.Missing()
	}
	var n int64
	for i := range len(digits) {
		d := int64(digit(digits[i]))
		if d >= int64(base) || n < (math.MinInt64+d)/int64(base) {
			return value.Missing()
		}
		n = n*int64(base) - d // negative, since the least number has no opposite
	}
	if sign == "-" {
		return value.Int(n)
	}
	return negative(value.Int(n))
}

func digit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'z':
		return int(c|0x20-'a') + 10
	default:
		return math.MaxInt8
	}
}

// parseFloat reads a fraction, if the text is made of nothing but what fractions
// are made of: Infinity and NaN are no numbers here.
func parseFloat(text string) value.Value {
	for i := range len(text) {
		if c := text[i]; digit(c) > 9 && c != '.' && c != '+' && c != '-' && c|0x20 != 'e' {
			return value.Missing()
		}
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return value.Missing()
	}
	return value.Float(n)
}

// text returns a value as text.
func (f *frame) text(v value.Value) value.Value {
	if v.Kind() == value.KindString || v.IsMissing() {
		return v
	}
	start := len(f.scratch.buf)
	f.scratch.buf = appendValue(f.scratch.buf, v)
	return f.scratch.from(start)
}

// concat puts texts together. Each argument is evaluated and then appended; one
// that used the buffer itself stands between, and what was put together so far
// moves behind it.
func (x *expr) concat(f *frame) value.Value {
	s := f.scratch
	start := len(s.buf)
	end := start
	for _, a := range x.args {
		v := a.eval(f)
		if v.IsMissing() || len(s.buf) > maxText {
			return value.Missing()
		}
		if len(s.buf) > end {
			next := len(s.buf)
			s.buf = append(s.buf, s.buf[start:end]...)
			start = next
		}
		s.buf = appendValue(s.buf, v)
		end = len(s.buf)
	}
	if end > maxText {
		return value.Missing()
	}
	return s.from(start)
}

// from returns the end of the buffer, which must not change while it is in use.
func (s *scratch) from(start int) value.Value {
	b := s.buf[start:]
	return value.String(unsafe.String(unsafe.SliceData(b), len(b))) //nolint:gosec // see scratch
}

func appendValue(b []byte, v value.Value) []byte {
	switch v.Kind() {
	case value.KindString:
		return append(b, v.Text()...)
	case value.KindInt:
		return strconv.AppendInt(b, v.Int(), 10)
	case value.KindFloat:
		return appendFloat(b, v.Float())
	case value.KindBool:
		return strconv.AppendBool(b, v.Bool())
	default:
		return b
	}
}

// appendFloat writes a fraction as Elasticsearch does: at least one digit behind
// the point, and powers of ten only for the very large and very small.
func appendFloat(b []byte, f float64) []byte {
	if a := math.Abs(f); a != 0 && (a < 1e-3 || a >= 1e7) && !math.IsInf(f, 0) {
		return appendScientific(b, f)
	}
	if math.IsInf(f, 0) {
		if f < 0 {
			b = append(b, '-')
		}
		return append(b, "Infinity"...)
	}
	start := len(b)
	b = strconv.AppendFloat(b, f, 'f', -1, 64)
	if bytes.IndexByte(b[start:], '.') < 0 {
		b = append(b, ".0"...)
	}
	return b
}

// appendScientific writes 1.0E10 where strconv writes 1e+10.
func appendScientific(b []byte, f float64) []byte {
	var digits [32]byte
	text := strconv.AppendFloat(digits[:0], f, 'E', -1, 64)
	e := bytes.IndexByte(text, 'E')
	b = append(b, text[:e]...)
	if bytes.IndexByte(text[:e], '.') < 0 {
		b = append(b, ".0"...)
	}
	b = append(b, 'E')
	exponent := text[e+1:]
	if exponent[0] == '-' {
		b = append(b, '-')
	}
	exponent = exponent[1:]
	for len(exponent) > 1 && exponent[0] == '0' {
		exponent = exponent[1:]
	}
	return append(b, exponent...)
}
