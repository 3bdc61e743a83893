package field

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

// input is what a document has for a field. Documents come from JSON and YAML,
// and from Go code: every type that those make is understood.
type input struct{ value any }

// isEmpty reports whether there is nothing: null, an empty text or an empty
// list. That is how documents write a field that is missing.
func (in input) isEmpty() bool {
	switch v := in.value.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case []string:
		return len(v) == 0
	default:
		return false
	}
}

// list is the values of a list, or the value itself as a list of one.
func (in input) list() []any {
	switch v := in.value.(type) {
	case []any:
		return v
	case []string:
		out := make([]any, len(v))
		for i := range v {
			out[i] = v[i]
		}
		return out
	case nil:
		return nil
	default:
		return []any{v}
	}
}

// single is the one value.
func (in input) single() any {
	if list := in.list(); len(list) == 1 {
		return list[0]
	}
	return in.value
}

// text is one text. Numbers are texts too where a text is wanted: users and
// groups are often written so.
func (in input) text() (string, error) {
	switch v := in.single().(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case bool, map[string]any, []any, []string:
	default:
		if n, ok := numeral(v); ok {
			return n, nil
		}
	}
	return "", wrong("a text", in.value)
}

func (in input) texts() ([]string, error) {
	list := in.list()
	if len(list) == 0 {
		return nil, nil
	}
	texts := make([]string, len(list))
	for i, v := range list {
		if _, nested := v.([]any); nested || v == nil {
			return nil, wrong("texts", in.value)
		}
		var err error
		if texts[i], err = (input{v}).text(); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

func (in input) boolean() (bool, error) {
	if b, ok := in.single().(bool); ok {
		return b, nil
	}
	return false, wrong("true or false", in.value)
}

// whole is a whole number.
func (in input) whole(least, most int64) (int64, error) {
	if text, ok := numeral(in.single()); ok {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= least && n <= most {
			return n, nil
		}
	}
	return 0, wrong(fmt.Sprintf("a whole number from %d to %d", least, most), in.value)
}

func (in input) time() (time.Time, error) {
	switch v := in.single().(type) {
	case time.Time:
		return v.UTC(), nil
	case string:
		if t, err := time.Parse(time.RFC3339Nano, v); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, wrong("a time as in 2026-08-22T12:00:00.5Z", in.value)
}

func (in input) confidence() (event.Confidence, error) {
	text, err := in.text()
	if err != nil {
		return event.Unknown, err
	}
	for _, c := range []event.Confidence{event.Unknown, event.Ambiguous, event.ByName, event.Exact} {
		if c.String() == text {
			return c, nil
		}
	}
	return event.Unknown, wrong("exact, by-name, ambiguous or unknown", text)
}

// leaf checks what is given for a path into an object. Below a path that is not
// of a type by its name, anything may be.
func (in input) leaf(t value.Type) error {
	var err error
	switch t {
	case value.Boolean:
		_, err = in.boolean()
	case value.Number:
		if _, ok := numeral(in.single()); !ok {
			err = wrong("a number", in.value)
		}
	default:
	}
	return err
}

// isTree reports whether it is more than values: an object, or objects in a list.
func (in input) isTree() bool {
	return slices.ContainsFunc(in.list(), func(v any) bool {
		switch v.(type) {
		case map[string]any, []any, nil:
			return true
		default:
			return false
		}
	})
}

// equals reports whether it says what a record read.
func (in input) equals(read value.Value, t value.Type) bool {
	if in.isEmpty() {
		return read.IsMissing() || read.Kind() == value.KindString && read.Text() == ""
	}
	switch t {
	case value.Boolean:
		b, err := in.boolean()
		return err == nil && read.Kind() == value.KindBool && read.Bool() == b
	case value.Number:
		text, ok := numeral(in.single())
		if !ok {
			return false
		}
		n, err := strconv.ParseFloat(text, 64)
		// 0 is how what is not known is written.
		return err == nil && (read.IsMissing() && n == 0 || !read.IsMissing() && read.Float() == n)
	default:
		if text, ok := in.value.(string); ok && read.Kind() == value.KindString {
			return read.Text() == text
		}
		texts, err := in.texts()
		return err == nil && sameTexts(texts, textsOf(read))
	}
}

// sameTexts compares without regard to the order, which means nothing to rules.
func sameTexts(a, b []string) bool {
	return slices.Equal(a, b) || len(a) == len(b) && slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// textsOf is one text or several.
func textsOf(v value.Value) []string {
	switch v.Kind() {
	case value.KindString:
		return []string{v.Text()}
	case value.KindStrings:
		return v.Texts()
	default:
		return nil
	}
}

// numeral is a number as text, whole ones without fraction and exponent.
func numeral(v any) (string, bool) {
	switch v := v.(type) {
	case int:
		return strconv.Itoa(v), true
	case int32:
		return strconv.FormatInt(int64(v), 10), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case uint32:
		return strconv.FormatUint(uint64(v), 10), true
	case uint64:
		return strconv.FormatUint(v, 10), true
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return "", false
		}
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case json.Number:
		f, err := v.Float64()
		if err != nil {
			return "", false
		}
		if _, err := v.Int64(); err == nil {
			return v.String(), true
		}
		return numeral(f)
	default:
		return "", false
	}
}

// displayed is a field's name for a message: below the open prefixes, names are
// somebody else's words.
func displayed(name string) string {
	if quoted := strconv.Quote(shorten(name)); quoted != `"`+name+`"` {
		return quoted
	}
	return name
}

// maxShown bounds how much of a document an error may quote.
const maxShown = 120

// wrong is what is wrong with a value.
func wrong(want string, got any) error {
	text, ok := got.(string)
	switch {
	case ok:
		text = strconv.Quote(shorten(text))
	default:
		b, err := json.Marshal(got)
		if err != nil {
			b = fmt.Appendf(nil, "%T", got)
		}
		text = shorten(string(b))
	}
	return errors.New("want " + want + ", got " + text)
}

func shorten(text string) string {
	if len(text) <= maxShown {
		return text
	}
	cut := maxShown
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
