package eqltest

import (
	"reflect"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/token"
)

// SameTree reports whether two trees say the same, wherever they stand in a text.
func SameTree(a, b ast.Node) bool { return same(reflect.ValueOf(a), reflect.ValueOf(b)) }

// same compares two values but for places. (A library that describes differences
// would compare what is nested n deep 2^n times.)
func same(a, b reflect.Value) bool {
	if a.IsValid() != b.IsValid() || a.IsValid() && a.Type() != b.Type() {
		return false
	}
	switch {
	case !a.IsValid() || a.Type() == reflect.TypeFor[ast.Place]() || a.Type() == reflect.TypeFor[token.Span]():
		return true
	case a.Kind() == reflect.Pointer || a.Kind() == reflect.Interface:
		return a.IsNil() == b.IsNil() && (a.IsNil() || same(a.Elem(), b.Elem()))
	case a.Kind() == reflect.Slice:
		for i := range min(a.Len(), b.Len()) {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return a.Len() == b.Len()
	case a.Kind() == reflect.Struct:
		for i := range a.NumField() {
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	default:
		return a.Equal(b)
	}
}
