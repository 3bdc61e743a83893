package function_test

import (
	"slices"
	"testing"

	"github.com/portcullis-dev/portcullis/eql/function"
)

// TestTable: what checker and compiler rely on holds for every function.
func TestTable(t *testing.T) {
	ids := map[function.ID]string{}
	for _, name := range function.Names() {
		f, ok := function.Lookup(name)
		if !ok || f.Name != name {
			t.Errorf("%s is listed but not found", name)
			continue
		}
		if other, again := ids[f.ID]; again || f.ID == 0 {
			t.Errorf("%s and %s have the same ID", name, other)
		}
		ids[f.ID] = name
		if len(f.Params) == 0 || len(f.Params) > 4 {
			t.Errorf("%s has %d parameters", name, len(f.Params))
		}
		optional := false
		for _, p := range f.Params {
			if optional && !p.Optional {
				t.Errorf("%s: %s is behind an optional parameter, but is not optional", name, p.Name)
			}
			optional = p.Optional
		}
		if least, most := f.Arity(); least < 1 || f.Variadic != (most == -1) || !f.Variadic && most != len(f.Params) {
			t.Errorf("%s takes %d to %d arguments", name, least, most)
		}
		if got, want := f.Param(99).Name, f.Params[len(f.Params)-1].Name; got != want {
			t.Errorf("%s: argument 99 is for %s, want %s", name, got, want)
		}
		if function.Elsewhere(name) != "" {
			t.Errorf("%s exists here, but is said to be elsewhere", name)
		}
	}
	if !slices.IsSorted(function.Names()) {
		t.Error("names are not sorted")
	}
}

func TestUnknown(t *testing.T) {
	for _, name := range []string{"", "startswith", "startsWith~", "arrayContains"} {
		if _, ok := function.Lookup(name); ok {
			t.Errorf("%q is a function", name)
		}
	}
	if function.Elsewhere("arrayContains") == "" || function.Elsewhere("nothing") != "" {
		t.Error("the wrong functions have a replacement")
	}
}
