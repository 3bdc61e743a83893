package rulebook

import (
	"reflect"

	"github.com/portcullis-dev/portcullis/rule"
)

// maxNamed is how many rules a log line names.
const maxNamed = 20

// changes are what two sets differ in, as keys and values of a log line.
func changes(before, after *rule.Set) []any {
	var added, changed, removed []string
	for _, r := range after.All() {
		switch old := before.Get(r.Name); {
		case old == nil:
			added = append(added, r.Name)
		case !same(old, r):
			changed = append(changed, r.Name)
		}
	}
	for _, r := range before.All() {
		if after.Get(r.Name) == nil {
			removed = append(removed, r.Name)
		}
	}
	return []any{
		"rules", after.Len(), "added", len(added), "changed", len(changed), "removed", len(removed),
		"names", append(append(first(added), first(changed)...), first(removed)...),
	}
}

func first(names []string) []string { return names[:min(len(names), maxNamed)] }

// same reports whether two rules say the same, wherever they are written.
func same(a, b *rule.Rule) bool { return reflect.DeepEqual(said(a), said(b)) }

// said is a rule without what was made of it and where it was read.
func said(r *rule.Rule) rule.Rule {
	out := *r
	out.Program, out.File, out.Line, out.Warnings = nil, "", 0, nil
	out.Exceptions = make([]rule.Exception, len(r.Exceptions))
	for i, e := range r.Exceptions {
		e.Condition = nil
		out.Exceptions[i] = e
	}
	return out
}
