package auditsink

import "github.com/portcullis-dev/portcullis/event"

// usual reads an event that has no other members than those of nearly all: what
// members and member do, in half the time. It knows nothing that they do not.
func (r *reader) usual(d *delivered) bool {
	if r.peek() != '{' {
		return false
	}
	a, open := &d.audit, r.at
	return (!r.has(open, `"level":`) || r.str(&a.Level)) &&
		(!r.has(open, `"auditID":`) || r.str(&a.AuditID)) &&
		(!r.has(open, `"stage":`) || r.str(&a.Stage)) &&
		(!r.has(open, `"requestURI":`) || r.str(&a.RequestURI)) &&
		(!r.has(open, `"verb":`) || r.str(&a.Verb)) &&
		(!r.has(open, `"user":`) || r.user(a, eventUser)) &&
		(!r.has(open, `"impersonatedUser":`) || r.user(a, eventImpersonatedUser)) &&
		(!r.has(open, `"authenticationMetadata":`) || r.value(maxDepth)) &&
		(!r.has(open, `"sourceIPs":`) || r.addresses(d)) &&
		(!r.has(open, `"userAgent":`) || r.str(&a.UserAgent)) &&
		(!r.has(open, `"objectRef":`) || r.ref(&a.ObjectRef)) &&
		(!r.has(open, `"responseStatus":`) || r.status(a)) &&
		(!r.has(open, `"requestObject":`) || r.raw(&a.RequestObject)) &&
		(!r.has(open, `"responseObject":`) || r.raw(&a.ResponseObject)) &&
		(!r.has(open, `"requestReceivedTimestamp":`) || r.time(&d.event.Time)) &&
		(!r.has(open, `"stageTimestamp":`) || r.time(&d.event.StageTime)) &&
		(!r.has(open, `"annotations":`) || r.notes(a)) &&
		r.token() == '}'
}

// usualRef does the same for the object of a request.
func (r *reader) usualRef(ref *event.ObjectRef) bool {
	if r.peek() != '{' {
		return false
	}
	open := r.at
	return (!r.has(open, `"resource":`) || r.str(&ref.Resource)) &&
		(!r.has(open, `"namespace":`) || r.str(&ref.Namespace)) &&
		(!r.has(open, `"name":`) || r.str(&ref.Name)) &&
		(!r.has(open, `"uid":`) || r.str(&ref.UID)) &&
		(!r.has(open, `"apiGroup":`) || r.str(&ref.APIGroup)) &&
		(!r.has(open, `"apiVersion":`) || r.str(&ref.APIVersion)) &&
		(!r.has(open, `"resourceVersion":`) || r.value(maxDepth)) &&
		(!r.has(open, `"subresource":`) || r.str(&ref.Subresource)) &&
		r.token() == '}'
}

// has reads the name of a member, if that is what follows: behind the brace that
// opens the object, or behind a comma.
func (s *scanner) has(open int, name string) bool {
	begin := s.at + 1
	if len(s.text)-begin < len(name) || s.text[begin:begin+len(name)] != name || s.at != open && s.bytes[s.at] != ',' {
		return false
	}
	s.at = begin + len(name)
	return true
}
