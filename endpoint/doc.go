// Package endpoint serves HTTP to callers that stay for months, and to whoever else can reach
// the port.
//
// # Callers that stay
//
// An API server keeps one HTTP/2 connection to a webhook, and one to an audit sink, for ever:
// a replica that comes later gets none of its work. So every connection has an age, random
// within bounds so that they do not all end together. The first answer after it tells the
// client to use another connection (GOAWAY in HTTP/2, Connection: close in HTTP/1.1); what is
// under way on the old one is finished. A request that crosses with the GOAWAY was not looked at,
// and the client knows: Go's sends it again by itself, at once. No request fails of it.
//
// # Whoever else can reach the port
//
// Before a handler has seen a request, nobody has proved anything. What such a caller can
// cost is bounded, whatever he sends or leaves out:
//
//	connections          Limits.Connections; beyond, the address that has most loses one
//	time to say hello    Limits.HeaderTimeout, for the TLS handshake and for HTTP/1.1 headers
//	headers              Limits.HeaderBytes
//	buffers              Limits.ReceiveBuffer a connection, 16 KiB a frame
//	requests             Limits.Streams a connection, Limits.Requests in all; half of them an address
//	time of a request    Limits.ReadTimeout for its body, Limits.WriteTimeout for all of it (Options.Brief: for both)
//	time of an answer    Limits.SendTimeout for each piece that is sent
//	time of nothing      Limits.IdleTimeout, also for a header block that never ends
//
// A connection beyond the limit takes the place of one of the address that has the most, of
// those that have asked for nothing first. Who fills the limit from one address therefore
// only pushes out himself, and an API server gets in. [Listen] is that for servers other than
// HTTP's.
//
// # The end
//
// Run stops to listen when its context ends, says goodbye on every connection, and waits for
// the requests under way, whose own contexts do not end with it, for at most Options.Drain.
package endpoint
