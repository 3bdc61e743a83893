// Package join tells who ran what: it joins the processes that came into containers (roots) with the requests that can
// have asked for them, and says of each root how sure that is. It is pure: no clock, goroutine or I/O. Facts go in, in
// any order and as often as they like; Resolve tells what has changed.
//
// # What can explain a root
//
// Nothing in a process names the request that it was started for. What both have is the pod's UID, the container, the
// arguments, whether there is a terminal, and the time. A request can explain a root that agrees in all of that and
// began after the request did, and not later than StartLag after the request was opened (or closed). Where one of
// the two does not know a thing, it is taken to agree: what is not known makes more candidates, never fewer.
//
// A script's first arguments are the kernel's: for ["/job", "x"] it runs ["/bin/sh", "/job", "x"]. Arguments that are
// cut by the agent agree as far as they go. A root that was first seen later than it began may have become
// another program since: its arguments count for nothing, and it never gets an exact user.
//
// # Exact
//
// Roots and requests that can explain each other form a bipartite graph; each of its components is looked at
// alone. Each request starts at most one process. So if in every matching of all of a component's roots
// to requests a root falls to the same user, that user ran it, provided that the roots do not come from
// somewhere else, which is the attacker's part: a process started around the API server, with the same
// arguments, while somebody's request is under way. Therefore, on top:
//
//   - There are not more roots than requests, by the matching.
//   - The API server said of each request in question that it was let through (its audit event did): a review alone may
//     be followed by a refusal elsewhere.
//   - There are as many requests as roots that have certainly started a process: they were still open ProofAfter later,
//     or ended when the process did. An attacker's process beside a request that failed to start its own is
//     what this leaves out.
//   - No other request, still open and without any process of its own, could have started it late.
//   - The root's command is not one that the kubelet runs as a probe, unless it has an input or a terminal.
//   - Nothing is known to be missing of the container's telemetry then.
//
// All of it is judged again with each new fact, so an exact user is taken back when a second equal root appears.
// What is left: a process that was started around the API server, that is equal in everything to one that failed
// to start in the same moment, and that ends within EndLag of that request. Nothing that is
// passively seen tells the two apart.
//
// # By their ends
//
// Two users who ran the same at the same time are candidates for both roots. When one root has ended, alone
// (nothing below it lives), its request ends as well: whoever's request stays open longer than EndLag was not its. If
// that leaves one matching, in which all that ended ended together, the users are exact after all. Whoever
// passes the standard output of his session on to a process of another session can fake that; he would have
// to have run the same command at the same moment, too.
//
// # Nobody asked
//
// A root that nothing can explain is unaudited, once the audit stream has told everything up to StartLag after it
// began. Where there are more roots than requests, one of them is: the newest are taken for it. A busy node begins late what many ask for
// at once, so an open request that may have no process yet counts there, however late the root is. While the audit stream is blind, or
// before the engine began, that is not told: the verdict says that there is a hole.
package join
