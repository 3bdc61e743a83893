// Package auditsink receives the audit stream: audit.k8s.io/v1 EventLists that
// API servers post over HTTPS become event.Events.
//
// # Who may send
//
// Audit events do not say which API server wrote them, so each one posts to a
// path of its own, /audit/<name>, with a client certificate whose common name is
// "apiserver:<name>". The TLS layer proves the certificate; the Handler compares
// the two names.
//
// # What the answer means
//
// An API server sends a batch again after any answer that is not 2xx, a handful
// of times, and then drops it. So every answer here says what to do:
//
//	200  this package is done with the batch: every event that could be read is
//	     with the Pipeline, every other one is kept aside (see Rejects)
//	400  this is no EventList; sending it again is of no use, but nothing stops it
//	403  wrong path or certificate
//	413  larger than the sink takes: see Options.MaxBodyBytes
//	415  not JSON
//	429  busy: the client waits a second, up to ten times, before it counts a failure
//	500  the pipeline failed; the client waits likewise
//
// An event that cannot be read is no reason to refuse the others that came with
// it, nor to have all of them sent again: it is counted, logged with its index,
// and written to Rejects.
//
// Deliveries repeat, and that is harmless: an event's ID is a hash of what was
// delivered, so whoever joins events can tell.
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
