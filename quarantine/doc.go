// Package quarantine holds who is denied, and answers the question whether this
// request may pass.
//
// Three parts share it. The Index is what is in force in this process: a
// lock-free table that a verdict reads in nanoseconds. The Manager keeps the Index and
// the cluster's Quarantine objects the same. The Gate judges one request
// with the Index and the pods that exist.
//
// # In force first, written after
//
// A detection takes effect in the Index at once, and the object is written
// behind it, with retries: the next exec must not win a race against etcd. One subject has
// one object with a name made from the subject (ObjectName), so a rule that fires
// again prolongs the quarantine and never adds another. Where people have given that name to
// another subject, their object denies whom it says, and the subject's own gets a
// spare name: an object never stands for anybody but its subject.
//
// # A release wins
//
// Deleting the object releases its subject, whoever deletes it and whenever: also while
// the Manager is still creating or changing it, and for every detection that
// had led to it up to then. The Record has those detections, so that neither a write that was under
// way, nor a repeated delivery of the same detection, nor a late watch event, nor a restart
// brings the quarantine back. A new detection does. The Record also says which quarantines
// were in the cluster: one of those that the first list after a start does not have was
// released, or has expired, while nobody watched. (One case nobody can tell from a write that never arrived:
// creation and deletion both fall into a moment in which the watch is down, and the process did not
// live to record the answer to the creation, or never got it. Then the object is made once
// more, and has to be released once more.)
//
// A detection that is dealt with again after a restart gives its quarantine the time that it
// would have had, not a new one.
//
// People make quarantines by hand as well; those have no detection, and the
// Manager never shortens or rewrites one that lasts as long as its own.
//
// # Names and UIDs
//
// A pod is quarantined by UID, a request names it by namespace and name. The
// Gate asks which pod has the name now. If none is known (it is newer than what the
// watch has told), a quarantine of that namespace and name counts unless its UID is
// known to be gone: for the moments that this lasts, refusing a successor of the
// same name is better than letting someone into the pod that was quarantined, and the
// message says that the pod could not be verified. Where no quarantine has the name,
// the unknown pod is let through: a watch that lags never denies by itself.
//
// # What it cannot see
//
// Admission shows the impersonated user only: somebody who may impersonate can leave
// the quarantine of their own user name behind. The audit event names both.
package quarantine
