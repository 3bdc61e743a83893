package elastic

import (
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/portcullis-dev/portcullis/eql/token"
)

// text is a value of the table [rule] as it is written: where, and with its quotes.
type text struct {
	span token.Span
	raw  string
}

// placesOf finds the values of the table [rule] by their keys. The decoder, which
// has read the file before, knows no places.
func placesOf(file string) map[string]text {
	places := map[string]text{}
	var p unstable.Parser
	p.Reset([]byte(file))
	table := ""
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = join(e.Key())
		case unstable.KeyValue:
			key := join(e.Key())
			if table != "" {
				key = table + "." + key
			}
			note(places, &p, key, e.Value())
		default:
		}
	}
	return places
}

// note keeps a value's place, and those of the values in an inline table.
func note(places map[string]text, p *unstable.Parser, key string, v *unstable.Node) {
	name, inRule := strings.CutPrefix(key, "rule.")
	if key != "rule" && !inRule {
		return
	}
	if v.Kind == unstable.InlineTable {
		for it := v.Children(); it.Next(); {
			note(places, p, key+"."+join(it.Node().Key()), it.Node().Value())
		}
		return
	}
	start, end := token.Pos(v.Raw.Offset), token.Pos(v.Raw.Offset+v.Raw.Length)
	places[name] = text{token.Span{Start: start, End: end}, string(p.Raw(v.Raw))}
}

func join(key unstable.Iterator) string {
	var parts []string
	for key.Next() {
		parts = append(parts, string(key.Node().Data))
	}
	return strings.Join(parts, ".")
}

// locate returns the function from an offset in a string's value to the offset
// in the file. It answers false everywhere if the two cannot be told.
func (t text) locate(value string) func(token.Pos) (token.Pos, bool) {
	offsets := t.offsets()
	// The last offset is that of the end. A value of another length was not
	// read as it is here.
	sure := len(offsets) == len(value)+1
	return func(at token.Pos) (token.Pos, bool) {
		if !sure {
			return 0, false
		}
		return t.span.Start + token.Pos(offsets[max(0, min(at, token.Pos(len(value))))]), true
	}
}

// offsets has, for every byte of the string's value and for its end, the offset
// in raw.
func (t text) offsets() []int {
	quotes := t.raw[:min(1, len(t.raw))]
	if strings.HasPrefix(t.raw, `"""`) || strings.HasPrefix(t.raw, `'''`) {
		quotes = t.raw[:3]
	}
	first, last := len(quotes), len(t.raw)-len(quotes)
	if last < first {
		return nil
	}
	if len(quotes) == 3 { // A line break right behind the quotes is not part of the value.
		for _, newline := range []string{"\r\n", "\n"} {
			if strings.HasPrefix(t.raw[first:], newline) {
				first += len(newline)
				break
			}
		}
	}
	var offsets []int
	for i := first; i < last; {
		written, meant := 1, 1
		if t.raw[i] == '\\' && quotes[0] == '"' {
			written, meant = escape(t.raw[i:last])
		}
		for range meant {
			offsets = append(offsets, i)
		}
		i += written
	}
	return append(offsets, last)
}

// escape returns how many bytes an escape has as it is written, and how many it means.
func escape(s string) (written, meant int) {
	if len(s) < 2 {
		return 1, 1
	}
	switch c := s[1]; c {
	case 'u', 'U', 'x':
		digits := map[byte]int{'u': 4, 'U': 8, 'x': 2}[c]
		var r rune
		for _, h := range s[2:min(2+digits, len(s))] {
			r = r<<4 | hex(h)
		}
		return 2 + digits, len(string(r))
	case ' ', '\t', '\r', '\n': // The line goes on at the next word.
		return len(s) - len(strings.TrimLeft(s[1:], " \t\r\n")), 0
	default:
		return 2, 1
	}
}

func hex(r rune) rune {
	if r <= '9' {
		return r - '0'
	}
	return r&^0x20 - 'A' + 10
}
