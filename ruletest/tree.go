package ruletest

import (
	"maps"
	"strings"

	"github.com/portcullis-dev/portcullis/rule/document"
)

// tree is an event's document while it is put together: nested objects, no name
// of which has a dot. So a field is in one place, however it was written, and a
// later one replaces it.
type tree map[string]any

// The fields that hold objects of the API, and the last part of those that hold
// labels. Keys in there are kept as they are: a dot is part of a name.
const (
	requestObject  = "kubernetes.audit.requestObject"
	responseObject = "kubernetes.audit.responseObject"
	labels         = ".label"
)

// merge puts the fields of a document over those that are there.
func (t tree) merge(fields document.Value) {
	for name, v := range fields.Entries() {
		t.set("", strings.Split(name.Text(), "."), v.Any())
	}
}

// set puts a value at a path below t, which is at the place of that name.
func (t tree) set(at string, path []string, v any) {
	name := path[0]
	here := join(at, name)
	if len(path) > 1 {
		t.child(name).set(here, path[1:], v)
		return
	}
	object, nested := v.(map[string]any)
	switch {
	case v == nil:
		delete(t, name)
	case !nested, inObject(here):
		t[name] = v
	default:
		child := t.child(name)
		for key, inner := range object {
			child.set(here, strings.Split(key, "."), inner)
		}
	}
}

// child is the object of a name, made if there is none.
func (t tree) child(name string) tree {
	switch there := t[name].(type) {
	case tree:
		return there
	case map[string]any: // an object or labels, which may be another event's, too
		own := tree(maps.Clone(there))
		t[name] = own
		return own
	default:
		own := tree{}
		t[name] = own
		return own
	}
}

// document is the tree as plain maps.
func (t tree) document() map[string]any {
	out := make(map[string]any, len(t))
	for name, v := range t {
		if inner, ok := v.(tree); ok {
			out[name] = inner.document()
		} else {
			out[name] = v
		}
	}
	return out
}

// inObject reports whether a name is that of such a field, or below one.
func inObject(name string) bool {
	for _, object := range []string{requestObject, responseObject} {
		if rest, ok := strings.CutPrefix(name, object); ok && (rest == "" || rest[0] == '.') {
			return true
		}
	}
	return strings.HasSuffix(name, labels)
}

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}
