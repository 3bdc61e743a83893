package field

import (
	"math"

	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

// The prefix of audit fields, and those below which every name is a field.
const (
	auditPrefix       = "kubernetes.audit."
	annotationsPrefix = auditPrefix + "annotations."
	extraPrefix       = auditPrefix + "user.extra."
	impersonatedExtra = auditPrefix + "impersonatedUser.extra."
	requestPrefix     = auditPrefix + "requestObject."
	responsePrefix    = auditPrefix + "responseObject."
	callerNameField   = extraPrefix + event.ExtraPodName
)

func auditOf(e *event.Event, create bool) *event.Audit {
	if e.Audit == nil && create {
		e.Audit = &event.Audit{}
	}
	return e.Audit
}

func impersonatedOf(e *event.Event, create bool) *event.AuditUser {
	a := auditOf(e, create)
	if a == nil {
		return nil
	}
	if a.ImpersonatedUser == nil && create {
		a.ImpersonatedUser = &event.AuditUser{}
	}
	return a.ImpersonatedUser
}

func auditText(name, doc string, at func(*event.Audit) *string) definition {
	return textRow(auditPrefix+name, audit, doc, auditOf, at)
}

func auditFields() []definition {
	type request = event.Audit
	return []definition{
		auditText("stage", "RequestReceived, ResponseStarted, ResponseComplete or Panic.", func(a *request) *string { return &a.Stage }),
		auditText("level", "How much the audit policy records: Metadata, Request or RequestResponse.", func(a *request) *string { return &a.Level }),
		auditText("verb", "The request's verb, such as get or create.", func(a *request) *string { return &a.Verb }),
		auditText("requestURI", "The request's path and query, as sent.", func(a *request) *string { return &a.RequestURI }),
		auditText("auditID", "The request's ID, which its client may have chosen.", func(a *request) *string { return &a.AuditID }),
		auditIDReused(),
		auditText("userAgent", "What the client says it is.", func(a *request) *string { return &a.UserAgent }),
		sourceIPs(),
		responseCode(),
		auditText("responseStatus.reason", "The response's reason, such as Forbidden.", func(a *request) *string { return &a.Reason }),
		auditText("responseStatus.message", "The response's message.", func(a *request) *string { return &a.Message }),
		auditText("objectRef.resource", "The resource, such as pods.", func(a *request) *string { return &a.ObjectRef.Resource }),
		auditText("objectRef.subresource", "The subresource, such as exec.", func(a *request) *string { return &a.ObjectRef.Subresource }),
		auditText("objectRef.namespace", "The object's namespace.", func(a *request) *string { return &a.ObjectRef.Namespace }),
		auditText("objectRef.name", "The object's name.", func(a *request) *string { return &a.ObjectRef.Name }),
		auditText("objectRef.uid", "The object's UID, where the API server recorded it.", func(a *request) *string { return &a.ObjectRef.UID }),
		auditText("objectRef.apiGroup", "The object's API group, missing for the core group.", func(a *request) *string { return &a.ObjectRef.APIGroup }),
		auditText("objectRef.apiVersion", "The object's API version.", func(a *request) *string { return &a.ObjectRef.APIVersion }),
	}
}

func auditIDReused() definition {
	return ifTrue(flagRow(auditPrefix+"auditID_reused", audit,
		"Whether another request had the same ID before: the client hides something, or is broken.",
		auditOf, func(a *event.Audit) *bool { return &a.AuditIDReused }))
}

func sourceIPs() definition {
	d := textsRow(auditPrefix+"sourceIPs", audit, "Where the request came from, the nearest address last.",
		auditOf, func(a *event.Audit) *[]string { return &a.SourceIPs })
	d.Type = value.IP
	return d
}

func responseCode() definition {
	return definition{
		Info: Info{Name: auditPrefix + "responseStatus.code", Type: value.Number, Source: audit, Doc: "The response's HTTP status."},
		get: func(r *Record) value.Value {
			if r.event.Audit == nil || r.event.Audit.Code == 0 {
				return value.Missing()
			}
			return value.Int(int64(r.event.Audit.Code))
		},
		set: func(e *event.Event, given input) error {
			n, err := given.whole(0, math.MaxInt32)
			auditOf(e, true).Code = int32(n) //nolint:gosec // whole has checked it
			return err
		},
	}
}

func auditUserFields() []definition {
	type user = event.AuditUser
	callerName := textRow(callerNameField, audit, "The pod whose token made the request: reads as its name, joins by its identity.",
		auditOf, func(*event.Audit) *string { return nil })
	callerName.Type, callerName.get = value.Reference, callerRef
	callerName.set = func(e *event.Event, given input) error {
		return setExtra(&auditOf(e, true).User, event.ExtraPodName, given)
	}
	callerName.write = func(*event.Event) any { return nil } // with all extras
	return []definition{
		auditText("user.username", "The authenticated user.", func(a *event.Audit) *string { return &a.User.Username }),
		auditText("user.uid", "The authenticated user's UID.", func(a *event.Audit) *string { return &a.User.UID }),
		textsRow(auditPrefix+"user.groups", audit, "The authenticated user's groups.", auditOf, func(a *event.Audit) *[]string { return &a.User.Groups }),
		textRow(auditPrefix+"impersonatedUser.username", audit, "Whom the user acted as.", impersonatedOf, func(u *user) *string { return &u.Username }),
		textRow(auditPrefix+"impersonatedUser.uid", audit, "The UID of whom the user acted as.", impersonatedOf, func(u *user) *string { return &u.UID }),
		textsRow(auditPrefix+"impersonatedUser.groups", audit, "The groups of whom the user acted as.", impersonatedOf, func(u *user) *[]string { return &u.Groups }),
		callerName,
	}
}

// auditCopies say the same as other fields, under the names of the Elastic Common Schema and of Elastic's integration.
func auditCopies() []definition {
	always := func(name, s, doc string) definition {
		return derivedRow(auditPrefix+name, value.Keyword, audit, doc, func(r *Record) value.Value {
			if r.event.Audit == nil {
				return value.Missing()
			}
			return value.String(s)
		}, nil)
	}
	return []definition{
		copyOf(sourceIPs(), "source.ip", "Equals kubernetes.audit.sourceIPs."),
		copyOf(sourceIPs(), "client.ip", "Equals kubernetes.audit.sourceIPs."),
		copyOf(auditText("", "", func(a *event.Audit) *string { return &a.UserAgent }), "user_agent.original", "Equals kubernetes.audit.userAgent."),
		derivedRow(auditPrefix+"responseStatus.status", value.Keyword, audit, "Failure where the response's code is 400 or more.",
			func(r *Record) value.Value {
				if r.event.Audit == nil || r.event.Audit.Code < 400 {
					return value.Missing()
				}
				return value.String("Failure")
			}, nil),
		always("apiVersion", "audit.k8s.io/v1", "Always audit.k8s.io/v1."),
		always("kind", "Event", "Always Event."),
	}
}

// callerRef is the calling pod. A name without any identity (which no source
// of ours makes) reads as text and joins with nothing.
func callerRef(r *Record) value.Value {
	switch a := r.event.Audit; {
	case a == nil:
		return value.Missing()
	case !a.Caller.IsZero():
		return r.podRef(&a.Caller, &r.callerKey)
	default:
		names := a.User.Extra[event.ExtraPodName]
		if len(names) == 0 {
			return value.Missing()
		}
		return value.Ref(names[0], "")
	}
}
