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
	d := make(Digest, 0, len(e.Source)+len(e.Delivered)+16)
	d.Text(e.Source)
	d.Rest([]byte(e.Delivered))
	e.ID, e.Request = d.ID(), d.ID()
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
	for _, text := range []*string{&own.AuditID, &own.Stage, &own.Level, &own.Verb, &own.RequestURI, &own.UserAgent, &own.Reason, &own.Message} {
		*text = strings.Clone(*text)
	}
	own.SourceIPs = ownTexts(a.SourceIPs)
	ref := &own.ObjectRef
	for _, text := range []*string{&ref.APIGroup, &ref.APIVersion, &ref.Resource, &ref.Subresource, &ref.Namespace, &ref.Name, &ref.UID} {
		*text = strings.Clone(*text)
	}
	own.RequestObject = slices.Clone(a.RequestObject)
	own.ResponseObject = slices.Clone(a.ResponseObject)
	own.Caller, own.Target = a.Caller.own(), a.Target.own()
	return &own
}

// own leaves alone what is the resolver's, and never the delivery's.
func (p Pod) own() Pod {
	p.UID, p.Namespace, p.Name, p.Node = strings.Clone(p.UID), strings.Clone(p.Namespace), strings.Clone(p.Name), strings.Clone(p.Node)
	p.Candidates = ownTexts(p.Candidates)
	return p
}

func ownTexts(texts []string) []string {
	own := slices.Clone(texts)
	for i, text := range own {
		own[i] = strings.Clone(text)
	}
	return own
}
