// Package webhook is the gate itself: it takes the AdmissionReviews that an API
// server sends before it lets somebody into a pod, asks a Judge, and answers.
//
// # The doors
//
// A door is what a request does, whatever way it comes (Doors):
//
//	pods/exec                  exec
//	pods/attach                attach
//	pods/portforward           portforward
//	pods/ephemeralcontainers   ephemeralcontainers (kubectl debug)
//	pods/proxy, services/proxy proxy
//	nodes/proxy                what the kubelet's path asks for: exec, attach, portforward, or proxy
//
// All are CONNECTs, but for ephemeral containers: that is an UPDATE, and its object is the whole pod. Only that one has the
// pod's UID. None has its labels, and the review's uid is not the audit event's ID.
// What links the two are the answer's audit annotations: every answer has "session" (see
// SessionID) and "decision", which the API server copies into the audit event as
// <webhook name>/session and <webhook name>/decision.
//
// The way through nodes/proxy is the known one around an admission of pods/exec. An API server joins and cleans its path
// after admission, and so does this package; what a kubelet could take for
// an exec, and what cannot be understood, is an exec (kubelet.go). What a kubelet is to run is in the query,
// which no review has.
//
// # What rules read
//
// Request.Event is the request as its audit event would be, so that a rule reads the same fields in both.
//
// # Who may ask
//
// An API server need not show who it is, so anybody who reaches the port could ask, or keep it busy. API servers are therefore told a path that
// nobody can guess, in the webhook's configuration; a call to another one is answered
// 401 before anything of it is read (Callers). An API server that is given a client certificate for
// the webhook can be asked to show it as well: that is up to the endpoint's TLS.
//
// # What a failure does
//
// A validating webhook can stop a cluster, so it matters which failure says what
// to the API server:
//
//   - A call that is no review of ours (a stranger's, wrong method, content type, version,
//     resource, an object that cannot be decoded, a body beyond the bound) is answered
//     with an HTTP error. That is a failed call, to which the webhook configuration's
//     failurePolicy applies. It is never an answer "denied" that nobody decided.
//   - A Judge that panics, fails or runs out of time is answered according to
//     FailMode: allowed by default, with a warning and the audit annotation "failure".
//   - A denial is the status 403, Forbidden, with the Judge's message.
//
// Warnings reach people at the doors that are no streams: a connection that is hijacked has no headers.
package webhook
