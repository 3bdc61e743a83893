package field

import (
	"strings"

	"github.com/portcullis-dev/portcullis/event"
)

// complete fills in what documents leave out.
func (b *builder) complete() {
	e := b.event
	if e.StageTime.IsZero() {
		e.StageTime = e.Time
	}
	if !b.says("portcullis.pod.confidence") {
		e.Pod.Confidence = ownConfidence(&e.Pod)
	}
	usual := usualOf(e)
	if !b.says("event.dataset") && e.Dataset == "" {
		e.Dataset = usual.dataset
	}
	if !b.says("event.category") {
		e.Category = usual.category
	}
	if !b.says("event.action") {
		e.Action = usual.action
	}
	if e.Audit != nil {
		b.completeAudit()
	}
	if p := e.Process; p != nil && p.Parent != nil {
		p.Parent.PID = p.PPID
	}
}

func (b *builder) completeAudit() {
	e, a := b.event, b.event.Audit
	if !b.saysBelow("portcullis.caller.") {
		a.Caller = event.CallerOf(&a.User)
	}
	if !b.saysBelow("portcullis.target.") {
		a.Target = event.TargetOf(a)
	}
	if e.Request == "" {
		e.Request = event.RequestOf(e.Source, e.Time, a)
	}
}

// says reports whether the document has a field, if only to say that it is missing.
func (b *builder) says(name string) bool {
	_, ok := b.given[name]
	return ok
}

// saysBelow reports whether the document has a field of a prefix.
func (b *builder) saysBelow(prefix string) bool {
	for name := range b.given {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// usual is how sources classify an event, which a document need not say.
type usual struct {
	dataset          string
	category, action []string
}

func usualOf(e *event.Event) usual {
	switch e.Kind {
	case event.KindAudit:
		u := usual{dataset: event.DatasetAudit}
		if e.Audit != nil && e.Audit.Verb != "" {
			u.action = []string{e.Audit.Verb}
		}
		return u
	case event.KindProcess:
		return usual{dataset: event.DatasetProcess, category: []string{"process"}}
	case event.KindFile:
		return usual{dataset: event.DatasetFile, category: []string{"file"}}
	default:
		return usual{}
	}
}
