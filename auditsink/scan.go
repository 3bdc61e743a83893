package auditsink

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// maxDepth is how deep the scanner follows a value. What is deeper is for the
// decoder that has a limit of its own.
const maxDepth = 1000

// scanner reads JSON as API servers write it: without spaces between tokens. Its
// methods return false for whatever they do not know, valid or not, and then say
// nothing about where they stopped: the caller asks another decoder.
type scanner struct {
	// text is what is read, and bytes the same memory.
	text  string
	bytes []byte
	at    int
	// unescaped is where texts go that differ from what they are written as.
	unescaped []byte
}

// newScanner reads text, of which nothing may change as long as any part of it is in use.
func newScanner(text string) scanner {
	return scanner{text: text, bytes: unsafe.Slice(unsafe.StringData(text), len(text))} //nolint:gosec // read only
}

// literal reads exactly that.
func (s *scanner) literal(want string) bool {
	if !strings.HasPrefix(s.text[s.at:], want) {
		return false
	}
	s.at += len(want)
	return true
}

// token reads one byte, 0 at the end.
func (s *scanner) token() byte {
	if s.at >= len(s.bytes) {
		return 0
	}
	c := s.bytes[s.at]
	s.at++
	return c
}

// peek is the byte that token would read.
func (s *scanner) peek() byte {
	if s.at >= len(s.bytes) {
		return 0
	}
	return s.bytes[s.at]
}

// Eight bytes that are all the same.
const (
	all01           = 0x0101010101010101
	all20           = 0x2020202020202020
	all80           = 0x8080808080808080
	quote8, escape8 = '"' * all01, '\\' * all01
)

// special has a bit set for the first of eight bytes that is not plainly part of a
// string: a quote, a backslash, a control character, or something beyond ASCII.
// It is 0 if there is none. Higher bits may be wrong, since subtractions borrow.
func special(word uint64) uint64 {
	return (word | (word - all20) | ((word ^ quote8) - all01) | ((word ^ escape8) - all01)) & all80
}

// plain is the index of the first special byte from i on.
func (s *scanner) plain(i int) int {
	for ; i+8 <= len(s.bytes); i += 8 {
		if found := special(binary.LittleEndian.Uint64(s.bytes[i:])); found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(s.bytes) && isPlain(s.bytes[i]) {
		i++
	}
	return i
}

func isPlain(c byte) bool { return c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' }

// str reads a string.
func (s *scanner) str(out *string) bool {
	begin := s.at + 1
	if begin > len(s.bytes) || s.bytes[s.at] != '"' {
		return false
	}
	end := begin
	for end+8 <= len(s.bytes) { // plain, without a call: most of the time goes here
		if found := special(binary.LittleEndian.Uint64(s.bytes[end:])); found != 0 {
			end += bits.TrailingZeros64(found) / 8
			break
		}
		end += 8
	}
	if end < len(s.bytes) && s.bytes[end] == '"' {
		*out, s.at = s.text[begin:end], end+1
		return true
	}
	return s.stringEnd(s.plain(end)) && s.unquote(s.text[begin-1:s.at], out)
}

// stringEnd moves behind the quote that ends a string, of which i is some byte.
// It makes sure that JSON allows what is between.
func (s *scanner) stringEnd(i int) bool {
	for ; i < len(s.bytes); i = s.plain(i) {
		switch c := s.bytes[i]; {
		case c == '"':
			s.at = i + 1
			return true
		case c == '\\':
			length := escapeLength(s.text[i:])
			if length == 0 {
				return false
			}
			i += length
		case c < ' ':
			return false
		default:
			i++
		}
	}
	return false
}

// escapeLength is how long the escape is that text begins with, 0 if it is none.
func escapeLength(text string) int {
	if len(text) < 2 {
		return 0
	}
	switch text[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(text) >= 6 && isHex(text[2]) && isHex(text[3]) && isHex(text[4]) && isHex(text[5]) {
			return 6
		}
	}
	return 0
}

func isHex(c byte) bool { return c-'0' < 10 || (c|0x20)-'a' < 6 }

// unquote is the text of a string in quotes that JSON allows. API servers escape
// what HTML needs, and so every & of a URI; all else is rare.
func (s *scanner) unquote(quoted string, out *string) bool {
	inner := quoted[1 : len(quoted)-1]
	i := strings.IndexByte(inner, '\\')
	if i < 0 {
		*out = inner
		return utf8.ValidString(inner)
	}
	// Texts have a few kilobytes together, so as not to be an allocation each.
	if cap(s.unescaped)-len(s.unescaped) < len(inner) {
		s.unescaped = make([]byte, 0, max(len(inner), min(4096, len(s.text)-s.at)))
	}
	begin := len(s.unescaped)
	for ; i >= 0; i = strings.IndexByte(inner, '\\') {
		c, ok := simpleEscape(inner[i:])
		if !ok {
			return json.Unmarshal([]byte(quoted), out) == nil
		}
		s.unescaped = append(append(s.unescaped, inner[:i]...), c)
		inner = inner[i+escapeLength(inner[i:]):]
	}
	s.unescaped = append(s.unescaped, inner...)
	text := s.unescaped[begin:]
	*out = unsafe.String(unsafe.SliceData(text), len(text)) //nolint:gosec // what is behind is appended, never written again
	return utf8.ValidString(*out)
}

// simpleEscape is what an escape stands for if that is an ASCII character.
func simpleEscape(text string) (c byte, ok bool) {
	switch text[1] {
	case '"', '\\', '/':
		return text[1], true
	case 'n':
		return '\n', true
	case 't':
		return '\t', true
	case 'u':
		n, err := strconv.ParseUint(text[2:6], 16, 7)
		return byte(n), err == nil
	default:
		return 0, false
	}
}

// value moves over any value, and makes sure that it is one.
func (s *scanner) value(depth int) bool {
	switch c := s.peek(); c {
	case '"':
		s.at++
		return s.stringEnd(s.plain(s.at))
	case '{':
		return depth > 0 && s.object(depth)
	case '[':
		return depth > 0 && s.array(depth)
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		return s.number()
	}
}

func (s *scanner) object(depth int) bool {
	if s.at++; s.peek() == '}' {
		s.at++
		return true
	}
	for {
		if s.token() != '"' || !s.stringEnd(s.plain(s.at)) || s.token() != ':' || !s.value(depth-1) {
			return false
		}
		switch s.token() {
		case ',':
		case '}':
			return true
		default:
			return false
		}
	}
}

func (s *scanner) array(depth int) bool {
	if s.at++; s.peek() == ']' {
		s.at++
		return true
	}
	for {
		if !s.value(depth - 1) {
			return false
		}
		switch s.token() {
		case ',':
		case ']':
			return true
		default:
			return false
		}
	}
}

// number moves over a number: -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
func (s *scanner) number() bool {
	if s.peek() == '-' {
		s.at++
	}
	if s.peek() == '0' {
		s.at++
	} else if !s.digits() {
		return false
	}
	if s.peek() == '.' {
		if s.at++; !s.digits() {
			return false
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.at++
		if c = s.peek(); c == '+' || c == '-' {
			s.at++
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	begin := s.at
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.at++
	}
	return s.at > begin
}

// raw reads any value as it is, but null.
func (s *scanner) raw(out *json.RawMessage) bool {
	begin := s.at
	if s.peek() == 'n' || !s.value(maxDepth) {
		return false
	}
	*out = s.bytes[begin:s.at:s.at]
	return true
}

// small reads a whole number of up to nine digits.
func (s *scanner) small(out *int32) bool {
	begin, n := s.at, int32(0)
	for c := s.peek(); '0' <= c && c <= '9' && s.at-begin < 9; c = s.peek() {
		n = n*10 + int32(c-'0')
		s.at++
	}
	*out = n
	if s.at == begin || s.bytes[begin] == '0' && s.at > begin+1 {
		return false
	}
	c := s.peek()
	return c == ',' || c == '}'
}

// name is the name of a member as it stands in the text, `"name":`.
type name struct {
	text string
	// head are its first eight bytes, tail its last eight. Of a shorter name mask
	// says how much of head counts, and tail is 0.
	head, mask, tail uint64
}

func newName(plain string) name {
	n := name{text: `"` + plain + `":`, mask: math.MaxUint64}
	if short := 8 - len(n.text); short > 0 {
		n.mask >>= 8 * short
		n.head = binary.LittleEndian.Uint64([]byte(n.text + strings.Repeat("\x00", short)))
		return n
	}
	n.head = binary.LittleEndian.Uint64([]byte(n.text))
	n.tail = binary.LittleEndian.Uint64([]byte(n.text[len(n.text)-8:]))
	return n
}

// next reads one of names, from the place on, and returns its place; len(names) if it is none of them.
func (s *scanner) next(names []name, place int) int {
	rest := s.bytes[s.at:]
	if len(rest) < 8 {
		return len(names)
	}
	head := binary.LittleEndian.Uint64(rest)
	for ; place < len(names); place++ {
		n := &names[place]
		if head&n.mask != n.head || len(rest) < len(n.text) {
			continue
		}
		length := len(n.text)
		if length > 8 && binary.LittleEndian.Uint64(rest[length-8:]) != n.tail || length > 16 && !strings.HasPrefix(s.text[s.at:], n.text) {
			continue
		}
		s.at += length
		break
	}
	return place
}

// members reads an object whose members stand in an order that is known. It calls
// read for each of them with its place in names. What has another name is moved
// over, but a name that comes late, or again, is not: the meaning of that is for a
// decoder that has been asked before.
func (s *scanner) members(names []name, read func(place int) bool) bool {
	if s.token() != '{' {
		return false
	}
	if s.peek() == '}' {
		s.at++
		return true
	}
	for place := 0; ; {
		if found := s.next(names, place); found < len(names) {
			place = found + 1
			if !read(found) {
				return false
			}
		} else if !s.unknown(names) {
			return false
		}
		switch s.token() {
		case ',':
		case '}':
			return true
		default:
			return false
		}
	}
}

// unknown moves over a member whose name is none of names.
func (s *scanner) unknown(names []name) bool {
	begin := s.at
	var key string
	if !s.str(&key) || s.token() != ':' {
		return false
	}
	written := s.text[begin:s.at]
	isKnown := slices.ContainsFunc(names, func(n name) bool { return n.text == written })
	if isKnown || len(written) != len(key)+3 { // Escapes may spell a name that is known.
		return false
	}
	return s.value(maxDepth)
}
