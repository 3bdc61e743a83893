package field

import (
	"fmt"
	"math"
	"strconv"

	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

func userFields() []definition {
	return []definition{
		{
			Info: Info{Name: "user.id", Type: value.Keyword, Source: both,
				Doc: "The numeric user of the process; the UID that the API server knows the caller by."},
			get: func(r *Record) value.Value {
				switch e := r.event; {
				case e.Process != nil:
					return r.idValue(e.Process.UID)
				case e.Audit != nil:
					return textValue(e.Audit.User.UID)
				default:
					return value.Missing()
				}
			},
			set: setUserID,
			write: func(e *event.Event) any {
				if e.Process == nil {
					return nil // kubernetes.audit.user.uid says it
				}
				return strconv.FormatUint(uint64(e.Process.UID), 10)
			},
		},
		copyOf(textRow("", audit, "", auditOf, func(a *event.Audit) *string { return &a.User.Username }),
			"user.name", "The authenticated user of an API request; equals kubernetes.audit.user.username."),
		{
			Info: Info{Name: "group.id", Type: value.Keyword, Source: agent, Doc: "The numeric group of the process."},
			get: func(r *Record) value.Value {
				if r.event.Process == nil {
					return value.Missing()
				}
				return r.idValue(r.event.Process.GID)
			},
			set: func(e *event.Event, given input) (err error) {
				processOf(e, true).GID, err = given.id()
				return err
			},
		},
	}
}

// setUserID sets the user of a process, or that of a request. The latter has a field of its own.
func setUserID(e *event.Event, given input) (err error) {
	if e.Kind != event.KindAudit {
		processOf(e, true).UID, err = given.id()
		return err
	}
	text, err := given.text()
	if a := auditOf(e, true); a.User.UID == "" {
		a.User.UID = text
	}
	return err
}

// id is the number of a user or group.
func (in input) id() (uint32, error) {
	text, err := in.text()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, wrong(fmt.Sprintf("the number of a process' user or group, 0 to %d", uint32(math.MaxUint32)), text)
	}
	return uint32(n), nil
}
