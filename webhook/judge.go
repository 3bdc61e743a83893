package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Request is one request to judge.
type Request struct {
	// ID is the review's uid, Session what it makes (SessionID).
	ID, Session string
	// Door is the subresource of pods: exec, attach or portforward.
	Door           string
	Namespace, Pod string
	// Operation is the admission operation, CONNECT.
	Operation string

	// User is who asks. With impersonation it is who they ask as.
	User, UserUID string
	Groups        []string
	Extra         map[string][]string

	// Container is empty for the pod's default container. Command is empty but for exec.
	Container  string
	Command    []string
	Stdin, TTY bool
}

// Verdict is the answer to a Request.
type Verdict struct {
	Allowed bool
	// Message is shown to the person who is refused.
	Message string
	// Annotations are added to the audit event. The keys "session", "decision"
	// and "failure" are the webhook's.
	Annotations map[string]string
}

// Judge decides. It must return by the context's deadline. An error says that it could
// not decide: the FailMode does then.
type Judge interface {
	Judge(ctx context.Context, r Request) (Verdict, error)
}

// SessionID names the session that a review asks for: short enough to type, and
// found by the first half of the review's uid.
func SessionID(reviewUID string) string {
	id := strings.ReplaceAll(reviewUID, "-", "")
	if len(id) < sessionDigits || strings.Trim(id, "0123456789abcdef") != "" {
		// Not the random UUID that API servers make.
		sum := sha256.Sum256([]byte(reviewUID))
		id = hex.EncodeToString(sum[:])
	}
	return "s-" + id[:sessionDigits]
}

// sessionDigits are 60 random bits in a UUID: enough for billions of sessions.
const sessionDigits = 16
