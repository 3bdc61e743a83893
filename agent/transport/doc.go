// Package transport brings events to the server: a bounded spool, and a client
// that keeps one stream open and empties it.
//
// # Promises
//
// [Spool.Push] never blocks: whoever reads the kernel's ring buffer is never
// held up by a server that is slow or away. What exceeds the spool's bounds is
// dropped, and counted: of the container that has most of it, the oldest first, so that one that does something without
// end loses no other's events.
//
// A batch gets its number when it is sent for the first time, and is kept
// until the server has acknowledged it; on a new stream it is sent again with
// the same number. So numbers have no holes, and a batch that arrives twice is
// recognised. Events are dropped only before they have a number.
//
// # Files
//
// A spool may have a directory. When memory is half full, events go to files
// there, and come back in their order; what is left as the agent stops is kept for the next one, with the number that it had
// if it was sent. Files are written
// by a goroutine of their own: a disk that is slow costs events (counted), never time.
//
// # Commands
//
// The server may ask for something on the same stream. It is done beside the
// stream and answered on it.
//
// # Flushes
//
// The server may ask for all that has happened by now. [Options].Flush has it read into the spool; the answer is sent behind the last event of
// that, however many acknowledgements have to be awaited and files to be read before. Meanwhile nothing gathers.
//
// # Latency
//
// As long as nothing is on its way, an event is sent at once. While a batch
// waits for its acknowledgement, others gather for a few milliseconds: a quiet
// node is prompt, a busy one economical.
//
// # Trust
//
// The server proves itself by TLS against a CA file, the agent by a token file;
// both are read again for every stream, so that rotation needs no restart.
package transport
