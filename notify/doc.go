// Package notify tells the outside of detections: as JSON documents in the Elastic
// Common Schema, one line each on a stream (Writer) and one POST each to an HTTP
// endpoint (HTTP).
//
// A Fanout stands between the correlator and the sinks. It gives each sink a
// bounded queue and a goroutine of its own, so that one that is slow or gone delays
// neither the correlator nor the others; what a full queue turns away is counted.
//
// # Documents
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
