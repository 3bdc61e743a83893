// Package barrier closes the gap between a request and the verdict that follows from it.
//
// Somebody reads a token in a pod, calls the API with it, and once the call is answered, asks for the next exec.
// With the audit webhook in blocking mode the API server has delivered the call's event before it answers. But
// delivered is not judged: the event waits on the bus, and what the sequence began with, the process and the
// token, may still be in the ring of the pod's node. An admission that is judged in that moment is judged with
// yesterday's knowledge.
//
// So an admission waits, before it is judged, for three things in this order:
//
//  1. the agent on the pod's node has handed over what the kernel had recorded when the admission arrived,
//  2. what was received of the pod and is held back, because the pod or its container is too new to be known, has gone on,
//  3. everything that was stored until then is judged.
//
// A pod that the watch has not told of yet is asked for first. Where a pod's own token asks, all this goes for that pod as well: what it did decides whether it may.
//
// All three are quick, some milliseconds, but for the second where a container is an instant old: its pod's status takes until
// it names it. The wait is bounded: an agent or a disk may be slow, and the gate must not
// be. What happens then is the caller's to decide; it is counted here, with what was waited for.
//
// An agent that is not connected cannot be waited for: its node is a hole in the coverage, told elsewhere, and
// counted here.
package barrier
