package field

import (
	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

// often is what rules read of nearly every event, in the order of oftenRead. By
// the table's rows each of these costs three calls through pointers, and all of
// them more than whatever else is done about an event that no rule wants. So they
// are read together, as the event comes. A test holds them against their rows.
type often [14]value.Value

func oftenRead() []string {
	return []string{
		"event.category", "event.type", "event.action", "event.dataset", "data_stream.dataset", "host.os.type",
		auditPrefix + "verb", auditPrefix + "stage", auditPrefix + "requestURI",
		auditPrefix + "objectRef.resource", auditPrefix + "objectRef.subresource",
		auditPrefix + "objectRef.namespace", auditPrefix + "objectRef.name",
		auditPrefix + "user.username",
	}
}

func (o *often) read(e *event.Event) {
	*o = often{}
	if e == nil {
		return
	}
	dataset := textValue(e.Dataset)
	o[0], o[1], o[2], o[3], o[4] = value.Strings(e.Category), value.Strings(e.Type), value.Strings(e.Action), dataset, dataset
	if isTelemetry(e) {
		o[5] = value.String("linux")
	}
	if a := e.Audit; a != nil {
		ref := &a.ObjectRef
		o[6], o[7], o[8] = textValue(a.Verb), textValue(a.Stage), textValue(a.RequestURI)
		o[9], o[10], o[11], o[12] = textValue(ref.Resource), textValue(ref.Subresource), textValue(ref.Namespace), textValue(ref.Name)
		o[13] = textValue(a.User.Username)
	}
}
