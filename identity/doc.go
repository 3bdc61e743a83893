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
// then. Retention, number and memory are bounded; what the bounds pushed out is counted. Of a pod's
// labels the first 16 KiB are kept, and that there were more is counted too.
//
// # What outlives the process
//
// The history is kept in a Store. Nothing waits for it: what changes is noted, and
// once a second what has changed is written, each pod once however often it changed. After the
// pods comes a mark of how far the watch had told when the writing began, so whenever the
// process dies the pods in the Store are at least as new as the mark says. While a pod cannot be
// written the others are, but the mark stays where it is. A new process
// reads them (Resolver.Load), and watches on from the mark: so it hears of the pods that came and
// went while nobody was there, if the API server still knows.
//
// # What nobody told
//
// Where it does not (too much has happened since, or the watch itself had to begin anew with
// a list), there is a gap: pods may have come and gone unheard of. The
// history knows its gaps. In one, a pod that is on the new list lived all the time, one that is not
// may have lived, and is a candidate, never a certainty.
//
// # A name at a time
//
// A name belongs to one pod at a time, so a name and a time nearly always mean
// one UID (ByName). They mean several (Ambiguous, with the candidates) close to
// the moment at which one pod replaced another: creation times have a resolution of
// one second, deletions are known by when the watch told of them, and clocks differ.
// Guessing there would be the very mistake that this package exists to avoid.
//
// # Clocks
//
// A creation time is by the clock of the API server that made the pod, and nobody says which
// one that was. Resolver.SetOffsets tells how far those clocks are off; of the moments
// that the pod can thus have been made at, those are ruled out that do not fit when the watch
// told of it. Everything else here is by our own clock, to which the times of events have been
// corrected before they come.
//
// # A UID that a source claims
//
// The UID in a cgroup path is a fact. So is the UID in an audit event's user.extra,
// which the API server wrote there after it had validated the token, but only as
// far as its authenticators are trusted; a UID is therefore held against what
// is known. If that pod lived then under that name the identity is Exact. If it
// did not, the claim contradicts the cluster: the UID stays (it is what joins), with the
// confidence Ambiguous and all candidates, so that nothing acts on it by
// itself. If the pod is not known at all, the UID stands only where pods can be unknown: before
// the history begins, in a gap, or so lately that the watch may not have told yet; and
// only if no other pod had the claimed name then.
//
// # Static pods
//
// A static pod's cgroup carries the hash of its configuration, its API object (the
// mirror pod) another UID. The annotation kubernetes.io/config.mirror ties
// the two; everything leaves this package with the UID of the API object.
//
// Everybody who may create pods can write that annotation, and can keep what the kubelet deletes
// then with a finalizer. So a mirror has to look like one in all else (its owner is the Node, its name
// ends with the node's); of several it is the one who had the hash first, until its deletionTimestamp.
//
// # Which container
//
// Telemetry names a container by its ID, and the pod's status says which of its containers,
// init containers and ephemeral containers that is. An ID that the status does not have is
// that of a container that has just started, of the pod's sandbox, or of one nested in another: then
// the container's name stays empty. It is never guessed, not even where the pod has only one.
//
// # Who reported it
//
// An agent may speak for the pods of its own node. Who takes telemetry from an agent checks that
// at once where the pod is known (Resolver.RunsOn); where it is not, the check is made here,
// when the pod becomes known: what another node reported of it is not believed, else
// the token of one captured node could have every new pod of the cluster quarantined.
//
// # Not known yet
//
// Telemetry can be faster than the watch. A Hold keeps the telemetry of unknown
// pods, and of containers that no status names yet, for a moment. A new pod's first request can be
// faster too, and would be held against the pod that had its name before: it is kept for a shorter moment, if its
// caller's UID is unknown and its time is later than what the watch has told. Nothing else waits.
//
// What an agent reports is the agent's choice, and what waits takes room. So each node has a share, and where
// the whole is full, whoever has most of it loses.
package identity
