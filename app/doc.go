// Package app assembles the server from its parts: it is the only package that
// knows all of them.
//
// # Data flow
//
// The audit sink and the collector hand events to the pipeline, which completes
// their identity (package identity) and gives them to the correlator. What the
// correlator concludes goes to the responder: quarantine first, then the
// Kubernetes Event and the notification. The webhook asks the gate, which reads
// what the quarantine manager has put into its index.
//
// # Lifecycle
//
// New validates, builds and binds every listener, so that a wrong setting or a
// taken port is an error before anything runs. Run starts the parts in the
// order in which they need each other, and ends them in the opposite one:
// first the endpoints stop taking work and finish what they have, then the
// correlator drains, then the notifiers, and the store is closed last.
// docs/design/lifecycle.md tells the whole of it.
package app
