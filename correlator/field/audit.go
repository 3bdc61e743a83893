package field

import (
	"strings"

	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

// The prefixes below which every name is a field.
const (
	auditPrefix       = "kubernetes.audit."
	annotationsPrefix = auditPrefix + "annotations."
	extraPrefix       = auditPrefix + "user.extra."
	impersonatedExtra = auditPrefix + "impersonatedUser.extra."
	requestPrefix     = auditPrefix + "requestObject."
	responsePrefix    = auditPrefix + "responseObject."
	callerNameField   = extraPrefix + "authentication.kubernetes.io/pod-name"
)

func auditText(name, doc string, get func(*event.Audit) string) definition {
	return text(auditPrefix+name, audit, doc, func(e *event.Event) string {
		if e.Audit == nil {
			return ""
		}
		return get(e.Audit)
	})
}

func auditTexts(name string, t value.Type, doc string, get func(*event.Audit) []string) definition {
	d := texts(auditPrefix+name, audit, doc, func(e *event.Event) []string {
		if e.Audit == nil {
			return nil
		}
		return get(e.Audit)
	})
	d.Type = t
	return d
}

func auditFields() []definition {
	sourceIPs := func(a *event.Audit) []string { return a.SourceIPs }
	client := auditTexts("", value.IP, "Equals kubernetes.audit.sourceIPs.", sourceIPs)
	client.Name = "source.ip"
	agentName := auditText("", "Equals kubernetes.audit.userAgent.", func(a *event.Audit) string { return a.UserAgent })
	agentName.Name = "user_agent.original"
	return []definition{
		auditText("stage", "ResponseStarted, ResponseComplete or Panic.", func(a *event.Audit) string { return a.Stage }),
		auditText("level", "How much the audit policy records: Metadata, Request or RequestResponse.", func(a *event.Audit) string { return a.Level }),
		auditText("verb", "The request's verb, such as get or create.", func(a *event.Audit) string { return a.Verb }),
		auditText("requestURI", "The request's path and query, as sent.", func(a *event.Audit) string { return a.RequestURI }),
		auditText("auditID", "The request's ID, which its client may have chosen.", func(a *event.Audit) string { return a.AuditID }),
		auditText("userAgent", "What the client says it is.", func(a *event.Audit) string { return a.UserAgent }),
		auditTexts("sourceIPs", value.IP, "Where the request came from.", sourceIPs),
		client, agentName,
		row(auditPrefix+"responseStatus.code", value.Number, audit, "The response's HTTP status.", func(r *Record) value.Value {
			if r.event.Audit == nil || r.event.Audit.Code == 0 {
				return value.Missing()
			}
			return value.Int(int64(r.event.Audit.Code))
		}),
		auditText("responseStatus.reason", "The response's reason, such as Forbidden.", func(a *event.Audit) string { return a.Reason }),
		auditText("responseStatus.message", "The response's message.", func(a *event.Audit) string { return a.Message }),
		auditText("objectRef.resource", "The resource, such as pods.", func(a *event.Audit) string { return a.ObjectRef.Resource }),
		auditText("objectRef.subresource", "The subresource, such as exec.", func(a *event.Audit) string { return a.ObjectRef.Subresource }),
		auditText("objectRef.namespace", "The object's namespace.", func(a *event.Audit) string { return a.ObjectRef.Namespace }),
		auditText("objectRef.name", "The object's name.", func(a *event.Audit) string { return a.ObjectRef.Name }),
		auditText("objectRef.uid", "The object's UID, where the API server recorded it.", func(a *event.Audit) string { return a.ObjectRef.UID }),
		auditText("objectRef.apiGroup", "The object's API group, missing for the core group.", func(a *event.Audit) string { return a.ObjectRef.APIGroup }),
		auditText("objectRef.apiVersion", "The object's API version.", func(a *event.Audit) string { return a.ObjectRef.APIVersion }),
	}
}

func auditUserFields() []definition {
	impersonated := func(get func(*event.AuditUser) []string) func(*event.Audit) []string {
		return func(a *event.Audit) []string {
			if a.ImpersonatedUser == nil {
				return nil
			}
			return get(a.ImpersonatedUser)
		}
	}
	impersonatedText := func(get func(*event.AuditUser) string) func(*event.Audit) string {
		return func(a *event.Audit) string {
			if a.ImpersonatedUser == nil {
				return ""
			}
			return get(a.ImpersonatedUser)
		}
	}
	return []definition{
		auditText("user.username", "The authenticated user.", func(a *event.Audit) string { return a.User.Username }),
		auditText("user.uid", "The authenticated user's UID.", func(a *event.Audit) string { return a.User.UID }),
		auditTexts("user.groups", value.Keyword, "The authenticated user's groups.", func(a *event.Audit) []string { return a.User.Groups }),
		auditText("impersonatedUser.username", "Whom the user acted as.", impersonatedText(func(u *event.AuditUser) string { return u.Username })),
		auditText("impersonatedUser.uid", "The UID of whom the user acted as.", impersonatedText(func(u *event.AuditUser) string { return u.UID })),
		auditTexts("impersonatedUser.groups", value.Keyword, "The groups of whom the user acted as.",
			impersonated(func(u *event.AuditUser) []string { return u.Groups })),
		row(callerNameField, value.Reference, audit,
			"The pod whose token made the request: reads as its name, joins by its identity.", callerRef),
	}
}

// callerRef is the calling pod. A name without any identity (which no source
// of ours makes) reads as text and joins with nothing.
func callerRef(r *Record) value.Value {
	switch a := r.event.Audit; {
	case a == nil:
		return value.Missing()
	case !a.Caller.IsZero():
		return r.podRef(a.Caller)
	default:
		names := a.User.Extra["authentication.kubernetes.io/pod-name"]
		if len(names) == 0 {
			return value.Missing()
		}
		return value.Ref(names[0], "")
	}
}

// dynamicField makes the row for a name below one of the open prefixes.
func dynamicField(name string) (definition, bool) {
	info := Info{Name: name, Type: value.Keyword, Source: audit}
	if key, ok := under(name, annotationsPrefix); ok {
		dotted := strings.ReplaceAll(key, "_", ".")
		return definition{info, func(r *Record) value.Value {
			if r.event.Audit == nil {
				return value.Missing()
			}
			return annotation(r.event.Audit.Annotations, key, dotted)
		}}, true
	}
	info.Many = true
	if key, ok := under(name, extraPrefix); ok {
		return definition{info, func(r *Record) value.Value {
			if r.event.Audit == nil {
				return value.Missing()
			}
			return value.Strings(underKey(r.event.Audit.User.Extra, key))
		}}, true
	}
	if key, ok := under(name, impersonatedExtra); ok {
		return definition{info, func(r *Record) value.Value {
			if r.event.Audit == nil || r.event.Audit.ImpersonatedUser == nil {
				return value.Missing()
			}
			return value.Strings(underKey(r.event.Audit.ImpersonatedUser.Extra, key))
		}}, true
	}
	if path, ok := under(name, requestPrefix); ok {
		return objectField(info, path, func(r *Record) *document { return r.requestObject() }), true
	}
	if path, ok := under(name, responsePrefix); ok {
		return objectField(info, path, func(r *Record) *document { return r.responseObject() }), true
	}
	return definition{}, false
}

func under(name, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(name, prefix)
	return rest, ok && rest != ""
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
