package correlator

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/event"
)

// ours are the texts that Portcullis itself makes, short ones.
var ours = map[string]bool{
	"ID": true, "Request": true, "Source": true, "Dataset": true, "Category": true, "Type": true, "Action": true,
}

// Every text of an event, one after the other, is made long: the size must show
// it. A field that is added to the vocabulary is found here.
func TestEveryLongTextIsCounted(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<16)
	texts := 0
	eachText(reflect.TypeFor[event.Event](), nil, func(path []string, fill func(root reflect.Value, text string)) {
		if ours[path[0]] {
			return
		}
		texts++
		short, full := &event.Event{}, &event.Event{}
		fill(reflect.ValueOf(short).Elem(), "")
		fill(reflect.ValueOf(full).Elem(), long)
		if more := sizeOf(full) - sizeOf(short); more < len(long) {
			t.Errorf("%s: %d bytes more are counted as %d", strings.Join(path, "."), len(long), more)
		}
	})
	if texts < 50 {
		t.Errorf("only %d texts were found", texts)
	}
}

// eachText calls visit for every text within a struct type. The fill it gets
// sets that text in a value of the type.
func eachText(structure reflect.Type, path []string, visit func(path []string, fill func(reflect.Value, string))) {
	for i := range structure.NumField() {
		f := structure.Field(i)
		here := append(slices.Clone(path), f.Name)
		eachTextOf(f.Type, here, func(path []string, fill func(reflect.Value, string)) {
			visit(path, func(v reflect.Value, text string) { fill(v.Field(i), text) })
		})
	}
}

func eachTextOf(typ reflect.Type, path []string, visit func(path []string, fill func(reflect.Value, string))) {
	switch typ.Kind() {
	case reflect.String:
		visit(path, func(v reflect.Value, text string) { v.SetString(text) })
	case reflect.Struct:
		if typ.PkgPath() == reflect.TypeFor[event.Event]().PkgPath() {
			eachText(typ, path, visit)
		}
	case reflect.Pointer:
		eachTextOf(typ.Elem(), path, func(path []string, fill func(reflect.Value, string)) {
			visit(path, func(v reflect.Value, text string) {
				v.Set(reflect.New(typ.Elem()))
				fill(v.Elem(), text)
			})
		})
	case reflect.Slice:
		if typ.Elem().Kind() == reflect.Uint8 {
			visit(path, func(v reflect.Value, text string) { v.SetBytes([]byte(text)) })
			return
		}
		eachTextOf(typ.Elem(), path, func(path []string, fill func(reflect.Value, string)) {
			visit(path, func(v reflect.Value, text string) {
				v.Set(reflect.MakeSlice(typ, 1, 1))
				fill(v.Index(0), text)
			})
		})
	case reflect.Map:
		eachTextOf(typ.Key(), append(path, "key"), func(path []string, fill func(reflect.Value, string)) {
			visit(path, func(v reflect.Value, text string) { setEntry(v, fill, text, reflect.Zero(typ.Elem())) })
		})
		eachTextOf(typ.Elem(), append(path, "value"), func(path []string, fill func(reflect.Value, string)) {
			visit(path, func(v reflect.Value, text string) {
				element := reflect.New(typ.Elem()).Elem()
				fill(element, text)
				setEntry(v, func(reflect.Value, string) {}, "", element)
			})
		})
	default: // It has no text.
	}
}

// setEntry makes v a map of one entry.
func setEntry(v reflect.Value, fillKey func(reflect.Value, string), text string, element reflect.Value) {
	key := reflect.New(v.Type().Key()).Elem()
	fillKey(key, text)
	v.Set(reflect.MakeMap(v.Type()))
	v.SetMapIndex(key, element)
}
