// Package identity knows which pod is meant.
//
// Telemetry names a pod by the UID in its cgroup path, audit events name pods by
// namespace and name, sometimes with the UID that a token was bound to. Rules
// join the two, and a join by bare name hits the wrong pod whenever a name is
// used twice: in two namespaces, or one after the other by a StatefulSet. The
// Resolver turns what a source knows into the one key that is never used twice,
// the UID, and says how sure it is (event.Confidence).
//
// # What it remembers
//
// The Resolver watches all pods of the cluster, keeps of each the little that
// identity needs, and keeps a pod for a while after it is gone: an API server
// delivers audit events in batches, half a minute late by default and much later
// after an outage, and "who was shop/web-0 at 12:00:03?" must have an answer
// then. Retention and number are bounded; what the bound pushed out is counted.
//
// # A name at a time
//
// A name belongs to one pod at a time, so a name and a time nearly always mean
// one UID (ByName). They mean several (Ambiguous, with the candidates) close to
// the moment at which one pod replaced another: creation times have a resolution of
// one second, deletions are known by when the watch told of them, and clocks differ.
// Guessing there would be the very mistake that this package exists to avoid.
//
// # A UID that a source claims
//
// The UID in a cgroup path is a fact. So is the UID in an audit event's user.extra,
// which the API server wrote there after it had validated the token, but only as
// far as its authenticators are trusted; a UID is therefore held against what
// is known. If that pod lived then under that name the identity is Exact. If it
// did not, the claim contradicts the cluster: the UID stays (it is what joins), with the
// confidence Ambiguous and all candidates, so that nothing acts on it by
// itself. If the pod is not known at all, for example because it was gone before
// Portcullis started, there is no contradiction and the UID stands, unless another
// pod had the claimed name at that time.
//
// # Static pods
//
// A static pod's cgroup carries the hash of its configuration, its API object (the
// mirror pod) another UID. The annotation kubernetes.io/config.mirror ties
// the two; everything leaves this package with the UID of the API object.
//
// # Who reported it
//
// An agent may speak for the pods of its own node. Who takes telemetry from an agent checks that
// at once where the pod is known (Resolver.RunsOn); where it is not, the check is made here,
// when the pod becomes known: what another node reported of it is not believed, else
// the token of one captured node could have every new pod of the cluster quarantined.
//
// # Pods not known yet
//
// Telemetry can be faster than the watch. A Hold keeps the telemetry of unknown
// pods for a moment, and of nothing else: other pods' events and all audit
// events pass it without waiting.
package identity
