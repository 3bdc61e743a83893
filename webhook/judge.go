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
	// Door is what the request does: one of Doors.
	Door string
	// Operation is the admission operation: CONNECT, and UPDATE for ephemeral containers.
	Operation string

	// Resource (pods, services or nodes), Subresource and Name are as the API server has them: the name
	// of a proxy request may have a scheme and a port.
	Resource, Subresource, Name string

	// Namespace, Pod, Service and Node are what the request reaches into, by plain names. Through
	// nodes/proxy that is Node, and the pod that the kubelet's path names, if it names one. Namespace is
	// also a service's.
	Namespace, Pod string
	Service, Node  string
	// PodUID is set where the API server itself says it: for ephemeral containers.
	PodUID string

	// User is who asks. With impersonation it is who they ask as.
	User, UserUID string
	Groups        []string
	Extra         map[string][]string
	// Credentials are the IDs of what the user showed, CallerPod the UID of the pod whose token that is.
	Credentials []string
	CallerPod   string

	// Container is empty for the pod's default container. Command is that of an exec, or of the one
	// container that an ephemeralcontainers request adds. A proxied request's is in its
	// query, which no review has.
	Container                  string
	Command                    []string
	Stdin, Stdout, Stderr, TTY bool
	// Ports are those of a port-forward that names some; kubectl names none.
	Ports []int32
	// Path is that of a proxied request, decoded once, otherwise as the client wrote it.
	Path string
	// NewContainers are the ephemeral containers that the request adds.
	NewContainers []NewContainer
}

// NewContainer is an ephemeral container that a request adds.
type NewContainer struct {
	Name, Image string
	// Command has the arguments too. It is empty for what the image says.
	Command []string
	// Target is the container whose processes it sees, if it is given one.
	Target     string
	Stdin, TTY bool
}

// Verdict is the answer to a Request.
type Verdict struct {
	Allowed bool
	// Message is shown to the person who is refused.
	Message string
	// Session is the session that this request belongs to, where it repeats an earlier
	// one; empty for the request's own.
	Session string
	// Warnings are shown to the person, whatever the answer, where the client can show any: not for exec, attach and
	// portforward, whose connections are hijacked.
	Warnings []string
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
