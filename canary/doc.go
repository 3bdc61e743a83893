// Package canary knows whether the audit stream is alive, and how far the API servers' clocks are off.
//
// It makes a harmless API request of its own at intervals, to every API server for itself, and waits
// for that request's audit event to come back through the sink. Three things come of it:
//
//   - How long it takes is the lag of that API server's audit pipeline.
//   - When it does not come back, Portcullis is blind to what that API server does, and says so: audit is off
//     there, or a policy leaves out what should be recorded, or the events arrive elsewhere.
//   - The returned event has the moment at which the API server's own clock saw the request. It
//     lies between our sending and the answer, which tells how far that clock is off (package skew).
//
// # Which API server is which
//
// The API servers' addresses are those behind the Service "kubernetes". Audit events do not say who
// wrote them; each API server has a sink path and a certificate of its own, which the sink proves,
// and that is an event's source. Which source is behind which address is known once a canary that flew to the
// address has come back from the source.
//
// # Clocks
//
// Canary.Take stands between the sink and everybody who looks at events. It corrects the events'
// times to our clock, so that nobody after it has to know that clocks differ.
//
// # Nobody can pretend
//
// The request is a GET of one ConfigMap, the only one of Portcullis' own requests within its rights
// that the audit policy records. Each carries a random nonce in its user agent, which only the
// API server that it is sent to gets to know. So nobody can make a blind Portcullis believe that
// it sees; and since a nonce stands for one request, nobody who reads it later can hide another
// request behind it.
package canary
