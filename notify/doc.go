// Package notify tells the outside of detections: as JSON documents in the Elastic
// Common Schema, one line each on a stream (Writer) and one POST each to an HTTP
// endpoint (HTTP).
//
// A Fanout stands between the correlator and the sinks. It gives each sink a
// bounded queue and a goroutine of its own, so that one that is slow or gone delays
// neither the correlator nor the others. The queues are in a store: what a sink has not
// taken when the process ends, however it ends, is sent after the next start. What a
// sink fails to take is sent again, after ever longer pauses and behind the others, until it is taken or
// the sink says that the document itself is at fault. A full queue drops its
// oldest document, which is logged and counted.
//
// A document arrives at least once. It may come again after a kill; event.id is the same then.
//
// # Documents
//
// There is one for each change of a detection that people should hear of. All have the detection's
// ID as event.id. portcullis.detection has, besides:
//
//   - state: provisional, final or superseded, in which case superseded_by may name the
//     detection that has its events now. A detection that becomes final just as it was told is
//     not told again.
//   - confidence: how sure it is which pod is meant, and candidates, the UIDs of those that it may be.
//   - action, why, and quarantines: what was done, with the name of each Quarantine object, and
//     whether it is in-force or how it ended. For a superseded detection that is what it
//     caused, which nobody undoes by itself.
//   - coverage: status is complete, holes, or unknown where nobody has looked. Each of
//     holes has source, from, to (absent while it lasts), cause, and lost (absent where
//     nobody can count).
//
// The completing process and the completing API request of a detection's chain fill the
// document's top level, where dashboards and other tools look for them; the whole chain, in
// the rule's order and shortened to what tells the story, is in
// portcullis.detection.events. Delays are told apart: from the event to Portcullis
// having it (the API server's batches, mostly), and from then to the detection.
//
// # What does not leave
//
// Command lines hold secrets: a token in an Authorization header, a password in a
// URL. Detections go to places that more people can read than may read those. Before a
// document leaves, arguments, request URIs and messages are searched for what is
// obviously a secret, and that is replaced by [redacted]: authorization and cookie
// headers, JSON web tokens, passwords in URLs, values of flags, variables and
// parameters whose name says password, secret, token or key, the tokens of well-known
// services, private keys. Shell expansions such as $TOKEN stay: they are not
// the secret, and tell where it came from. This is a net, not a proof: what does not look
// like a secret passes.
//
// Bodies of API requests and responses are never part of a document.
package notify
