package auditsink

import (
	"strings"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// API servers write what they have in one way: without spaces, members in the
// order of the API's Go types, none twice. Text like that is read in one pass,
// into the event itself. Text that is different in any way, be it valid or not, is
// left to the API's own decoder (wire.go): this one is only faster, never more
// lenient, and a fuzz test holds the two against each other.

// names are the names of the members that are read, in the order in which API
// servers write them.
type names struct{ event, user, ref, status []name }

func newNames() names {
	each := func(fields ...string) []name {
		names := make([]name, len(fields))
		for i, field := range fields {
			names[i] = newName(field)
		}
		return names
	}
	return names{
		event: each("kind", "apiVersion", "level", "auditID", "stage", "requestURI", "verb", "user", "impersonatedUser",
			"authenticationMetadata", "sourceIPs", "userAgent", "objectRef", "responseStatus", "requestObject", "responseObject",
			"requestReceivedTimestamp", "stageTimestamp", "annotations"),
		user:   each("username", "uid", "groups", "extra"),
		ref:    each("resource", "namespace", "name", "uid", "apiGroup", "apiVersion", "resourceVersion", "subresource"),
		status: each("metadata", "status", "message", "reason", "details", "code"),
	}
}

// Places in names.event.
const (
	eventKind = iota
	eventAPIVersion
	eventLevel
	eventAuditID
	eventStage
	eventRequestURI
	eventVerb
	eventUser
	eventImpersonatedUser
	eventAuthenticationMetadata
	eventSourceIPs
	eventUserAgent
	eventObjectRef
	eventResponseStatus
	eventRequestObject
	eventResponseObject
	eventReceived
	eventStageTime
	eventAnnotations
)

// Places in names.user.
const (
	userUsername = iota
	userUID
	userGroups
	userExtra
)

// Places in names.ref.
const (
	refResource = iota
	refNamespace
	refName
	refUID
	refAPIGroup
	refAPIVersion
	refResourceVersion
	refSubresource
)

// Places in names.status.
const (
	statusMetadata = iota
	statusStatus
	statusMessage
	statusReason
	statusDetails
	statusCode
)

// reader reads the events of one delivery.
type reader struct {
	*Decoder
	scanner
	from   Delivery
	source string
	// minute is the last minute that was read, and its text.
	minuteText string
	minute     time.Time
	// userHint is by what the user of the event was found.
	userHint uint64
	rooms    rooms
}

// event reads one event, or returns nil.
func (r *reader) event() *event.Event {
	d := r.rooms.next()
	if !r.fill(d) {
		*d = delivered{}
		return nil
	}
	r.rooms.taken++
	return &d.event
}

func (r *reader) fill(d *delivered) bool {
	begin := r.at
	if !r.usual(d) {
		*d, r.at = delivered{}, begin
		if !r.members(r.names.event, func(place int) bool { return r.member(d, place) }) {
			return false
		}
	}
	e, a := &d.event, &d.audit
	if e.Time.IsZero() || e.StageTime.IsZero() || r.from.before(e.Time) || r.from.before(e.StageTime) {
		return false
	}
	e.Kind, e.Source, e.Received, e.Dataset, e.Audit = event.KindAudit, r.source, r.from.Received, event.DatasetAudit, a
	if a.Verb != "" {
		d.action[0] = a.Verb
		e.Action = d.action[:]
	}
	a.Target = event.TargetOf(a)
	e.Delivered = r.text[begin:r.at]
	return true
}

// member reads the value of a member of an event.
func (r *reader) member(d *delivered, place int) bool {
	a := &d.audit
	switch place {
	case eventLevel:
		return r.str(&a.Level)
	case eventAuditID:
		return r.str(&a.AuditID)
	case eventStage:
		return r.str(&a.Stage)
	case eventRequestURI:
		return r.str(&a.RequestURI)
	case eventVerb:
		return r.str(&a.Verb)
	case eventUser, eventImpersonatedUser:
		return r.user(a, place)
	case eventSourceIPs:
		return r.addresses(d)
	case eventUserAgent:
		return r.str(&a.UserAgent)
	case eventObjectRef:
		return r.ref(&a.ObjectRef)
	case eventResponseStatus:
		return r.status(a)
	case eventRequestObject:
		return r.raw(&a.RequestObject)
	case eventResponseObject:
		return r.raw(&a.ResponseObject)
	case eventReceived:
		return r.time(&d.event.Time)
	case eventStageTime:
		return r.time(&d.event.StageTime)
	case eventAnnotations:
		return r.notes(a)
	default:
		return r.value(maxDepth)
	}
}

// user reads a user. What its text begins with says who it is, but for tokens of the same account.
func (r *reader) user(a *event.Audit, place int) bool {
	const begin = 64
	hint := r.users.hash(r.text[r.at:min(len(r.text), r.at+begin)])
	u := r.users.object(&r.scanner, hint)
	switch {
	case u == nil:
		return false
	case place == eventUser:
		a.User, a.Caller, r.userHint = u.AuditUser, u.pod, hint
	default:
		a.ImpersonatedUser = &u.AuditUser
	}
	return true
}

// notes reads annotations. They mostly say which role lets the user do that to such an object.
func (r *reader) notes(a *event.Audit) bool {
	ref := &a.ObjectRef
	hint := r.userHint + uint64(len(a.Verb)) + uint64(len(ref.Resource))<<4 + uint64(len(ref.Subresource))<<8
	notes := r.annotations.object(&r.scanner, hint)
	if notes == nil {
		return false
	}
	a.Annotations = *notes
	return true
}

// addresses reads the source addresses: one, nearly always.
func (r *reader) addresses(d *delivered) bool {
	begin := r.at
	if r.literal("[") && r.str(&d.address[0]) && r.literal("]") {
		d.audit.SourceIPs = d.address[:]
		return true
	}
	var ok bool
	r.at = begin
	d.audit.SourceIPs, ok = r.strs()
	return ok
}

func (r *reader) ref(ref *event.ObjectRef) bool {
	begin := r.at
	if r.usualRef(ref) {
		return true
	}
	r.at, *ref = begin, event.ObjectRef{}
	return r.members(r.names.ref, func(place int) bool {
		switch place {
		case refResource:
			return r.str(&ref.Resource)
		case refNamespace:
			return r.str(&ref.Namespace)
		case refName:
			return r.str(&ref.Name)
		case refUID:
			return r.str(&ref.UID)
		case refAPIGroup:
			return r.str(&ref.APIGroup)
		case refAPIVersion:
			return r.str(&ref.APIVersion)
		case refSubresource:
			return r.str(&ref.Subresource)
		default:
			return r.value(maxDepth)
		}
	})
}

func (r *reader) status(a *event.Audit) bool {
	begin := r.at
	if r.literal(`{"metadata":{},"code":`) && r.small(&a.Code) && r.literal("}") {
		return true // as nearly all
	}
	r.at, a.Code = begin, 0
	return r.members(r.names.status, func(place int) bool {
		switch place {
		case statusMessage:
			return r.str(&a.Message)
		case statusReason:
			return r.str(&a.Reason)
		case statusCode:
			return r.small(&a.Code)
		default:
			return r.value(maxDepth)
		}
	})
}

// time reads a metav1.MicroTime: "2006-01-02T15:04:05.000000Z". Events that come
// together have few different minutes between them.
func (r *reader) time(out *time.Time) bool {
	const minute, length = len(`"2006-01-02T15:04:`), len(`"2006-01-02T15:04:05.000000Z"`)
	if len(r.text)-r.at < length {
		return false
	}
	text := r.text[r.at : r.at+length]
	if text[:minute] != r.minuteText {
		parsed, err := time.Parse(`"2006-01-02T15:04:`, text[:minute])
		if err != nil {
			return false
		}
		r.minuteText, r.minute = text[:minute], parsed
	}
	seconds, ok := digits(text[minute:][:2])
	micros, alsoOK := digits(text[minute+3:][:6])
	*out = r.minute.Add(time.Duration(seconds)*time.Second + time.Duration(micros)*time.Microsecond)
	r.at += length
	return ok && alsoOK && seconds < 60 && text[minute+2] == '.' && strings.HasSuffix(text, `Z"`)
}

func digits(text string) (n int, ok bool) {
	for i := range len(text) {
		c := text[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = 10*n + int(c)
	}
	return n, true
}
