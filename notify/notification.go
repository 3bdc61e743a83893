package notify

import (
	"context"
	"errors"
	"time"
)

// Sink takes documents to one place. Send may block and try again until the context
// ends. It is called from one goroutine. A document may come more than once.
type Sink interface {
	// Send returns nil once the document is taken, and an error that wraps ErrRejected if it never will be.
	Send(ctx context.Context, doc Document) error
}

// ErrRejected says that a sink does not take the document, however often it is sent.
var ErrRejected = errors.New("the document is rejected")

// Document is what is told of one detection: event.id is that of the detection, the
// same however often and in which states it is told.
type Document struct {
	ID string
	// Body is one line of JSON, without the line's end. It is shared and must not be changed.
	Body []byte
}

// Quarantine is one that a detection led to.
type Quarantine struct {
	// Name is that of the Quarantine object, which releases the subject when deleted.
	Name string
	// Subject is who is denied: the namespace and name of a pod, or a user.
	Subject string
	// Ended is why it is over, such as "released" or "expired"; empty while it is in force.
	Ended string
	// Expires is zero for never.
	Expires time.Time
}
