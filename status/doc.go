// Package status is what the server says about itself, for people: one JSON document in the ConfigMap
// "portcullis-status" of its namespace, which "portcullisctl doctor" reads.
//
// Metrics say the same and more to monitoring. The document is for the person without one, at
// night, with kubectl alone: it needs no way to the server, outlives the server, and says by its
// age when the server went.
//
// A [Publisher] writes it when it changes, and at least every half a minute, so that an
// old document means a server that is gone. Nothing waits for it, and what
// cannot be written is tried again. The document is bounded in size whatever happens in the cluster;
// lists that are cut say by how much. It has no secrets, but names of nodes and what senders wrote into events that could
// not be read: whoever prints it must escape that.
package status
