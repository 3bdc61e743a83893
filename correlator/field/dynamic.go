package field

import (
	"strings"

	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

// OpenInfo describes a prefix below which every name is a field.
type OpenInfo struct {
	Prefix, Doc string
	// Many says that its fields can have several values.
	Many bool
}

// Open returns the prefixes below which every name is a field.
func (s *Schema) Open() []OpenInfo {
	return []OpenInfo{
		{annotationsPrefix, "The request's annotation of that key; dots in the key may be written as underscores.", false},
		{extraPrefix, "What else the authenticator said of the user, by key; dots in the key may be written as underscores.", true},
		{impersonatedExtra, "The same of whom the user acted as.", true},
		{requestPrefix, "What a path leads to in the object that was sent. Arrays are walked through: all of their elements count.", true},
		{responsePrefix, "The same in the object that was answered.", true},
	}
}

// dynamicField makes the row for a name below one of the open prefixes.
func dynamicField(name string) (definition, bool) {
	if len(name) > maxName {
		return definition{}, false
	}
	info := Info{Name: name, Type: value.Keyword, Source: audit}
	if key, ok := under(name, annotationsPrefix); ok {
		return annotationField(info, key), true
	}
	info.Many = true
	if key, ok := under(name, extraPrefix); ok {
		return extraField(info, key, func(e *event.Event, create bool) *event.AuditUser {
			if a := auditOf(e, create); a != nil {
				return &a.User
			}
			return nil
		}), true
	}
	if key, ok := under(name, impersonatedExtra); ok {
		return extraField(info, key, impersonatedOf), true
	}
	if path, ok := under(name, requestPrefix); ok {
		return objectField(info, path, requestObject()), true
	}
	if path, ok := under(name, responsePrefix); ok {
		return objectField(info, path, responseObject()), true
	}
	return definition{}, false
}

func under(name, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(name, prefix)
	return rest, ok && rest != ""
}

func annotationField(info Info, key string) definition {
	dotted := strings.ReplaceAll(key, "_", ".")
	return definition{
		Info: info,
		get: func(r *Record) value.Value {
			if r.event.Audit == nil {
				return value.Missing()
			}
			return annotation(r.event.Audit.Annotations, key, dotted)
		},
		set: func(e *event.Event, given input) error {
			text, err := given.text()
			setAnnotation(auditOf(e, true), key, text)
			return err
		},
	}
}

func setAnnotation(a *event.Audit, key, text string) {
	if a.Annotations == nil {
		a.Annotations = map[string]string{}
	}
	a.Annotations[key] = text
}

// annotation finds a value by the key as rules write it: unchanged, or with
// underscores for dots. The first two look-ups find all that Kubernetes writes.
func annotation(annotations map[string]string, key, dotted string) value.Value {
	for _, k := range []string{dotted, key} {
		if v, ok := annotations[k]; ok {
			return value.String(v)
		}
	}
	for k, v := range annotations {
		if sameUndotted(k, key) {
			return value.String(v)
		}
	}
	return value.Missing()
}

func extraField(info Info, key string, of part[event.AuditUser]) definition {
	return definition{
		Info: info,
		get: func(r *Record) value.Value {
			if u := of(r.event, false); u != nil {
				return value.Strings(underKey(u.Extra, key))
			}
			return value.Missing()
		},
		set: func(e *event.Event, given input) error { return setExtra(of(e, true), key, given) },
	}
}

func setExtra(u *event.AuditUser, key string, given input) error {
	texts, err := given.texts()
	if u.Extra == nil {
		u.Extra = map[string][]string{}
	}
	u.Extra[key] = texts
	return err
}

// underKey is annotation's search for the lists of a user's extra.
func underKey(extra map[string][]string, key string) []string {
	if v, ok := extra[key]; ok {
		return v
	}
	for k, v := range extra {
		if sameUndotted(k, key) {
			return v
		}
	}
	return nil
}

// sameUndotted reports whether two keys are equal when dots count as underscores.
func sameUndotted(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if a[i] != b[i] && ((a[i] != '.' && a[i] != '_') || (b[i] != '.' && b[i] != '_')) {
			return false
		}
	}
	return true
}
