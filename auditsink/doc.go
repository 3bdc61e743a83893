// Package auditsink receives the audit stream: audit.k8s.io/v1 EventLists that
// API servers post over HTTPS become event.Events.
//
// # Who may send
//
// Audit events do not say which API server wrote them, so each one posts to a
// path of its own, /audit/<name>, with a client certificate whose common name is
// "apiserver:<name>". The TLS layer proves the certificate; the Handler compares
// the two names. Where there are Tokens, a client that shows no certificate can show
// the bearer token of that name instead.
//
// # What the answer means
//
// An API server sends a batch again after any answer that is not 2xx, a handful
// of times, and then drops it. So every answer here says what to do:
//
//	200  this package is done with the batch: every event that could be read is
//	     with the Pipeline, every other one is kept aside (see Rejects), and so is
//	     a body that is no EventList at all
//	400  the body did not arrive whole
//	401  no certificate, and no token or a wrong one
//	403  the certificate is missing or another's
//	404  the path names no API server
//	413  larger than the sink takes: see Options.MaxBodyBytes
//	415  not JSON
//	429  busy: the client waits a second, up to ten times, before it counts a failure
//	500  the pipeline failed; the client waits likewise
//
// An event that cannot be read is no reason to refuse the others that came with
// it, nor to have all of them sent again: it is counted, logged with its index,
// and written to Rejects. What is never read is counted and told likewise, by the
// API server's name: a body that is too large is gone when the API server gives up.
//
// Deliveries repeat, and that is harmless: an event's ID is a hash of what was
// delivered, so whoever joins events can tell.
//
// # Decoding
//
// Most events are wanted by no rule, and should cost only their decoding. A list
// is read in one pass (scan.go, canonical.go, usual.go): texts are parts of the
// body, not copies; objects of requests stay as they were written; users and
// annotations, which are the same for thousands of requests, are read once and
// shared (shared.go); the events are used again for the next list (rooms.go); and
// their IDs, which are the dearest of all, are made only for who asks
// (event.Event.Identify). So an event is lent to the pipeline: whoever keeps it
// keeps what event.Event.Own returns.
//
// That pass knows only how API servers write. Whatever is written in another way
// is read by the API server's own decoder (wire.go), and what is wrong is always
// its word. A fuzz test holds the two against each other, and against the API's types.
//
// # Hostile input
//
// An API server is trusted to be one; what it reports is written by its clients.
// A client chooses its request's Audit-ID, URI, user agent, most of the source
// addresses and, with the right to impersonate, user names and extras. Nothing
// is identified by these alone, lists of them are cut at a limit (and the cut
// is counted), and none of them reaches a log without a bound.
//
// An Audit-ID that comes with a second request is marked
// (event.Audit.AuditIDReused), so that a rule can tell of it: it is how somebody
// would hide a request from whoever trusts these IDs.
package auditsink
