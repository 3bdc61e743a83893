package field

import (
	"slices"

	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

// Document is the event as a document of the Elastic Common Schema: flat, with
// dotted names, and only what the event has. Fields that follow from others, and
// those that equal others, are left out; null is where Event would fill in what
// this event does not have. It holds texts, lists of texts, whole
// numbers, booleans, and for a request's objects what JSON makes of them; it
// shares nothing with the event. Event is the inverse.
func (s *Schema) Document(e *event.Event) map[string]any {
	document := make(map[string]any, 32)
	record := s.NewRecord()
	record.Reset(e)
	for i := range s.fixed {
		if d := &s.fixed[i]; !d.derived {
			d.document(record, document)
		}
	}
	for i := range s.further {
		if d := &s.further[i]; !d.derived {
			d.document(record, document)
		}
	}
	deny(document, e)
	if a := e.Audit; a != nil {
		for key, text := range a.Annotations {
			document[annotationsPrefix+key] = text
		}
		writeExtra(document, extraPrefix, &a.User)
		if a.ImpersonatedUser != nil {
			writeExtra(document, impersonatedExtra, a.ImpersonatedUser)
		}
	}
	return document
}

// deny says of what events usually have that this one does not have it: a
// document that says nothing would mean the usual.
func deny(document map[string]any, e *event.Event) {
	usual := usualOf(e)
	if usual.dataset != "" && e.Dataset == "" {
		document["event.dataset"] = nil
	}
	if usual.category != nil && len(e.Category) == 0 {
		document["event.category"] = nil
	}
	if usual.action != nil && len(e.Action) == 0 {
		document["event.action"] = nil
	}
}

func writeExtra(document map[string]any, prefix string, u *event.AuditUser) {
	for key, texts := range u.Extra {
		document[prefix+key] = slices.Clone(texts)
	}
}

// document writes one field.
func (d *definition) document(r *Record, document map[string]any) {
	var content any
	switch {
	case d.write != nil:
		content = d.write(r.event)
	case d.get != nil:
		content = contentOf(d.get(r), d.Many)
	}
	if content != nil {
		document[d.Name] = content
	}
}

// contentOf is a value as documents hold it. Fields that can have several values
// always hold a list.
func contentOf(v value.Value, many bool) any {
	switch v.Kind() {
	case value.KindString, value.KindStrings:
		texts := make([]string, 0, v.Len())
		for _, text := range textsOf(v) {
			// The record's memory is used again.
			texts = append(texts, string([]byte(text)))
		}
		switch {
		case many:
			return texts
		case texts[0] == "":
			return nil // a pod of which only the UID is known
		default:
			return texts[0]
		}
	case value.KindInt:
		return v.Int()
	case value.KindFloat:
		return v.Float()
	case value.KindBool:
		return v.Bool()
	default:
		return nil
	}
}
