package field

import (
	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

func sessionOf(e *event.Event, create bool) *event.Session {
	if e.Session == nil && create {
		e.Session = &event.Session{}
	}
	return e.Session
}

// sessionFields say who ran it: of the exec session in which it happened, or for which a request asks.
func sessionFields() []definition {
	type session = event.Session
	command := func(s *session) *[]string { return &s.Command }
	return []definition{
		textRow("session.id", both, "The exec session in which it happened, or which the request asks for.", sessionOf, func(s *session) *string { return &s.ID }),
		textRow("session.attribution", both, "How sure it is who asked for the session: exact, candidates or none.", sessionOf,
			func(s *session) *string { return (*string)(&s.Attribution) }),
		textRow("session.user.name", both, "Who asked for the session, missing where that is not exact.", sessionOf, func(s *session) *string { return &s.User }),
		textRow("session.user.id", both, "The UID that the API server knows that user by.", sessionOf, func(s *session) *string { return &s.UserUID }),
		textsRow("session.user.groups", both, "That user's groups.", sessionOf, func(s *session) *[]string { return &s.Groups }),
		textRow("session.user.impersonator", both, "Who really asked, where session.user.name is whom they acted as.", sessionOf,
			func(s *session) *string { return &s.Impersonator }),
		textsRow("session.candidates", both, "Who may have asked, where that is not exact; unaudited: nobody did, probe: the kubelet.", sessionOf,
			func(s *session) *[]string { return &s.Candidates }),
		textRow("session.door", both, "How it was asked for: exec, attach, portforward, ephemeralcontainers or proxy.", sessionOf, func(s *session) *string { return &s.Door }),
		flagRow("session.interactive", both, "Whether the session has a terminal.", sessionOf, func(s *session) *bool { return &s.Interactive }),
		textsRow("session.command", both, "The command that was asked for.", sessionOf, command),
		derivedRow("session.command_line", value.Keyword, both, "That command, separated by spaces.", func(r *Record) value.Value {
			if r.event.Session == nil {
				return value.Missing()
			}
			return r.join(&r.sessionCommandLine, r.event.Session.Command)
		}, fillArgs(sessionOf, command)),
	}
}
