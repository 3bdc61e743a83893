// Package execsession tells who ran what. The processes of a kubectl exec carry no user, and the audit log carries no
// processes; a session is both, from the first sight of it to its end.
//
// The Tracker takes what the sources tell: admission reviews (Admitted), audit events and telemetry (Enrich), how far the audit
// stream has told everything (Advance), detections (Detected). Nothing is injected into containers, and no
// command is rewritten. Enrich also gives each event the session that it belongs to, for rules: event.Session.
//
// # One session
//
// A session is named as the request is ("s-…", the name in the audit event's annotation), if the request is the only one that
// can have started the process when that is first seen; else as the process ("r-…"). The name of a process' session stays,
// unless it was taken from a request that turns out to be another process'. Where the name of a
// request is an alias, both find the session.
//
//   - exec: a process that came into a container, and all that descends from it, also what is daemonised or reparented. kubectl cp
//     is an exec of tar. Through nodes/proxy, the kubelet's exec and run are the same.
//   - ephemeralcontainers (kubectl debug): the new container's first process, found by the container's name, which a pod has once.
//   - attach: the request, beside the container's first process. What that does need not be the user's doing, so its events
//     do not belong to the session.
//   - portforward: the request alone.
//
// # Who asked
//
// Package join tells how a process finds its request, and what makes a user exact. Two things matter to whoever
// operates this: an exact user needs the audit event that says that the request was let through, so it takes as long as
// the API server's batches (a histogram tells), at least a second; and an audit policy that does not
// record pods/exec makes no user exact. Events carry what was known when they came. What acts on a user asks
// Current at that moment, and waits if it is not exact.
//
// What an API server wrote with the pod's token while the session ran is in its timeline, marked as of the pod: the session
// may have made the call, or anything else in the pod. It does not carry the session.
//
// # Nobody asked
//
// A process that nobody asked the API server for was started through the kubelet's own port, or by the container
// runtime. It is reported as an event of Portcullis' own (event.DatasetSession, event.ActionUnauditedExec), once the audit
// stream has told everything of that time, and never of a time at which it was blind: that session has a hole.
//
// The kubelet itself runs exec probes and hooks in the same way. What has no input and the very command of one, in
// that container, is taken for it: no session, only counted. An attacker can run that very
// command too. It is told when it runs more often than the periods explain, else not; and all
// that a probe's command starts is the probe's. With any other argument, with a terminal or an input, it is no probe. If a user
// runs a probe's command through the API, the kubelet is one of the candidates, so nobody is exact.
//
// # What is kept
//
// The history is bounded in number, memory, and time; of one session the first and the latest entries stay. What was left
// out is counted. Arguments and URIs are redacted (package redact) before they are kept; what events carry is not. After a restart
// sessions go on, with the attribution that they had; processes from around the restart that have no
// request get a hole, not a report.
//
// All texts of a Document are somebody's choice, often an attacker's. They are bounded and not escaped.
package execsession
