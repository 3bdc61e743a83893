// Package quarantine holds who is denied, and answers the question whether this
// request may pass.
//
// Three parts share it. The Index is what is in force in this process: a
// lock-free table that a verdict reads in nanoseconds. The Manager keeps the Index and
// the cluster's Quarantine objects the same. The Gate judges one request
// with the Index and the pods that exist.
//
// # Whom it denies what
//
// An entry denies operations (exec, attach, portforward, ephemeralcontainers, proxy) of its
// subject. What a request does decides, not the way that it comes: exec through a kubelet's
// proxy is exec. The policy in the API server says the same, as far as it can see.
//
//   - Pod: requests into it, requests with its token, and whatever is run through the kubelet of its
//     node, whichever pod that names: there are too many ways to name a container there. Reading the
//     kubelet's logs and metrics is none of these.
//   - User, Group, ServiceAccount, Credential: requests of who has that name, is a member, shows that token or certificate.
//   - Node: requests into the pods that run there, and everything that is asked of its kubelet.
//   - Namespace: requests into its pods and services; those of its service accounts are not meant.
//
// A request through a service's proxy is one into each of the service's pods. Which those are the Gate has to ask the API
// server, and does so only while something in quarantine there can be among them.
//
// # The order of a verdict
//
// What is exempt is not judged at all, and nothing is told of it. Then the quarantines decide: what none stands
// against passes, and what one does is refused, unless a break-glass group lets it pass, which is told
// loudly. Rules that deny at admission come after that, and are not this package's.
//
// One action of a person is told once, however many requests their client makes of it, and whoever refuses which of them: this
// process, or the policy, of whose refusals it hears from the audit stream.
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
// That an object is gone comes with the watch, who has deleted it with the audit stream: Released joins
// the two, in either order, for the record and for Events.
//
// A detection that is dealt with again after a restart gives its quarantine the time that it
// would have had, not a new one.
//
// People make quarantines by hand as well; those have no detection, and the
// Manager never shortens or rewrites one that lasts as long as its own and denies as much. Where it does not,
// the object denies from then on what either would, for as long as either would.
//
// The status says on each object, also on those that people made, that it is in force and where its
// pod runs, which the policy in the API server goes by. Nothing here depends on it: it is written after everything
// else, slowly, and by one of the replicas.
//
// Every object also has a mirror, a LimitRange that limits nothing (MirrorOf), for API servers that do not know yet what a Quarantine
// is. A mirror comes after its object and goes with it; nothing here depends on it either.
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
