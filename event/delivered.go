package event

import (
	"slices"
	"strings"
)

// Identify sets ID and Request of an event whose source has left them for later,
// because no rule wants most events and the two hashes cost more than all the
// rest. It does nothing where they are set. Whoever needs them calls it, while
// the event is still its own.
func (e *Event) Identify() {
	if e.ID != "" || e.Delivered == "" {
		return
	}
	var room [digestRoom]byte
	e.ID = idOf(append(digestText(room[:0], e.Source), e.Delivered...))
	e.Request = e.ID
	if e.Audit != nil {
		// What the source wrote, before its clock was corrected.
		e.Request = RequestOf(e.Source, e.Time.Add(e.Clock.Offset), e.Audit)
	}
}

// Own returns the event as one that may be kept: with its ID, and with texts of
// its own. An event whose Delivered is set is lent, and shares memory with all
// others of the same delivery: to keep a text of it would keep megabytes. (Users
// and annotations never do: sources share them between deliveries.)
func (e *Event) Own() *Event {
	if e.Delivered == "" {
		return e
	}
	e.Identify()
	own := *e
	own.Delivered = ""
	own.Action = ownTexts(e.Action)
	if e.Audit != nil {
		own.Audit = e.Audit.own()
	}
	return &own
}

func (a *Audit) own() *Audit {
	own := *a
	ref, caller, target := &own.ObjectRef, &own.Caller, &own.Target
	// Of a pod, the labels are the resolver's, and never the delivery's.
	ownAll([]*string{
		&own.AuditID, &own.Stage, &own.Level, &own.Verb, &own.RequestURI, &own.UserAgent, &own.Reason, &own.Message,
		&ref.APIGroup, &ref.APIVersion, &ref.Resource, &ref.Subresource, &ref.Namespace, &ref.Name, &ref.UID,
		&caller.UID, &caller.Namespace, &caller.Name, &caller.Node,
		&target.UID, &target.Namespace, &target.Name, &target.Node,
	})
	own.SourceIPs = ownTexts(a.SourceIPs)
	own.RequestObject = slices.Clone(a.RequestObject)
	own.ResponseObject = slices.Clone(a.ResponseObject)
	caller.Candidates, target.Candidates = ownTexts(caller.Candidates), ownTexts(target.Candidates)
	return &own
}

// ownAll makes texts parts of one piece of memory that is theirs alone: they are
// kept and forgotten together.
func ownAll(texts []*string) {
	length := 0
	for _, text := range texts {
		length += len(*text)
	}
	var all strings.Builder
	all.Grow(length)
	for _, text := range texts {
		all.WriteString(*text)
	}
	rest := all.String()
	for _, text := range texts {
		*text, rest = rest[:len(*text)], rest[len(*text):]
	}
}

func ownTexts(texts []string) []string {
	own := slices.Clone(texts)
	for i, text := range own {
		own[i] = strings.Clone(text)
	}
	return own
}
