// Package event is Portcullis' vocabulary: what the sources observe (an Event),
// to whom it belongs (a Pod), and what the correlator concludes from it (a
// Detection).
//
// It imports nothing of ours, so that sources, correlator and sinks can all
// speak it without knowing each other. It holds data and the few derivations
// that everybody must agree on; it decides nothing.
//
// # Names
//
// Process, file and host data follow the Elastic Common Schema, audit data the
// audit.k8s.io/v1 API. How a rule's field name finds its Go field is the
// correlator's knowledge (package correlator/field), not this package's.
//
// # Time
//
// Event.Time is when the thing happened, never when it was heard of: the
// kernel's clock for telemetry (corrected to wall time by the agent), the API
// server's requestReceivedTimestamp for audit events. Clocks differ, so ingest corrects
// both to Portcullis' own clock by what it has measured; Event.Clock tells by how much, and how wrong
// that may be. Event.Received is the moment Portcullis had it, kept for measuring delays and for
// nothing else.
//
// # Identity
//
// A pod is its UID. Namespace and name are for people and for rules' text
// predicates; they are filled in by the identity resolver where the source did
// not carry them, and never replace the UID in a join.
package event
