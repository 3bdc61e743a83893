// Package admission judges what comes to the gate: it brings together, for one review, all that has a say in it.
//
// # The order of a verdict
//
//  1. Who is exempt by the configuration is not judged: allowed, and nothing is told.
//  2. The barrier: what happened just before the request is judged first (package barrier), in the pod that it reaches into
//     and in the one whose token asks. It is left out while no rule could deny anything.
//  3. Quarantines (package quarantine). Members of a break-glass group pass them, loudly; everybody else is refused.
//  4. Rules at admission: rules of a single event that ask to deny (correlator.Review). In mode observe they only tell. Members
//     of a break-glass group pass these too, and it is told as well.
//
// Every verdict is handed to whoever keeps the sessions.
//
// # What fails
//
// A barrier that is not passed in time leaves the verdict to its own fail mode: open judges with what is known, and
// says so in the audit event; closed refuses. An error of step 3 is returned, for the webhook's fail mode.
package admission
