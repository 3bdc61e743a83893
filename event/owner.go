package event

import "strings"

// maxOwner bounds an owner's name. Longer ones that begin alike are one.
const maxOwner = 256

// What an owner's name begins with, so that no user can be named like a pod.
const (
	ownerPod    = "pod/"
	ownerCaller = "caller/"
	ownerUser   = "user/"
	ownerSource = "source/"
)

// AppendOwner appends the name of who could have made the event happen, and so pays for
// what is kept of it: when there is too much, the owner of most of it loses first. A
// name that somebody else can make events under would be a way to push out that one's.
// Therefore it is never a name out of a request's object or path, nor an impersonated
// user: anybody may write those.
//
//   - Telemetry is its pod's. The agent read the UID from the kernel, and can speak
//     for pods of its own node only. That of a pod which nobody knows is the agent's: it
//     could have made up the UID.
//   - A request is the pod's whose token made it, as the API server authenticated it and
//     if such a pod lived then; that keeps the pods of one service account apart.
//     Who may create tokens for a service account can bind one to any of its
//     pods. So what a pod's token does and what happens in the pod are two
//     owners: with a token alone nobody pushes out telemetry.
//   - Any other request is the authenticated user's. All anonymous ones are one user.
func (e *Event) AppendOwner(dst []byte) []byte {
	start := len(dst)
	switch {
	case e.Pod.Name != "":
		dst = e.Pod.AppendKey(append(dst, ownerPod...))
	case e.Audit != nil && e.Audit.Caller.UID != "" && e.Audit.Caller.Confidence >= ByName:
		dst = e.Audit.Caller.AppendKey(append(dst, ownerCaller...))
	case e.Audit != nil:
		dst = append(append(dst, ownerUser...), e.Audit.User.Username...)
	default:
		dst = append(append(dst, ownerSource...), e.Source...)
	}
	return dst[:min(len(dst), start+maxOwner)]
}

// OwnerName is an owner as people know it: a pod's Key, a user's name, a source.
func OwnerName(owner string) string {
	_, name, _ := strings.Cut(owner, "/")
	return name
}
