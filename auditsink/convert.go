package auditsink

import (
	"encoding/json"

	"github.com/portcullis-dev/portcullis/event"
)

func convert(w *wireEvent, raw []byte, source string, from Delivery) *event.Event {
	a := audit(w)
	a.Caller, a.Target = event.CallerOf(&a.User), event.TargetOf(a)
	return &event.Event{
		Kind:      event.KindAudit,
		Source:    source,
		Time:      w.RequestReceivedTimestamp.Time,
		StageTime: w.StageTimestamp.Time,
		Received:  from.Received,
		Dataset:   event.DatasetAudit,
		Action:    verb(w),
		Audit:     a,
		Delivered: string(raw),
	}
}

// verb is what Elastic's integration has as event.action.
func verb(w *wireEvent) []string {
	if w.Verb == "" {
		return nil
	}
	return []string{w.Verb}
}

func audit(w *wireEvent) *event.Audit {
	return &event.Audit{
		AuditID:          w.AuditID,
		Stage:            w.Stage,
		Level:            w.Level,
		Verb:             w.Verb,
		RequestURI:       w.RequestURI,
		UserAgent:        w.UserAgent,
		SourceIPs:        w.SourceIPs,
		User:             w.User.convert(),
		ImpersonatedUser: w.ImpersonatedUser.convertOptional(),
		ObjectRef: event.ObjectRef{
			APIGroup: w.ObjectRef.APIGroup, APIVersion: w.ObjectRef.APIVersion,
			Resource: w.ObjectRef.Resource, Subresource: w.ObjectRef.Subresource,
			Namespace: w.ObjectRef.Namespace, Name: w.ObjectRef.Name, UID: w.ObjectRef.UID,
		},
		Code:           w.ResponseStatus.Code,
		Reason:         w.ResponseStatus.Reason,
		Message:        w.ResponseStatus.Message,
		Annotations:    w.Annotations,
		RequestObject:  notNull(w.RequestObject),
		ResponseObject: notNull(w.ResponseObject),
	}
}

func (u *wireUser) convert() event.AuditUser {
	return event.AuditUser{Username: u.Username, UID: u.UID, Groups: u.Groups, Extra: u.Extra}
}

func (u *wireUser) convertOptional() *event.AuditUser {
	if u == nil {
		return nil
	}
	out := u.convert()
	return &out
}

func notNull(object json.RawMessage) json.RawMessage {
	if string(object) == "null" {
		return nil
	}
	return object
}
