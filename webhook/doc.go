// Package webhook is the gate itself: it takes the AdmissionReviews that an API
// server sends before it lets somebody exec into a pod, attach to it or forward a
// port, asks a Judge, and answers.
//
// Such a request is a CONNECT on a subresource of pods. The review carries the pod's
// namespace and name, the options (command, container, tty) and the user; it carries
// neither the pod's UID nor its labels, and its uid is not the audit event's ID.
// What links the two are the answer's audit annotations: every answer has "session" (see
// SessionID) and "decision", which the API server copies into the audit event as
// <webhook name>/session and <webhook name>/decision.
//
// # What a failure does
//
// A validating webhook can stop a cluster, so it matters which failure says what
// to the API server:
//
//   - A call that is no review of ours (wrong method, content type, version,
//     resource, an object that cannot be decoded, a body beyond the bound) is answered
//     with an HTTP error. That is a failed call, to which the webhook configuration's
//     failurePolicy applies. It is never an answer "denied" that nobody decided.
//   - A Judge that panics, fails or runs out of time is answered according to
//     FailMode: allowed by default, with a warning and the audit annotation "failure".
//   - A denial is the status 403, Forbidden, with the Judge's message.
//
// Package endpoint serves it, which bounds what callers can cost: an API server need not show who it
// is, so anybody who reaches the port can ask.
package webhook
