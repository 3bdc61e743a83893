// Package jetstream is Portcullis' durable memory: a NATS server with JetStream
// inside the process, which stores candidates (Bus) and small records (Bucket)
// in a directory. It is the only package that links the NATS server.
//
// # What durable means
//
// What has been acknowledged (Publish, Put and Delete that returned nil) is in the
// operating system's hands: it outlives the process, however that ends. It outlives
// the machine only if the disk had it: with Options.Sync before the acknowledgement,
// without it some seconds later.
//
// # The server inside
//
// It listens nowhere: the only connection to it is a pipe in memory. It catches no
// signals, has no accounts but its own, and logs through the Store's logger. A lock
// on the directory keeps a second process out.
//
// # The bus
//
// The candidates of one delivery that belong to one partition are one message, so
// that a delivery costs a handful of writes however many candidates it has. Consume
// first delivers everything that is stored again, in the order in which it was
// published, since the state of the join is a function of what it was given and
// nothing else. Bus.Replayed tells when that is over.
//
// # Size and age
//
// A full bus refuses (ErrFull): nothing that was acknowledged is ever pushed out by
// what comes later. So that nobody fills it alone, large parts of events are left out, which
// rules have seen by then, and whoever has more than a share of it is cut off: its further
// candidates are dropped, and told (BusOptions.Dropped). Room is made by age, and only of what the consumer has
// handled. Age is counted by how long the process has had a message, not by its
// timestamp, so that a clock that jumps neither empties the store nor clogs it. Only
// at start, where there is nothing else, do timestamps say how old a message is, and
// then it is replayed before it is let go.
//
// # Faults
//
// After a failed write (a full disk, say) the server inside accepts nothing more. The
// Store then says ErrUnavailable, and starts it again from disk once the directory
// can be written. What the disk has damaged is left out and counted. A stream that
// cannot be loaded at all is an error that says what to do, and is left as it is.
// docs/design/durability.md has the table of faults and what each costs.
package jetstream
