package webhook

import (
	"net/url"
	"strings"

	admission "k8s.io/api/admission/v1"

	"github.com/portcullis-dev/portcullis/event"
)

// OfEvent is the request that an audit event of a door tells of, as the review of it would be; false for every
// other event. It is for what was decided before the webhook was asked. User is whom admission sees: with impersonation that
// is whom they act as. What an audit event does not tell (the containers that are added, stdin and the like
// where they are no parameters) is left out.
func OfEvent(e *event.Event) (Request, bool) {
	a := e.Audit
	if a == nil || a.ObjectRef.APIGroup != "" || a.ObjectRef.Name == "" {
		return Request{}, false
	}
	sub := lookup(a.ObjectRef.Resource, a.ObjectRef.Subresource)
	if sub.kind == "" || sub.operation == admission.Update && a.Verb != "update" && a.Verb != "patch" {
		return Request{}, false
	}
	user := &a.User
	if a.ImpersonatedUser != nil {
		user = a.ImpersonatedUser
	}
	r := Request{
		Session: a.Annotations[event.AnnotationSession], Operation: string(sub.operation),
		Resource: a.ObjectRef.Resource, Subresource: a.ObjectRef.Subresource, Name: a.ObjectRef.Name, Namespace: a.ObjectRef.Namespace,
		User: user.Username, UserUID: user.UID, Groups: user.Groups, Extra: user.Extra,
		Credentials: user.Extra[extraCredentialID], CallerPod: event.CallerOf(&event.AuditUser{Extra: user.Extra}).UID,
	}
	if u, err := url.ParseRequestURI(a.RequestURI); err == nil {
		r.read(u)
	}
	r.reach(&object{}, nil)
	return r, true
}

// read takes over what the URI says: parameters of a stream, or the path of what is proxied.
func (r *Request) read(u *url.URL) {
	if r.Subresource == DoorProxy {
		_, path, found := strings.Cut(u.Path, "/"+r.Resource+"/"+r.Name+"/"+DoorProxy)
		if found {
			r.Path = path
		}
		return
	}
	query := u.Query()
	set := func(name string) bool { v := query.Get(name); return v == "true" || v == "1" }
	r.Container, r.Command = query.Get("container"), query["command"]
	r.Stdin, r.Stdout, r.Stderr, r.TTY = set("stdin"), set("stdout"), set("stderr"), set("tty")
}
