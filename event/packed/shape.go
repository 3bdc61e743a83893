package packed

import (
	"fmt"
	"reflect"
	"time"
)

// shape is what there is to know of a type.
type shape struct {
	kind kind
	// fields are those of a struct; element is of a pointer, a list or a map.
	fields  []*shape
	element *shape
	typ     reflect.Type
}

type kind uint8

const (
	aStruct kind = iota
	aPointer
	aList
	aMap
	aText
	someBytes
	aTime
	aBool
	anInt
	aUint
)

// shapeOf returns the shape of a type. It panics for types that events do not
// have, which a test finds.
func shapeOf(t reflect.Type) *shape {
	s := &shape{typ: t}
	switch {
	case t == reflect.TypeFor[time.Time]():
		s.kind = aTime
	case t.Kind() == reflect.Struct:
		s.kind = aStruct
		for i := range t.NumField() {
			s.fields = append(s.fields, shapeOf(t.Field(i).Type))
		}
	case t.Kind() == reflect.Pointer:
		s.kind, s.element = aPointer, shapeOf(t.Elem())
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		s.kind = someBytes
	case t.Kind() == reflect.Slice:
		s.kind, s.element = aList, shapeOf(t.Elem())
	case t.Kind() == reflect.Map && t.Key().Kind() == reflect.String:
		s.kind, s.element = aMap, shapeOf(t.Elem())
	case t.Kind() == reflect.String:
		s.kind = aText
	case t.Kind() == reflect.Bool:
		s.kind = aBool
	case reflect.Zero(t).CanInt():
		s.kind = anInt
	case reflect.Zero(t).CanUint():
		s.kind = aUint
	default:
		panic(fmt.Sprintf("packed: events have a %s, which has no form", t))
	}
	return s
}
